//! The rendezvous daemon: services register, clients discover.
//!
//! ```text
//!   command                  one run of the program
//!     cli, config, render    what people say and see
//!   daemon                   a server with this service, for programs that embed it
//!   service                  the contract, over ..
//!     registry               .. who offers what, until when: pure, time is an argument
//!     store                  .. and where that is kept
//! ```
//!
//! Read [`registry::Registry`] first: its methods are the whole behaviour.

pub mod cli;
mod command;
pub mod config;
mod daemon;
pub mod registry;
pub mod render;
pub mod service;
pub mod store;

pub use command::main;
pub use config::Config;
pub use daemon::Daemon;
