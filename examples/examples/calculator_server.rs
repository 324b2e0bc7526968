//! A calculator that clients find by its name, until Ctrl-C. Start a matchmaker first:
//! `cargo run -p matchmaker -- serve`.

use examples::{Calc, CalculatorServer};
use rpc_core::{Error, Server};

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let server = Server::builder()
        .service(CalculatorServer::new(Calc))
        .listen("tcp://127.0.0.1:0")
        .register()
        .start()
        .await?;
    for address in server.addresses() {
        println!("Calculator listens at {address}");
    }
    println!("try next: cargo run --example calculator_client -- add 2 3");
    server.run_until_signal().await
}
