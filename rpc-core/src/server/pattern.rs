//! The patterns of servers: who speaks with a client once it is connected.
//!
//! A pattern decides what becomes of a [`Guest`], a client that was let in and not spoken to. It knows
//! neither how clients arrive nor what is called.

#[cfg(feature = "patterns")]
mod central;
#[cfg(feature = "patterns")]
mod forking;
#[cfg(all(target_os = "linux", feature = "patterns"))]
mod forks;
#[cfg(feature = "patterns")]
mod iterative;
#[cfg(feature = "patterns")]
mod queue;
#[cfg(all(not(target_os = "linux"), feature = "patterns"))]
mod unsupported;

use std::fmt;
use std::future::ready;
use std::sync::Arc;

use tokio::sync::watch;

#[cfg(feature = "patterns")]
pub use central::CentralDispatch;
#[cfg(feature = "patterns")]
pub use forking::Forking;
#[cfg(feature = "patterns")]
pub use iterative::Iterative;

use super::reception::{Full, Guest, Reception};
#[cfg(all(target_os = "linux", feature = "patterns"))]
use super::subserver::{self, Duty};
use crate::driver::spawn;
use crate::error::{Code, Error};
use crate::service::BoxFuture;
use crate::transport::Address;
#[cfg(all(target_os = "linux", feature = "patterns"))]
use crate::transport::ListenOptions;

/// Who speaks with a client once it is connected, chosen by
/// [`ServerBuilder::pattern`](super::ServerBuilder::pattern).
///
/// | Pattern | Classic name | Who speaks | For |
/// |---|---|---|---|
/// | [`Concurrent`] | concurrent server | a task for each client | nearly everything; the default |
/// | [`Iterative`] | basic, or iterative, server | one client at a time | a resource that only one may use |
/// | [`Forking`] | forking server | a process for each client | handlers that may crash, leak or never end |
/// | [`CentralDispatch`] | central dispatch server | a few processes, for one that runs the handlers | shared state, for clients that are not trusted |
///
/// ```
/// # use rpc_core::Server;
/// use rpc_core::server::Iterative;
///
/// let builder = Server::builder().pattern(Iterative::new());
/// ```
///
/// A program contains the patterns that it names, and the default.
#[derive(Debug)]
pub struct Pattern(pub(super) Box<dyn Strategy>);

/// A task for each client: the concurrent server, and the default.
///
/// **For** nearly everything. **Costs** a task and, while it is busy, some buffers for each
/// connection. **Cannot** protect clients from what a handler does to the process: one that aborts
/// it, or takes all its memory, ends the service for all.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Concurrent;

impl Default for Pattern {
    fn default() -> Self {
        Concurrent.into()
    }
}

impl From<Concurrent> for Pattern {
    fn from(pattern: Concurrent) -> Self {
        Self(Box::new(pattern))
    }
}

#[cfg(feature = "patterns")]
impl From<Iterative> for Pattern {
    fn from(pattern: Iterative) -> Self {
        Self(Box::new(pattern))
    }
}

#[cfg(feature = "patterns")]
impl From<CentralDispatch> for Pattern {
    fn from(pattern: CentralDispatch) -> Self {
        Self(Box::new(pattern))
    }
}

#[cfg(feature = "patterns")]
impl From<Forking> for Pattern {
    fn from(pattern: Forking) -> Self {
        Self(Box::new(pattern))
    }
}

/// A pattern that was chosen and is not at work. It is reached through a pointer, so that a program
/// contains no other.
pub(super) trait Strategy: fmt::Debug + Send + Sync {
    /// Whether clients are handed over to other processes.
    fn hands_over(&self) -> bool {
        false
    }

    /// Whether the pattern listens at an address itself, in a process of its own.
    fn listens(&self, _: &Address) -> bool {
        false
    }

    /// Whether the clients that come by an address can be served.
    ///
    /// # Errors
    /// They cannot be passed to another process, which this pattern does.
    fn check(&self, address: &Address) -> Result<(), Error> {
        if !self.hands_over() || address.can_be_handed_over() {
            return Ok(());
        }
        let scheme = address.scheme();
        Err(Error::new(
            Code::InvalidAddress,
            format!("clients of a {scheme}: address cannot be passed to a subserver"),
        )
        .with_hint("use tcp://, unix: or fifo:, or another pattern")
        .with_address(address.to_string()))
    }

    /// Whether the clients of a listener that is not of this crate can be served.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    fn check_foreign(&self) -> Result<(), Error> {
        if !self.hands_over() {
            return Ok(());
        }
        Err(Error::new(
            Code::InvalidAddress,
            "clients of a listener of your own cannot be passed to a subserver",
        )
        .with_hint("listen at tcp://, unix: or fifo:, or use another pattern"))
    }

    /// What receives the clients of a server from now on. `elsewhere` are the addresses that it
    /// [listens](Self::listens) at itself.
    ///
    /// # Errors
    /// The pattern needs something that this program or this system does not have.
    fn host(
        self: Box<Self>,
        reception: Arc<Reception>,
        elsewhere: Vec<String>,
    ) -> BoxFuture<Result<Arc<dyn Host>, Error>>;

    /// What this process has to do as a subserver, if it is one. A pattern that starts none does not ask
    /// first, and says what is known.
    ///
    /// # Errors
    /// It is one, and nobody has asked before.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    fn duty(&self) -> Result<Option<&'static Duty>, Error> {
        subserver::known_duty()
    }

    /// In a subserver: does what this process was started for, and ends it. Returns if that is not
    /// the business of this server.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    fn perform(
        self: Box<Self>,
        _: &'static Duty,
        _: Arc<Reception>,
        _: ListenOptions,
    ) -> BoxFuture<()> {
        Box::pin(ready(()))
    }
}

impl Strategy for Concurrent {
    fn host(
        self: Box<Self>,
        _: Arc<Reception>,
        _: Vec<String>,
    ) -> BoxFuture<Result<Arc<dyn Host>, Error>> {
        Box::pin(ready(Ok(Arc::new(*self) as Arc<dyn Host>)))
    }
}

/// Speaks with clients, or has somebody speak with them.
pub(super) trait Host: Send + Sync + 'static {
    /// Takes a client over. It must not wait: others stand at the door.
    fn receive(&self, guest: Guest);

    /// Tells a client for which there is no room.
    fn turn_away(&self, guest: Guest, full: Full) {
        guest.refuse(Code::Overloaded, full.text());
    }

    /// Nobody is to come any more, and the clients are to leave when their calls are done. Sees to
    /// those who are not connected to this process.
    fn drain(&self) -> BoxFuture<()> {
        Box::pin(ready(()))
    }

    /// Tells whether the door is open. A listener whose clients can wait outside is
    /// [suspended](crate::transport::Listener::suspend) while it is closed. `None` means always.
    fn door(&self) -> Option<watch::Receiver<bool>> {
        None
    }
}

impl Host for Concurrent {
    fn receive(&self, guest: Guest) {
        spawn(guest.serve().1);
    }
}
