//! Shared by the test programs: processes that cannot outlive a test, waits that cannot last for
//! ever, and the service that the processes offer.

pub mod certs;
mod daemon;
#[cfg(target_os = "linux")]
pub mod fifo;
#[cfg(unix)]
pub mod perils;
pub mod plugin;
mod process;
mod temp;
mod wait;
pub mod work;

pub use daemon::{Matchmaker, free_address};
pub use process::{Finished, Process};
pub use temp::TempDir;
#[cfg(unix)]
pub use temp::others_may_enter;
pub use wait::{LIMIT, eventually, eventually_async, nearly_all_within, within};
