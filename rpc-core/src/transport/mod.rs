//! Byte pipes of the operating system.

mod address;

pub use address::{Address, HostPort, IntoAddress, UNIX_PATH_MAX};
