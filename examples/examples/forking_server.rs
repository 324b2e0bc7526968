//! A process for each client: one client has its process abort, and the others notice nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use rpc_core::server::Forking;
use rpc_core::{Error, Executed, Server, service};

/// Runs what clients send, which may be harmful.
#[service]
pub trait Sandbox {
    /// Adds to a total that belongs to the client.
    async fn add(&self, value: u64) -> u64;
    /// Does what no handler should.
    async fn abort(&self);
    /// The process that serves this client.
    async fn pid(&self) -> u32;
}

#[derive(Default)]
struct Total(AtomicU64);

impl Sandbox for Total {
    async fn add(&self, value: u64) -> u64 {
        self.0.fetch_add(value, Ordering::Relaxed) + value
    }
    async fn abort(&self) {
        std::process::abort();
    }
    async fn pid(&self) -> u32 {
        std::process::id()
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    // A subserver is this program, started once more: from here on it knows what it is.
    rpc_core::subserver_init();
    let server = Server::builder()
        .service(SandboxServer::new(Total::default()))
        .listen("tcp://127.0.0.1:0")
        .pattern(Forking::new().memory_max(256 << 20))
        .start()
        .await?;
    // Only the main process comes here: `start` does not return in a subserver.
    let address = &server.addresses()[0];
    let calm = SandboxClient::connect(address).await?;
    let wild = SandboxClient::connect(address).await?;
    calm.add(20).await?;
    let own_processes = [std::process::id(), calm.pid().await?, wild.pid().await?];
    println!("server and subservers: {own_processes:?}");

    match wild.abort().await {
        Err(error) if error.executed() == Executed::Maybe => println!("the wild client: {error}"),
        other => panic!("a call that aborts its process returned {other:?}"),
    }
    println!("the calm client has its total: {}", calm.add(22).await?);
    println!("the wild client has a new process: {}", wild.pid().await?);
    Ok(())
}
