//! Where the protocol, the bytes and the clock meet: one task per connection.
//!
//! The pure [`Connection`](crate::proto::Connection) stands behind a lock, in `state`. Callers put
//! their calls straight into it through a [`Link`] and wake the [`task`](Driver) only to have the
//! bytes written; the task reads, hands out what arrived, writes, and sleeps until the next timeout.
//! Everything that is true of a connection is said in [`crate::proto`]; this folder only moves bytes
//! and wakes people.

mod gauge;
mod incoming;
mod link;
mod outgoing;
mod state;
mod task;

pub(crate) use gauge::{Charge, Gauge};
pub(crate) use incoming::{Handler, Incoming};
pub(crate) use link::Link;
pub(crate) use task::Driver;

use std::time::Instant;

/// The clock of connections: tokio's, so that tests can hold it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
