//! A timer that the system keeps, where it has one that is an event like others.

#[cfg(not(all(target_os = "linux", feature = "unix")))]
mod none;
#[cfg(all(target_os = "linux", feature = "unix"))]
mod system;

#[cfg(not(all(target_os = "linux", feature = "unix")))]
pub(super) use none::Timer;
#[cfg(all(target_os = "linux", feature = "unix"))]
pub(super) use system::Timer;
