//! The serving side: listeners, the connections they bring, and the handlers that run on them.
//!
//! `accept` takes connections in, `reception` says what they are told, `pattern` who speaks with
//! them, `router` finds the method that a request names, `dispatch` runs it, `connections` knows who
//! is there, so that [`Server::shutdown`] can let them finish.

mod accept;
mod builder;
mod companion;
mod connections;
mod dispatch;
mod pattern;
mod reception;
mod router;
mod routes;
#[cfg(feature = "pipes")]
mod stdio;
#[cfg(all(target_os = "linux", feature = "patterns"))]
mod subserver;

pub use builder::ServerBuilder;
#[cfg(feature = "discovery")]
pub(crate) use companion::{Companion, Offering, Place, RegistrationWish};
use pattern::Host;
#[cfg(feature = "patterns")]
pub use pattern::{CentralDispatch, Forking, Iterative};
pub use pattern::{Concurrent, Pattern};
pub(crate) use router::Router;
#[cfg(feature = "pipes")]
pub use stdio::serve_stdio;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::cancellation::Cancellation;
use crate::driver::now;
#[cfg(feature = "signals")]
use crate::error::{Code, Error};
#[cfg(feature = "signals")]
use crate::race::{Either, race};
use crate::service::BoxFuture;
#[cfg(feature = "signals")]
use crate::service::Service;
#[cfg(feature = "signals")]
use crate::signal::ShutdownSignals;
#[cfg(feature = "signals")]
use crate::transport::IntoAddress;
use connections::Connections;

/// How long a server lets running calls finish when [`serve`] is told to stop: 30 s, the grace that
/// Kubernetes gives a pod by default.
pub const DRAIN_GRACE: Duration = Duration::from_secs(30);

/// Serves one service at one address until SIGINT or SIGTERM, then drains for at most
/// [`DRAIN_GRACE`]; a second signal stops at once. It does not register with a matchmaker:
/// [`Server::builder`] can.
///
/// # Errors
/// The address is invalid, in use or not allowed; the system cannot report signals.
#[cfg(feature = "signals")]
pub async fn serve(address: impl IntoAddress, service: impl Service) -> Result<(), Error> {
    // Who sees the server listen may stop it right away, and it is to drain then.
    let signals = ShutdownSignals::new().map_err(no_signals)?;
    let server = Server::builder()
        .service(service)
        .listen(address)
        .start()
        .await?;
    server.run_until(signals).await
}

#[cfg(feature = "signals")]
fn no_signals(error: std::io::Error) -> Error {
    Error::new(Code::Io, "cannot wait for signals").with_source(error)
}

/// Finds out what this process is, as the first line of `main`: whether it is a subserver, a process
/// that a server of the pattern [`Forking`] has started.
///
/// In a subserver, what stands between this line and [`start`](ServerBuilder::start) builds the
/// services, and `start` serves and ends the process. So what must not be done once more, such as
/// to migrate a database, stands behind `if !rpc_core::subserver_init()`. From this line on a
/// subserver ends when the main process does; it has its limits; and its standard input is empty.
///
/// A server cannot start subservers in a program that does not say this line, because the program
/// would do everything once more. A process that a subserver starts is none.
#[cfg(feature = "patterns")]
pub fn subserver_init() -> bool {
    #[cfg(target_os = "linux")]
    return subserver::init();
    #[cfg(not(target_os = "linux"))]
    return false;
}

/// A running server. Dropping it stops it at once: all connections close and all handlers are
/// dropped. Its addresses are free once the runtime has dropped the listeners, soon after.
/// [`shutdown`](Self::shutdown) lets the calls finish, and the addresses are free when it returns.
#[must_use = "dropping a server stops it"]
pub struct Server {
    addresses: Vec<String>,
    acceptors: Vec<JoinHandle<()>>,
    /// Tells the acceptors to take in who waits already and to close their listeners.
    stop: Cancellation,
    connections: Arc<Connections>,
    /// Who speaks with the clients, once they may come.
    host: Option<Arc<dyn Host>>,
    #[cfg(feature = "discovery")]
    companions: Vec<Box<dyn Companion>>,
}

