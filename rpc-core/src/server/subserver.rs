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

use crate::error::{Code, Error};
use role::Role;

/// What this process was started as, found out once, before it takes its line. `None` is a main process.
static ROLE: OnceLock<Option<Role>> = OnceLock::new();

/// What it has to do, from when that begins.
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

/// What this process has to do as a subserver, if it is one. Begins to do it.
pub(crate) fn duty() -> Option<&'static Duty> {
    DUTY.get_or_init(|| role().map(Duty::begin)).as_ref()
}

/// The same where it has begun. For servers without subservers, so that a program that has no others
/// need not contain what a subserver does.
///
/// # Errors
/// It is a subserver, and nobody has asked before.
pub(crate) fn known_duty() -> Result<Option<&'static Duty>, Error> {
    match DUTY.get() {
        Some(duty) => Ok(duty.as_ref()),
        None if role().is_none() => Ok(None),
        None => Err(Error::new(
            Code::Unimplemented,
            "this process was started as a subserver, and begins with another server",
        )
        .with_hint("make `rpc_core::subserver_init()` the first line of its `main`")),
    }
}

fn role() -> Option<&'static Role> {
    ROLE.get_or_init(Role::of_this_process).as_ref()
}
