//! Other processes: children that this one starts, and the parent that started this one.
//!
//! `std::process` starts them and a pidfd tells of their end, so neither tokio's `process` nor a
//! handler of SIGCHLD is needed. This module knows nothing of transports, servers and calls.

mod child;
mod parent;

#[cfg(test)]
pub(crate) use child::spawning;
pub(crate) use child::{Child, Group, ending, stillness};
pub(crate) use parent::Parent;

#[cfg(test)]
mod tests;
