//! Subservers own the clients, one process holds the state: the central dispatch server.
//!
//! ```text
//!   main process                              subserver
//!   dispatcher --socket of a client--------->  subserver, its lobby
//!   hub        <--calls, encoded again-------  forward
//!   hub        ---callbacks----------------->  callback
//!   office     <--what a subserver asks for    (contract)
//! ```
//!
//! What is said between the two goes over the [`trunk`], except the sockets, which go over the line
//! that every subserver has to its main process.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

#[cfg(target_os = "linux")]
mod branch;
#[cfg(target_os = "linux")]
mod callback;
#[cfg(target_os = "linux")]
mod contract;
#[cfg(target_os = "linux")]
mod dispatcher;
#[cfg(target_os = "linux")]
mod forward;
#[cfg(target_os = "linux")]
mod hub;
#[cfg(target_os = "linux")]
mod office;
#[cfg(target_os = "linux")]
mod strategy;
#[cfg(target_os = "linux")]
mod subserver;
#[cfg(target_os = "linux")]
mod trunk;

#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::num::NonZeroUsize;
use std::process::Command;

use crate::service::Descriptor;

/// Subservers own the clients, one process holds the state: the central dispatch server.
///
/// A few *subservers*, processes of this very program, speak with all clients. Each of them knows the
/// types of the services: it decodes every request within its budgets, encodes what it has decoded
/// again, and hands that on over a pair of unnamed pipes, the *trunk*, to the main process. There the
/// handlers run, all on the one service that the program has built. The main process accepts
/// connections and passes them on unread, and decodes nothing but what its own code has written.
///
/// ```no_run
/// # use rpc_core::{Error, Server, service};
/// # #[service] trait Counter { async fn next(&self) -> u64; }
/// # struct Shared;
/// # impl Counter for Shared { async fn next(&self) -> u64 { 1 } }
/// use rpc_core::server::CentralDispatch;
///
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     rpc_core::subserver_init();
///     // What stands here runs in each subserver, too.
///     let server = Server::builder()
///         .service(CounterServer::new(Shared))
///         .listen("tcp://127.0.0.1:7000")
///         .pattern(CentralDispatch::new())
///         .start()
///         .await?;
///     // Only the main process comes here.
///     server.run_until_signal().await
/// }
/// ```
///
/// **For** state that all clients share, served to clients that are not trusted: what a hostile
/// message does to the process that decodes it, it does to a subserver. One that dies takes the
/// connections of its own clients along: their calls end as
/// [`Code::Disconnected`](crate::Code::Disconnected), maybe executed, the clients connect again and
/// come to another subserver, and the main process, which has lost nothing, starts a new one.
///
/// **Costs** a second hop for each call, through two pipes and one more process, and each message is
/// decoded and encoded once more; `cargo run --example central_dispatch` measures it. A subserver is
/// a process with threads and memory of its own.
///
/// **Cannot** contain an attacker who runs code in a subserver: that one can make calls in the name
/// of every client of it, and has the user's rights. It contains crashes, and messages that are made
/// to use up memory or time. Cannot serve at `memory:`, nor at a listener of your own: only sockets
/// can be passed on. Needs services written with `#[service]`, pairs of sockets (`socketpair`), which some
/// sandboxes refuse, and Linux.
///
/// Handlers see the client, not the subserver: [`Context::peer`](crate::Context::peer), the
/// deadline, metadata, cancellation and the end of the connection are the client's. They may call it
/// back if its services are named by [`callbacks`](Self::callbacks). The
/// [layers](crate::ServerBuilder::layer) of the server and its limits on connections, calls and
/// buffers hold in the main process, for all clients together; the limits of each connection, and
/// that on silent ones, in the subservers. At `fifo:` the first subserver reads the well-known pipe
/// itself.
///
/// A subserver learns of the services what their types are and nothing more: the service that it
/// builds is never called.
#[derive(Debug)]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "on other systems it is only refused")
)]
pub struct CentralDispatch {
    pub(super) subservers: NonZeroUsize,
    pub(super) callbacks: Vec<&'static Descriptor>,
    pub(super) command: Option<Command>,
}

impl CentralDispatch {
    /// A subserver of this program for each processor that it may use.
    pub fn new() -> Self {
        Self {
            subservers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            callbacks: Vec::new(),
            command: None,
        }
    }

    /// How many subservers there are; zero counts as one. The default is one for each processor that
    /// the program may use.
    #[must_use]
    pub fn subservers(mut self, subservers: usize) -> Self {
        self.subservers = NonZeroUsize::new(subservers).unwrap_or(NonZeroUsize::MIN);
        self
    }

    /// Lets handlers call this service of their callers.
    pub(crate) fn with_callbacks(mut self, service: &'static Descriptor) -> Self {
        self.callbacks.push(service);
        self
    }

    /// What a subserver is, where that is not this program with its arguments. It must offer the same
    /// services with the same pattern, and say [`subserver_init`](crate::subserver_init) if it starts
    /// another server before. A test needs it, because its program is the test harness. The standard
    /// input of the command is set here.
    #[must_use]
    pub fn command(mut self, command: Command) -> Self {
        self.command = Some(command);
        self
    }
}

impl Default for CentralDispatch {
    fn default() -> Self {
        Self::new()
    }
}
