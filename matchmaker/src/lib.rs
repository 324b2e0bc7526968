//! The rendezvous daemon: services register, clients discover.

pub mod registry;
pub mod service;
pub mod store;
