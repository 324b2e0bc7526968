//! The daemon: the service behind a server, with time passing.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rpc_core::discovery::lan::Beacon;
use rpc_core::discovery::matchmaker::MatchmakerServer;
use rpc_core::server::DRAIN_GRACE;
use rpc_core::signal::ShutdownSignals;
use rpc_core::transport::{Address, HostPort};
use rpc_core::{Code, Context, Error, Server};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::registry::{Caller, ConnectionKey, Principal};
use crate::service::{MatchmakerService, WeakService};
use crate::store::{MemoryStore, Store};

/// A running matchmaker, in this process. Dropping it stops it at once.
///
/// ```
/// # async fn example() -> Result<(), rpc_core::Error> {
/// use matchmaker::{Config, Daemon};
///
/// let daemon = Daemon::start(Config::listening_at(["tcp://127.0.0.1:0"])).await?;
/// println!("register and discover at {}", daemon.addresses()[0]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping a daemon stops it"]
pub struct Daemon {
    server: Server,
    service: MatchmakerService,
    ticker: Ticker,
    /// Ends with the daemon.
    beacon: Option<Beacon>,
}

impl Daemon {
    /// Connections of one daemon: 10,000, a fleet with a watch and a registration each.
    const CONNECTIONS_MAX: usize = 10_000;

    /// Calls in flight on one connection: 512, so that a client that has all the watches it may have
    /// can still make other calls.
    const CALLS_MAX: u32 = 512;

    /// Starts a matchmaker that keeps its records in memory.
    ///
    /// # Errors
    /// An address is invalid, in use or not allowed.
    pub async fn start(config: Config) -> Result<Self, Error> {
        Self::start_on(config, MemoryStore::new()).await
    }

    /// Starts a matchmaker over `store`.
    ///
    /// # Errors
    /// As [`start`](Self::start); or the store cannot be loaded.
    pub async fn start_on(config: Config, store: impl Store) -> Result<Self, Error> {
        let callers = Callers::default();
        let asked = callers.clone();
        let service = MatchmakerService::open(store, config.limits, move || asked.current())
            .await
            .map_err(|error| Error::new(Code::Io, "cannot load the store").with_source(error))?;
        // The service asks who calls only while it handles a call, and none comes before this.
        let _ = callers.service.set(service.downgrade());

        let mut limits = rpc_core::Limits::default();
        limits.calls = Self::CALLS_MAX;
        let mut builder = Server::builder()
            .service(MatchmakerServer::new(service.clone()))
            .limits(limits)
            .connections_max(Self::CONNECTIONS_MAX)
            // Each name that a process follows is a connection, and on one host all are one peer.
            .connections_per_peer_max(Self::CONNECTIONS_MAX)
            // Watches are calls that wait, and must not keep a renewal out.
            .calls_max(Self::CONNECTIONS_MAX * Self::CALLS_MAX as usize);
        if config.insecure {
            builder = builder.insecure();
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = config.tls {
            builder = builder.tls(tls);
        }
        for address in config.listen {
            builder = builder.listen(address);
        }
        let server = builder.start().await?;
        let clock = service.clone();
        let ticker = Ticker(tokio::spawn(async move {
            clock.run().await;
        }));
        let beacon = match config.lan {
            Some(at) => Some(Beacon::start(at, server.addresses()).await?),
            None => None,
        };
        Ok(Self {
            server,
            service,
            ticker,
            beacon,
        })
    }

    /// The addresses that the daemon listens at, with the ports that the system chose.
    pub fn addresses(&self) -> &[String] {
        self.server.addresses()
    }

    /// The service behind the addresses, for what its operator may do and no caller:
    /// [`evict`](MatchmakerService::evict).
    pub fn service(&self) -> &MatchmakerService {
        &self.service
    }

    /// Finishes what runs, for at most `grace`, and stops; whether everything finished in time.
    ///
    /// Clients that wait in a watch get their answer at once. What they know stays valid, and they
    /// come back by themselves when there is a matchmaker again.
    pub async fn shutdown(self, grace: Duration) -> bool {
        // Nobody new is to come.
        drop(self.beacon);
        self.service.wind_down();
        let finished = self.server.shutdown(grace).await;
        drop(self.ticker);
        finished
    }

    /// Runs until the first of `signals`, then [shuts down](Self::shutdown); a second one stops at
    /// once. Listen to the signals before the daemon starts: who sees it listen may stop it right
    /// away.
    ///
    /// # Errors
    /// The system cannot report signals.
    pub async fn run_until(self, signals: ShutdownSignals) -> io::Result<()> {
        signals
            .drain(|| self.shutdown(DRAIN_GRACE))
            .await
            .map(|_| ())
    }
}

/// Lets leases end, as long as it lives.
#[derive(Debug)]
struct Ticker(JoinHandle<()>);

impl Drop for Ticker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Knows who makes the call that is being handled, and tells the service when a caller is gone.
#[derive(Clone, Default)]
struct Callers {
    service: Arc<OnceLock<WeakService>>,
    /// Connections whose end is being waited for.
    attended: Arc<Mutex<HashSet<u64>>>,
}

impl Callers {
    fn current(&self) -> Caller {
        let context = Context::current();
        let connection = context.connection_id().unwrap_or_default();
        // A call from within this process has no connection that could end.
        if context.connection_id().is_some() {
            self.attend(&context, connection);
        }
        let key = ConnectionKey(connection);
        let Some(peer) = context.peer() else {
            return Caller::local(Principal::named("process"), key);
        };
        let ip = peer.address().parse::<Address>().ok();
        let ip = ip
            .as_ref()
            .and_then(Address::host_port)
            .and_then(HostPort::ip);
        let principal = match (peer.uid(), ip) {
            (Some(uid), _) => Principal::uid(uid),
            // Whoever holds the key, wherever it comes from.
            _ if peer.certificate().is_some() => {
                Principal::named(peer.identity().name().unwrap_or_default())
            }
            (None, Some(ip)) => Principal::host(ip),
            (None, None) => Principal::named(peer.address()),
        };
        if peer.is_local() {
            Caller::local(principal, key)
        } else {
            Caller::remote(principal, key)
        }
    }

    /// Waits for the end of the connection, once.
    fn attend(&self, context: &Context, connection: u64) {
        if !self
            .attended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(connection)
        {
            return;
        }
        let callers = self.clone();
        let context = context.clone();
        tokio::spawn(async move {
            context.disconnected().await;
            callers
                .attended
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&connection);
            let closed = || {
                if let Some(service) = callers.service.get().and_then(WeakService::upgrade) {
                    service.connection_closed(ConnectionKey(connection));
                }
            };
            closed();
            // A handler that was running on another thread may have bound a lease meanwhile.
            const STRAGGLERS: Duration = Duration::from_millis(100);
            tokio::time::sleep(STRAGGLERS).await;
            closed();
        });
    }
}
