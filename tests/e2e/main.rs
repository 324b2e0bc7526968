//! The whole path between real processes: what the framework promises when they register, discover,
//! call, fall ill and die.

mod attempts;
mod calculator;
mod cancel;
#[cfg(target_os = "linux")]
mod central;
mod child;
mod clear;
mod daemon;
mod discover;
#[cfg(target_os = "linux")]
mod forking;
#[cfg(target_os = "linux")]
mod forking_pipes;
mod iterative;
mod kill;
mod lan;
mod load;
#[cfg(target_os = "linux")]
mod neighbours;
mod pipes;
mod program;
mod restart;
mod runtime;
mod skew;
#[cfg(target_os = "linux")]
mod stepping_down;
#[cfg(target_os = "linux")]
mod unix;

/// Tests that need the machine for themselves, because they put load on it or measure time, take
/// turns here. The others run beside them.
static STAGE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
