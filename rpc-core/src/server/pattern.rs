//! The patterns of servers: who speaks with a client once it is connected.
//!
//! A pattern decides what becomes of a [`Guest`], a client that was let in and not spoken to. It knows
//! neither how clients arrive nor what is called.

mod iterative;
mod queue;

use std::sync::Arc;

use tokio::sync::watch;

pub use iterative::Iterative;

use super::reception::{Guest, Reception};

/// Who speaks with a client once it is connected, chosen by
/// [`ServerBuilder::pattern`](super::ServerBuilder::pattern).
///
/// | Pattern | Classic name | Who speaks | For |
/// |---|---|---|---|
/// | [`Concurrent`] | concurrent server | a task for each client | nearly everything; the default |
/// | [`Iterative`] | basic, or iterative, server | one client at a time | a resource that only one may use |
///
/// ```
/// # use rpc_core::Server;
/// use rpc_core::server::Iterative;
///
/// let builder = Server::builder().pattern(Iterative::new());
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Pattern {
    /// A task for each client.
    Concurrent(Concurrent),
    /// One client at a time.
    Iterative(Iterative),
}

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
        Self::Concurrent(Concurrent)
    }
}

impl From<Concurrent> for Pattern {
    fn from(pattern: Concurrent) -> Self {
        Self::Concurrent(pattern)
    }
}

impl From<Iterative> for Pattern {
    fn from(pattern: Iterative) -> Self {
        Self::Iterative(pattern)
    }
}

impl Pattern {
    /// What receives the clients of a server from now on.
    pub(super) fn host(self, reception: &Arc<Reception>) -> Arc<dyn Host> {
        match self {
            Self::Concurrent(pattern) => Arc::new(pattern),
            Self::Iterative(pattern) => Arc::new(pattern.host(reception)),
        }
    }
}

/// Speaks with clients, or has somebody speak with them.
pub(super) trait Host: Send + Sync + 'static {
    /// Takes a client over. It must not wait: others stand at the door.
    fn receive(&self, guest: Guest);

    /// Tells whether the door is open. A listener whose clients can wait outside is
    /// [suspended](crate::transport::Listener::suspend) while it is closed. `None` means always.
    fn door(&self) -> Option<watch::Receiver<bool>> {
        None
    }
}

impl Host for Concurrent {
    fn receive(&self, guest: Guest) {
        tokio::spawn(guest.serve().1);
    }
}
