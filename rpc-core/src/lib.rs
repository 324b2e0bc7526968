//! Typed RPC for Rust without a second language: annotate a trait, implement it, serve it, call it.
//!
//! ```
//! use rpc_core::{CallError, Error, Server, service};
//! use serde::{Deserialize, Serialize};
//!
//! /// Integer and real arithmetic.
//! #[service]
//! pub trait Calculator {
//!     /// Adds two numbers.
//!     async fn add(&self, a: i64, b: i64) -> i64;
//!     /// Divides `a` by `b`.
//!     async fn divide(&self, a: f64, b: f64) -> Result<f64, MathError>;
//! }
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! pub enum MathError {
//!     DivisionByZero,
//! }
//!
//! struct Calc;
//!
//! impl Calculator for Calc {
//!     async fn add(&self, a: i64, b: i64) -> i64 {
//!         a + b
//!     }
//!     async fn divide(&self, a: f64, b: f64) -> Result<f64, MathError> {
//!         if b == 0.0 { Err(MathError::DivisionByZero) } else { Ok(a / b) }
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let server = Server::builder()
//!     .service(CalculatorServer::new(Calc))
//!     .listen("tcp://127.0.0.1:0")
//!     .start()
//!     .await?;
//!
//! let calculator = CalculatorClient::connect(&server.addresses()[0]).await?;
//! assert_eq!(calculator.add(2, 3).await?, 5);
//! match calculator.divide(1.0, 0.0).await {
//!     // What the service itself answered.
//!     Err(CallError::Service(MathError::DivisionByZero)) => {}
//!     // Anything that went wrong on the way; it says whether the method ran.
//!     Err(CallError::Rpc(error)) => println!("{error}; executed: {}", error.executed()),
//!     Ok(_) => unreachable!("nothing can be divided by zero"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`service`] says what a trait may hold and what is generated for it. The address chooses the
//! transport: [`Address`] lists them, [`transport`] is where one of your own fits in.
//! [`Context::current`] answers everywhere, without an argument for it: how much time is left, who
//! asks, whether anybody still waits. A server that says [`register`](ServerBuilder::register) is
//! found by its name, through `CalculatorClient::discover()` and a matchmaker; [`discovery`] has
//! both sides.
//!
//! # Children
//!
//! A program can be started and spoken to over its standard input and output, as plug-in systems do:
//! [`CalculatorClient::spawn(command)`](Client::spawn) or an `exec:` address on one side,
//! [`serve_stdio`] on the other. The two end together, whichever ends first.
//!
//! Who embeds this crate into a program of another language must have the program ignore SIGPIPE
//! before it speaks over pipes (`exec:`, `pipe:`, `fifo:`), as Rust programs do from the start: a
//! write to a pipe whose reader is gone ends the process otherwise, and unlike for sockets no flag
//! of the write prevents it. And it must leave SIGCHLD at its default, neither ignored nor answered
//! by a `waitpid` for any child, or how a child ended cannot be told.
//!
//! # What holds for every call
//!
//! - It runs at most once, unless its method is marked `#[rpc(idempotent)]`. A failed call says
//!   whether it ran: [`Executed::No`], [`Maybe`](Executed::Maybe) or [`Yes`](Executed::Yes). Only
//!   after `No`, or after `Maybe` of an idempotent method, is it tried again by itself.
//! - It has a deadline: [`Limits::deadline`], 10 s, unless something else is said. Both sides
//!   enforce it.
//! - Dropping its future cancels it at the server, and with it everything that the handler called
//!   in turn.
//! - A handler that panics fails that call alone. With `panic = "abort"` it ends the process, as
//!   any panic does then.
//!
//! # Layout
//!
//! ```text
//!   discovery            names to addresses: registrar, resolver, balance
//!   client   server      stubs above, connections below; layers around the services
//!   driver               protocol + bytes + clock: one task for each connection
//!   proto    transport   a pure state machine; streams of bytes from the system
//!   wire     codec       frames to bytes; values to payloads
//! ```
//!
//! Each layer knows only those below it. ARCHITECTURE.md follows a call through all of them, and
//! PROTOCOL.md has every byte.
//!
//! # Features
//!
//! On by default, and to be left out by programs that must be small or built quickly
//! (`default-features = false`). What is left then is `tcp://`, clients, and servers of the pattern
//! [`Concurrent`](server::Concurrent); an address of anything else is an error that names the feature.
//!
//! | Feature | What it adds |
//! |---|---|
//! | `differences` | what differs between the types of client and server, as a sentence; that they differ is told without it, too |
//! | `discovery` | `mm:` addresses and `discover`, [`register`](ServerBuilder::register), [`discovery::matchmaker`] |
//! | `layers` | the layers of [`layer`]; those of your own need nothing |
//! | `memory` | `memory:` |
//! | `patterns` | [`Iterative`](server::Iterative), [`Forking`](server::Forking), [`CentralDispatch`](server::CentralDispatch); brings `pipes` and `unix` |
//! | `pipes` | `fifo:`, `pipe:`, `exec:`, [`serve_stdio`]; brings `signals` |
//! | `signals` | [`serve`], [`Server::run_until_signal`], [`signal`] |
//! | `tracing` | what nobody is told by an error, told to the crate of that name; `discovery`, `layers`, `pipes`, `signals` and `udp` bring it |
//! | `udp` | `udp://` |
//! | `unix` | `unix:` |
//!
//! Where all of them are off, `bytes::Bytes` in a trait needs the feature `serde` of that crate.
//!
//! Off by default:
//!
//! - `postcard` adds that format as a second codec, `CodecId::POSTCARD`.
//! - `tls` adds `tls://` addresses, `ClientTls` and `ServerTls`, with the cryptography of aws-lc-rs.
//! - `tls-ring` adds the same with that of ring: smaller, and without the key exchange that withstands
//!   quantum computers. Where both are on, it is aws-lc-rs.

#![cfg_attr(
    not(all(
        feature = "differences",
        feature = "discovery",
        feature = "layers",
        feature = "memory",
        feature = "patterns",
        feature = "pipes",
        feature = "signals",
        feature = "tracing",
        feature = "udp",
        feature = "unix"
    )),
    allow(
        dead_code,
        reason = "what only a feature that is off would use is not linked either"
    )
)]

extern crate self as rpc_core;
// All but the derive, which without some features nothing of this crate needs.
#[cfg(not(feature = "_derive"))]
extern crate serde_core as serde;

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
mod pool;
#[cfg(all(unix, feature = "pipes"))]
mod process;
mod proto;
mod race;
pub mod server;
mod service;
pub mod shape;
#[cfg(feature = "signals")]
pub mod signal;
mod split;
pub mod transport;
mod wire;

#[doc(hidden)]
pub mod private;

pub use client::{Call, Channel, TryCall};
pub use codec::CodecId;
pub use context::{Context, Scope};
pub use discovery::{ChannelBuilder, Client};
pub use error::{CallError, Code, Error, Executed};
pub use limits::Limits;
pub use rpc_macros::service;
#[cfg(feature = "signals")]
pub use server::serve;
#[cfg(feature = "pipes")]
pub use server::serve_stdio;
#[cfg(feature = "patterns")]
pub use server::subserver_init;
pub use server::{Server, ServerBuilder};
pub use service::{Descriptor, Method, MethodId, Request, Service};
pub use transport::{Address, IntoAddress};
#[cfg(feature = "_tls")]
pub use transport::{ClientTls, ServerTls};
pub use wire::{Metadata, Payload, Reply};
