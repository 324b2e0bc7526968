//! From a name to connections: the matchmaker's contract, and both sides of it.
//!
//! The matchmaker is an ordinary service; [`matchmaker`] is its trait. A server's registrar keeps
//! its entry there, whatever happens to either of them. A client's resolver follows a name and
//! feeds a balance, which spreads calls over the instances. Neither side needs the matchmaker for a
//! call to something it already knows.

mod balance;
mod client;
mod connect;
mod daemon;
mod endpoint;
mod host;
pub mod lan;
pub mod matchmaker;
mod member;
mod registrar;
mod resolver;

pub use client::Client;
pub use connect::ChannelBuilder;
pub use matchmaker::MatchmakerClient;
