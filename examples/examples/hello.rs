//! One service, one server and one client, in one process: the program of the README.

use rpc_core::{Error, Server, service};

/// Says hello.
#[service]
pub trait Greeter {
    /// Greets somebody by name.
    async fn greet(&self, name: &str) -> String;
}

struct Polite;

impl Greeter for Polite {
    async fn greet(&self, name: &str) -> String {
        format!("Hello, {name}!")
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let server = Server::builder()
        .service(GreeterServer::new(Polite))
        .listen("tcp://127.0.0.1:0")
        .start()
        .await?;

    let greeter = GreeterClient::connect(&server.addresses()[0]).await?;
    println!("{}", greeter.greet("Ada").await?);
    Ok(())
}
