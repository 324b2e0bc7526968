//! Typed RPC for Rust without a second language.

extern crate self as rpc_core;

mod cancellation;
pub mod client;
pub mod codec;
mod context;
pub mod discovery;
mod driver;
mod error;
mod fnv;
pub mod layer;
mod limits;
mod proto;
mod race;
pub mod server;
mod service;
pub mod shape;
pub mod signal;
pub mod transport;
mod wire;

#[doc(hidden)]
pub mod private;

pub use client::{Call, Channel, TryCall};
pub use codec::CodecId;
pub use context::{Context, Scope};
pub use discovery::ChannelBuilder;
pub use error::{CallError, Code, Error, Executed};
pub use limits::Limits;
pub use rpc_macros::service;
pub use server::{Server, ServerBuilder, serve};
pub use service::{Descriptor, Method, MethodId, Request, Service};
pub use transport::{Address, IntoAddress};
pub use wire::{Metadata, Reply};
