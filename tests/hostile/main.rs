//! Peers that mean harm: attackers of a server, and servers that attack their clients.
//!
//! The bytes are made by hand in [`wire`], from PROTOCOL.md and not from the crate, and they travel
//! over real sockets. Each test bears the number of its row in the catalogue of faults. Whatever
//! happens, three things are checked at the end of each: nothing in the framework panicked, the
//! server still serves, and nothing of the attack is left.
#![allow(missing_docs, unused_qualifications)]

mod bombs;
mod callee;
#[cfg(target_os = "linux")]
mod central;
mod client;
mod drops;
mod flood;
mod framing;
#[cfg(target_os = "linux")]
mod idle;
mod memory;
mod panics;
mod prey;
mod random;
mod slow;
#[cfg(unix)]
mod starved;
mod wire;
