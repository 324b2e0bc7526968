//! The well-known pipe: many clients, rival servers, deaths at every step, and people who mean harm.
//!
//! The other ends are made by hand (`support::fifo`) from PROTOCOL.md, or are processes that are
//! really killed. Each test bears the number of its row in the catalogue of faults. The whole runs
//! once more in a sandbox that refuses sockets, see [`sandbox`].
#![cfg(target_os = "linux")]
#![allow(missing_docs, unused_qualifications)]

mod clients;
mod deaths;
mod flood;
mod replay;
mod sandbox;
mod site;
mod starts;
mod swaps;
mod system;
mod users;
