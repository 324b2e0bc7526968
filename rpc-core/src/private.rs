//! What generated code calls. Not public API: it changes with the macro, without notice.

pub use crate::service::{BoxFuture, Descriptor, Method, Request};
pub use crate::shape::{MethodShape, Shape};
pub use crate::wire::Reply;

use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::{Call, Channel, TryCall};
use crate::error::Error;
use crate::transport::IntoAddress;

/// Starts a call of a method that returns a plain value.
pub fn call<A: Serialize, T: DeserializeOwned>(
    channel: &Channel,
    method: &'static Method,
    arguments: &A,
) -> Call<T> {
    Call::new(channel.start(method, arguments))
}

/// Starts a call of a method that returns a `Result`.
pub fn try_call<A: Serialize, T: DeserializeOwned, E: DeserializeOwned>(
    channel: &Channel,
    method: &'static Method,
    arguments: &A,
) -> TryCall<T, E> {
    TryCall::new(channel.start(method, arguments))
}

/// Dials `address` for the service.
pub async fn connect(
    address: impl IntoAddress,
    service: &'static Descriptor,
) -> Result<Channel, Error> {
    Channel::connect_for(address, service).await
}

/// Prepares a channel that dials with its first call.
pub fn connect_lazy(
    address: impl IntoAddress,
    service: &'static Descriptor,
) -> Result<Channel, Error> {
    Channel::connect_lazy_for(address, service)
}

/// Asks the default matchmaker for the service.
pub async fn discover(service: &'static Descriptor) -> Result<Channel, Error> {
    Channel::discover_for(service).await
}

/// The same channel with another deadline.
pub fn with_deadline(channel: &Channel, deadline: Duration) -> Channel {
    channel.with_deadline(deadline)
}

/// Decodes the arguments of a call; they may borrow from the request.
pub fn decode<'a, T: Deserialize<'a>>(request: &'a Request) -> Result<T, Reply> {
    request.decode()
}

/// The reply of a method that returns a plain value.
pub fn reply<T: Serialize>(request: &Request, value: &T) -> Reply {
    request.reply(value)
}

/// The reply of a method that returns a `Result`.
pub fn try_reply<T: Serialize, E: Serialize>(request: &Request, value: &Result<T, E>) -> Reply {
    match value {
        Ok(value) => request.reply(value),
        Err(error) => request.reply_error(error),
    }
}

/// The reply to a method that the service does not have.
pub fn unimplemented(request: &Request) -> Reply {
    Reply::unimplemented(request.method())
}

/// Lends a decoded value to a method that takes it by reference: `str`, `[T]` and every sized type.
pub trait Lend {
    /// What is decoded and held while the method runs.
    type Held<'de>: Deserialize<'de>;

    /// Borrows from what is held.
    fn lend<'a>(held: &'a Self::Held<'_>) -> &'a Self;
}

impl Lend for str {
    type Held<'de> = &'de str;

    fn lend<'a>(held: &'a Self::Held<'_>) -> &'a Self {
        held
    }
}

impl<T: DeserializeOwned> Lend for [T] {
    type Held<'de> = Vec<T>;

    fn lend<'a>(held: &'a Self::Held<'_>) -> &'a Self {
        held
    }
}

impl<T: DeserializeOwned> Lend for T {
    type Held<'de> = T;

    fn lend<'a>(held: &'a Self::Held<'_>) -> &'a Self {
        held
    }
}

/// The two types of a `Result` that is written with one argument, as in `io::Result<T>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `std::result::Result` under another name",
    label = "write `Result<T, E>` here, or a return type that is not called `Result`"
)]
pub trait ResultType {
    /// The type of `Ok`.
    type Ok;
    /// The type of `Err`.
    type Err;
}

impl<T, E> ResultType for Result<T, E> {
    type Ok = T;
    type Err = E;
}

/// Answers at compile time whether `T` is a `Result`: the inherent constant wins where it exists.
pub struct IsResult<T>(PhantomData<T>);

impl<T, E> IsResult<Result<T, E>> {
    /// It is.
    pub const ANSWER: bool = true;
}

/// The other answer.
pub trait NotResult {
    /// It is not.
    const ANSWER: bool = false;
}

impl<T> NotResult for IsResult<T> {}
