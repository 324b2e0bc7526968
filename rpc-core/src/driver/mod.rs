//! Where the protocol, the bytes and the clock meet: one task per connection.
//!
//! The pure [`Connection`](crate::proto::Connection) belongs to the [`task`](Driver) alone. Callers
//! leave their calls on a [`desk`], through a [`Link`], and find the replies there; the task picks up
//! all that has gathered, reads, runs what arrived, writes everything at once, and sleeps until the
//! next timeout. Everything that is true of a connection is said in [`crate::proto`]; this folder
//! only moves bytes and wakes people.

mod alarm;
mod clock;
#[cfg(feature = "udp")]
mod datagrams;
mod desk;
mod drive;
mod gauge;
mod incoming;
mod link;
mod numbers;
mod outgoing;
mod pile;
mod scratch;
mod shared;
mod sleeper;
mod task;
mod timer;

#[cfg(feature = "udp")]
pub(crate) use datagrams::gate;
pub(crate) use drive::Drive;
pub(crate) use gauge::{Charge, Gauge};
pub(crate) use incoming::{Handler, Session, Started, Ticket};
pub(crate) use link::Link;
pub(crate) use outgoing::Outgoing;
pub(crate) use task::has_threads;

use std::pin::Pin;
use std::time::Instant;

use tokio::task::JoinHandle;

/// Starts a task of this crate. All of them are one type to the runtime, whose code for a task is
/// large and compiled once for each type.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    spawn_boxed(Box::pin(task))
}

fn spawn_boxed(task: Pin<Box<dyn Future<Output = ()> + Send>>) -> JoinHandle<()> {
    tokio::spawn(task)
}

/// The clock of connections: tokio's, so that tests can hold it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
