//! Subservers: processes that a server starts to have them speak with its clients.
//!
//! A subserver is the program of the server, started once more with the same arguments. It learns
//! what it is from one environment variable ([`Role`]), and everything else over its descriptor 0,
//! the [`Line`] to the main process: which client to serve, and when to finish. The line ends when
//! the main process does, however that ends, and the subserver with it.
//!
//! ```text
//!   main process                               subserver
//!   Starter --spawn--> Subserver{child, line}  subserver_init() -> Duty{role, orders}
//!                        |   Order::Serve, Order::Drain  --> |
//!                        | <-- Report::Agreed                |  start() serves, and exits
//! ```
//!
//! What is said to clients, and how many of them a subserver has, is the pattern's business.

mod duty;
mod idle;
mod line;
mod resources;
mod restless;
mod role;
mod sentry;
mod start;
mod threads;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use duty::Duty;
pub(crate) use line::{Order, Report};
pub(crate) use resources::Resources;
pub(crate) use role::Kind;
pub(crate) use sentry::{Progress, Sentry};
pub(crate) use start::{Starter, Subserver};

/// What this process is, found out once. `None` is a main process.
static DUTY: OnceLock<Option<Duty>> = OnceLock::new();

/// Whether the program has said in `main` that it can be started as a subserver.
static PREPARED: AtomicBool = AtomicBool::new(false);

pub(super) fn init() -> bool {
    PREPARED.store(true, Ordering::Relaxed);
    duty().is_some()
}

/// Whether [`init`] was called: a program that is started as a subserver and does not know it would
/// do everything that it does otherwise once more.
pub(crate) fn is_prepared() -> bool {
    PREPARED.load(Ordering::Relaxed)
}

/// The same, as far as anybody has asked. Whoever asks no more than this does not need what a
/// subserver is made of.
pub(crate) fn known_duty() -> Option<&'static Duty> {
    DUTY.get()?.as_ref()
}

/// What this process has to do as a subserver, if it is one.
pub(crate) fn duty() -> Option<&'static Duty> {
    DUTY.get_or_init(Duty::begin).as_ref()
}
