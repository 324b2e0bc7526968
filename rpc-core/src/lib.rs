//! Typed RPC for Rust without a second language.

extern crate self as rpc_core;

pub mod client;
pub mod codec;
pub mod discovery {
    //! How services are found: the contract of the matchmaker.

    pub mod matchmaker;
}
mod error;
mod service;
pub mod shape;
pub mod signal;
pub mod transport;

#[doc(hidden)]
pub mod private;

pub use client::{Call, Channel, TryCall};
pub use codec::CodecId;
pub use error::{CallError, Code, Error, Executed};
pub use rpc_macros::service;
pub use service::{Descriptor, Method, MethodId, Reply, Request, Service};
pub use transport::{Address, IntoAddress};
