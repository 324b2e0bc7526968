//! One connection as a pure state machine.
//!
//! Time and bytes go in; bytes, events and the next timeout come out. Nothing here awaits, locks,
//! spawns or reads a clock, so every behaviour of a connection can be tested on virtual time, and a
//! test that fails once fails always. [`Connection`] states the contract; the other files are its
//! parts, one noun each.

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

mod assembly;
mod calls;
mod connection;
mod credit;
#[cfg(feature = "udp")]
pub(crate) mod datagram;
mod event;
mod fault;
mod handshake;
mod id;
mod incoming;
mod keepalive;
mod outbox;
mod served;
mod taken;
mod transmit;
mod window;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

#[cfg(test)]
use connection::Audit;

pub(crate) use calls::Call;
pub(crate) use connection::{Body, Connection};
pub(crate) use event::Event;
pub(crate) use fault::Fault;
pub(crate) use handshake::{Opening, Terms};
pub(crate) use id::CallId;
pub(crate) use incoming::{Arguments, Incoming};
pub(crate) use taken::Taken;
pub(crate) use transmit::Transmit;

/// The earlier of two times, of which none may be set.
#[inline]
pub(crate) fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other < one { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// `now + wait`, or an instant so far away that it never comes where the clock cannot express that.
#[inline]
fn later(now: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now.checked_add(wait)
        .or_else(|| now.checked_add(CENTURY))
        .unwrap_or(now)
}
