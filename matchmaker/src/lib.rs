//! The rendezvous daemon.

pub mod registry;
