//! The rendezvous daemon: services register, clients discover.
//!
//! ```text
//!   cli, config, render      what people say and see
//!   service                  the contract, over ..
//!     registry               .. who offers what, until when: pure, time is an argument
//!     store                  .. and where that is kept
//! ```
//!
//! Read [`registry::Registry`] first: its methods are the whole behaviour.

pub mod cli;
pub mod config;
pub mod registry;
pub mod render;
pub mod service;
pub mod store;