impl Server {
    /// A server at which nobody arrives yet.
    fn idle(addresses: Vec<String>, connections: Arc<Connections>) -> Self {
        Self {
            addresses,
            acceptors: Vec::new(),
            stop: Cancellation::new(),
            connections,
            host: None,
            #[cfg(feature = "discovery")]
            companions: Vec::new(),
        }
    }

    /// Says what to serve and where.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    /// The addresses that the server listens at, in the order of the builder, with the ports that
    /// the system chose.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// How many calls are running.
    pub fn calls(&self) -> usize {
        self.connections.calls()
    }

    /// Stops in order: leaves the matchmaker, closes the listeners, tells every client the last call
    /// that will run, finishes the running calls for at most `grace`, and closes. Calls that arrive
    /// later fail at their client as not executed. Dropping the future stops at once.
    ///
    /// Whether everything finished within the grace time.
    pub fn shutdown(self, grace: Duration) -> impl Future<Output = bool> + Send {
        // Boxed, so that it is compiled into this crate and not into each that calls it.
        let stopping: BoxFuture<_> = Box::pin(self.stop_here(grace));
        stopping
    }

    async fn stop_here(mut self, grace: Duration) -> bool {
        let began = now();
        #[cfg(feature = "discovery")]
        {
            let leave = async {
                for companion in &mut self.companions {
                    companion.leave().await;
                }
            };
            // A matchmaker that is away must not eat the grace time of the calls.
            const LEAVE_MAX: Duration = Duration::from_secs(2);
            let _ = tokio::time::timeout(LEAVE_MAX.min(grace), leave).await;
        }
        self.stop.cancel();
        // Under a flood of connections the queue may never be empty.
        const LAST_CALLS_MAX: Duration = Duration::from_secs(1);
        let last_calls = async {
            for acceptor in &mut self.acceptors {
                let _ = acceptor.await;
            }
        };
        let _ = tokio::time::timeout(LAST_CALLS_MAX.min(grace), last_calls).await;
        for acceptor in &mut self.acceptors {
            if !acceptor.is_finished() {
                acceptor.abort();
                // The listener is closed when the task is gone.
                let _ = acceptor.await;
            }
        }
        self.connections.drain();
        let left = grace.saturating_sub(now().saturating_duration_since(began));
        let finished = async {
            if let Some(host) = &self.host {
                host.drain().await;
            }
            self.connections.emptied().await;
        };
        tokio::time::timeout(left, finished).await.is_ok()
    }

    /// Runs until SIGINT or SIGTERM, then [shuts down](Self::shutdown) with [`DRAIN_GRACE`]; a
    /// second signal stops at once. A server that listens at `pipe:` alone ends with its one
    /// connection, too.
    ///
    /// # Errors
    /// The system cannot report signals.
    #[cfg(feature = "signals")]
    pub async fn run_until_signal(self) -> Result<(), Error> {
        self.run_until(ShutdownSignals::new().map_err(no_signals)?)
            .await
    }

    #[cfg(feature = "signals")]
    async fn run_until(mut self, mut signals: ShutdownSignals) -> Result<(), Error> {
        match race(self.deserted(), signals.recv()).await {
            Either::First(()) => tracing::info!("nobody is here, and nobody can come: stopping"),
            Either::Second(signal) => {
                let signal = signal.map_err(no_signals)?;
                tracing::info!(%signal, "draining");
            }
        }
        match race(self.shutdown(DRAIN_GRACE), signals.recv()).await {
            Either::First(true) => {}
            Either::First(false) => {
                tracing::warn!("the grace time is over; the calls still running were dropped");
            }
            Either::Second(_) => tracing::warn!("a second signal: stopping at once"),
        }
        Ok(())
    }

    /// Waits until all listeners have ended by themselves, as that of `pipe:` does with its one
    /// connection, and all connections too. Cancel safe.
    #[cfg(feature = "signals")]
    async fn deserted(&mut self) {
        if self.acceptors.is_empty() {
            // Its clients come another way.
            std::future::pending().await
        }
        while let Some(acceptor) = self.acceptors.last_mut() {
            let _ = acceptor.await;
            self.acceptors.pop();
        }
        self.connections.emptied().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for acceptor in &self.acceptors {
            acceptor.abort();
        }
        self.connections.close();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
