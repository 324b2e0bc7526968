//! Calls over datagrams that may be lost, repeated and reordered, as pure state machines.
//!
//! Time and datagrams go in; datagrams, events and the next timeout come out. A [`Client`] sends a
//! call again until it hears of it, a [`Server`] remembers what it replied and so runs each call at
//! most once, and an [`Admission`] tells the addresses that are real from those that are claimed,
//! without keeping anything of either. Streams have none of these troubles and none of this code.
//!
//! ```text
//!   client   hello ..> answer --> (first calls, ready) ..> ready or any reply --> calls
//!   server   nothing kept ------> cookie shown: a window of replies, one for each client
//! ```
//!
//! What makes a call run at most once: its number is new to the client's window, or it does not run.
//! A window is made only for a cookie that is a few seconds old, and no cookie outlives the process
//! that made it. So neither a restart nor a forgotten client lets an old datagram run a call again:
//! the client is told that its cookie is stale, and its calls end as maybe executed.

mod admission;
mod client;
mod cookie;
mod pace;
mod server;
mod side;
mod window;

#[cfg(test)]
mod tests;

pub(crate) use admission::{Admission, Admitted};
pub(crate) use client::Client;
pub(crate) use cookie::Secret;
pub(crate) use server::Server;
pub(crate) use side::Side;
pub(crate) use window::Memory;

use std::time::Duration;

/// How old a cookie may be when a client first shows it: longer than any handshake takes. A client
/// that came and went must be remembered for so long, or its datagrams could bring it back.
const FRESH: Duration = Duration::from_secs(10);

/// How long a reply is remembered for a client that does not say that it has it, and how long a
/// client that says nothing at all: RIFL's lease in the small.
const REMEMBERED: Duration = Duration::from_secs(300);

/// A client without calls for so long leaves, before the server forgets it.
const IDLE: Duration = Duration::from_secs(240);

/// Replies remembered for one client: 512.
const RECORDS_MAX: usize = 512;

/// How far a client lets its calls run ahead of the last time that it heard of another which has no
/// reply: half of what the server remembers. Of these, and of those that were under way then, there
/// are fewer than 512, so neither the call nor its reply is forgotten before it is asked for.
const SPAN: u64 = 256;
