//! From a name to connections: the matchmaker's contract, and both sides of it.
//!
//! The matchmaker is an ordinary service; [`matchmaker`] is its trait. A server's registrar keeps
//! its entry there, whatever happens to either of them. A client's resolver follows a name and
//! feeds a balance, which spreads calls over the instances. Neither side needs the matchmaker for a
//! call to something it already knows.

#[cfg(feature = "discovery")]
mod balance;
mod client;
mod connect;
#[cfg(feature = "discovery")]
mod daemon;
#[cfg(feature = "discovery")]
mod endpoint;
#[cfg(feature = "discovery")]
mod host;
#[cfg(feature = "discovery")]
pub mod lan;
#[cfg(feature = "discovery")]
pub mod matchmaker;
#[cfg(feature = "discovery")]
mod member;
#[cfg(feature = "discovery")]
mod registrar;
#[cfg(feature = "discovery")]
mod resolver;

pub use client::Client;
pub use connect::ChannelBuilder;
#[cfg(feature = "discovery")]
pub use matchmaker::MatchmakerClient;
