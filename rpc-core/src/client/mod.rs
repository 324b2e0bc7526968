//! The calling side: from a stub's method to a connection and back.
//!
//! A [`Channel`] is what a stub holds. It knows a `Target`, which hands out open connections: a
//! `Dialer` for one address, or a balance over what discovery found. A call runs through `attempt`,
//! which is where deadlines, retries and the wording of failures live; nothing of it is generic
//! over the types of the trait.

mod attempt;
mod call;
mod channel;
pub(crate) mod dial;
mod pending;
mod retry;

pub use call::{Call, TryCall};
pub use channel::Channel;
pub(crate) use channel::Options;
#[cfg(feature = "discovery")]
pub(crate) use channel::Target;
