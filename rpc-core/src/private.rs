//! What generated code calls. Not public API: it changes with the macro, without notice.

mod missing;
mod parts;

pub use self::missing::{Missing, Never};
pub use self::parts::Tail;
pub use crate::service::{
    Answer, BoxFuture, BoxSlot, Descriptor, Exchange, Method, Passage, Recode, Request,
};
pub use crate::shape::{MethodShape, Shape};
pub use crate::wire::{Payload, Reply};

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::client::{Call, Channel, TryCall};
use crate::codec::{Blob, BlobRef, Budget, CodecId};
use crate::error::Error;
use crate::transport::IntoAddress;

/// Starts a call of a method that returns a plain value.
pub fn call<A: Serialize, T: DeserializeOwned>(
    channel: &Channel,
    method: &'static Method,
    arguments: &A,
) -> Call<T> {
    Call::new(channel.start(method, arguments, None))
}

/// Starts a call of a method that returns a `Result`.
pub fn try_call<A: Serialize, T: DeserializeOwned, E: DeserializeOwned>(
    channel: &Channel,
    method: &'static Method,
    arguments: &A,
) -> TryCall<T, E> {
    TryCall::new(channel.start(method, arguments, None))
}

/// Dials `address` for the service.
pub async fn connect(
    address: impl IntoAddress,
    service: &'static Descriptor,
) -> Result<Channel, Error> {
    Channel::builder(address)
        .of_service(service)
        .connect()
        .await
}

/// Prepares a channel that dials with its first call.
pub fn connect_lazy(
    address: impl IntoAddress,
    service: &'static Descriptor,
) -> Result<Channel, Error> {
    Channel::builder(address).of_service(service).connect_lazy()
}

/// Asks the default matchmaker for the service.
pub async fn discover(service: &'static Descriptor) -> Result<Channel, Error> {
    Channel::discover(service.name).await
}

/// The same channel with another deadline.
pub fn with_deadline(channel: &Channel, deadline: Duration) -> Channel {
    channel.with_deadline(deadline)
}

/// Decodes the arguments of a call; they may borrow from the request.
#[inline]
pub fn decode<'a, T: Deserialize<'a>>(request: &'a Request) -> Result<T, Reply> {
    request.decode()
}

/// The arguments that were decoded, encoded for another connection.
pub fn recode<A: Serialize>(
    codec: CodecId,
    arguments: &A,
    tail: Option<Tail>,
) -> Result<Payload, Reply> {
    crate::service::recode_arguments(codec, arguments, tail.and_then(Tail::into_bytes))
}

/// The reply to a method that the service does not have.
pub fn unimplemented(request: &Request) -> Reply {
    Reply::unimplemented(request.method())
}

/// A slot for the calls of `service`, each of which is the future that `make` makes. It hands the
/// service back with the call.
pub fn slot<S, M, F>(service: Arc<S>, make: M) -> BoxSlot
where
    S: Send + Sync + ?Sized + 'static,
    M: Fn(Arc<S>, Box<Exchange>) -> F + Send + 'static,
    F: Future<Output = (Box<Exchange>, Arc<S>)> + Send + 'static,
{
    crate::service::slot(service, make)
}

/// Runs one call in `slot`.
pub fn call_in(slot: Option<BoxSlot>, request: Request) -> BoxFuture<Reply> {
    match slot {
        Some(slot) => crate::service::call_in(slot, request),
        None => Box::pin(std::future::ready(unimplemented(&request))),
    }
}

/// A request as a server would receive it, with the arguments in bincode: for tests of generated
/// code that do without a connection.
pub fn request(method: &'static Method, payload: impl Into<Payload>) -> Request {
    let payload = payload.into();
    Request {
        method,
        codec: CodecId::BINCODE,
        budget: Budget::for_message(payload.len()),
        reply_limit: usize::MAX,
        payload,
    }
}

/// The arguments of a request in `codec`, decoded and encoded again: for tests of generated code.
pub fn recode_request(request: &Request, codec: CodecId) -> Result<Payload, Reply> {
    match &request.method().recode {
        Some(recode) => recode.arguments(request, codec),
        None => Err(unimplemented(request)),
    }
}

/// Lends a decoded value to a method that takes it by reference: `str`, `[T]` and every sized type.
pub trait Lend {
    /// What is decoded and held while the method runs.
    type Held<'de>: Deserialize<'de>;

    /// Borrows from what is held.
    fn lend<'a>(held: &'a Self::Held<'_>) -> &'a Self;
}

impl Lend for str {
    type Held<'de> = &'de Self;

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

/// The two types of a `Result` that is written with one argument, as in `io::Result<T>`. Whether it
/// is a `Result` comes from [`IsResult`]; where it is not, [`Standard`] refuses it.
pub trait ResultType<const IS_RESULT: bool> {
    /// The type of `Ok`.
    type Ok;
    /// The type of `Err`.
    type Err;
}

impl<T, E> ResultType<true> for Result<T, E> {
    type Ok = T;
    type Err = E;
}

impl<T> ResultType<false> for T {
    type Ok = ();
    type Err = ();
}

/// Refuses a type that is only called `Result`. `FAULT` comes from [`IsResult`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is called `Result` and is not `std::result::Result`",
    label = "give the type another name, or return the standard `Result<T, E>`"
)]
pub trait Standard<const FAULT: bool> {
    /// Naming it is the check.
    const OK: () = ();
}

impl<T: ?Sized> Standard<false> for T {}

/// Refuses an alias that has the two types of `Result` in another order. `FAULT` comes from
/// [`IsResultOf`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is written here as `Result<{T}, {E}>`",
    label = "write `std::result::Result`, which has the type of `Ok` first"
)]
pub trait InOrder<T, E, const FAULT: bool> {
    /// Naming it is the check.
    const OK: () = ();
}

impl<R: ?Sized, T, E> InOrder<T, E, false> for R {}

/// Refuses a `Result` in disguise. `FAULT` comes from [`IsResult`].
#[diagnostic::on_unimplemented(
    message = "this return type is `{Self}` under another name",
    label = "write it as `Result<T, E>`, so that the client can tell the service's own error from a \
             failure of the call"
)]
pub trait Plain<const FAULT: bool> {
    /// Naming it is the check.
    const OK: () = ();
}

impl<T: ?Sized> Plain<false> for T {}

/// Answers at compile time whether `T` is a `Result`: the inherent constant wins where it exists.
pub struct IsResult<T>(PhantomData<T>);

impl<T, E> IsResult<Result<T, E>> {
    /// It is.
    pub const ANSWER: bool = true;
}

/// Answers at compile time whether `R` is the `Result` of `T` and `E`.
pub struct IsResultOf<R, T, E>(PhantomData<(R, T, E)>);

impl<T, E> IsResultOf<Result<T, E>, T, E> {
    /// It is.
    pub const ANSWER: bool = true;
}

/// The other answer.
pub trait NotResult {
    /// It is not.
    const ANSWER: bool = false;
}

impl<T> NotResult for IsResult<T> {}

impl<R, T, E> NotResult for IsResultOf<R, T, E> {}

// A type that cannot cross the wire is to give one error, in our words. So generated code uses
// serde only through the structs below, and each of their functions exists twice: the inherent one
// asks for the bound that it needs and wins where the bound holds; elsewhere the one of `Missing`,
// without any bound, keeps the rest of the expansion free of errors. It is never run, because
// `Crosses`, `Serializes` and `Deserializes` have refused the type by then.

/// A type that travels as it is written.
pub struct Wire<T: ?Sized>(PhantomData<T>);

impl<T: Serialize + ?Sized> Wire<T> {
    /// Whether the type can be sent.
    pub const SENDS: bool = true;

    /// What is encoded for an argument.
    pub fn pass(value: &T) -> &T {
        value
    }

    /// Answers what a method returned, a plain value.
    #[inline]
    pub fn reply(request: &Request, answer: &mut Answer, value: T)
    where
        T: Sized + 'static,
    {
        answer.value(request, value);
    }
}

impl<'de, T: Deserialize<'de>> Wire<T> {
    /// Whether the type can be received.
    pub const RECEIVES: bool = true;

    /// The argument, from what was decoded.
    pub fn take(held: T) -> T {
        held
    }

    /// The shape of the type.
    pub fn shape() -> Shape {
        Shape::of::<T>()
    }
}

impl<T: DeserializeOwned> Wire<T> {
    /// Starts a call of a method that returns a plain value.
    pub fn call<A: Serialize>(
        channel: &Channel,
        method: &'static Method,
        arguments: &A,
    ) -> Call<T> {
        call(channel, method, arguments)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Wire<T> {
    /// The reply of a method that returns a plain value, encoded for another connection.
    pub fn recode(passage: &Passage, reply: Reply) -> Reply {
        passage.plain::<T>(reply)
    }
}

/// A type that is spelled like one that can move as a block, such as `Vec<u8>`. The spelling is
/// never its meaning: another type of that name travels as [`Wire`] sends it.
pub struct Block<T: ?Sized>(PhantomData<T>);

impl<T: Serialize + ?Sized> Block<T> {
    /// Whether the type can be sent.
    pub const SENDS: bool = true;

    /// What is encoded for an argument.
    pub fn pass(value: &T) -> BlobRef<'_, T> {
        BlobRef(value)
    }
}

impl<'de, T: Deserialize<'de> + 'static> Block<T> {
    /// Whether the type can be received.
    pub const RECEIVES: bool = true;

    /// The argument, from what was decoded.
    pub fn take(held: Blob<T>) -> T {
        held.0
    }

    /// The shape of the type.
    pub fn shape() -> Shape {
        Shape::of::<T>()
    }
}

/// An argument that is written `&T` and decoded as [`Lend::Held`].
pub struct Lent<T: ?Sized>(PhantomData<T>);

impl<T: Serialize + ?Sized> Lent<T> {
    /// Whether the type can be sent.
    pub const SENDS: bool = true;
}

impl<T: Lend + ?Sized> Lent<T> {
    /// Whether the type can be received.
    pub const RECEIVES: bool = true;

    /// The argument, from what was decoded.
    pub fn lend<'a>(held: &'a T::Held<'_>) -> &'a T {
        T::lend(held)
    }

    /// The shape of what is decoded.
    pub fn shape() -> Shape {
        Shape::of::<T::Held<'_>>()
    }
}

/// The return of a method, `R`, that is a `Result`.
pub struct Outcome<R>(PhantomData<R>);

impl<T: DeserializeOwned, E: DeserializeOwned> Outcome<Result<T, E>> {
    /// Starts a call of a method that returns a `Result`.
    pub fn try_call<A: Serialize>(
        channel: &Channel,
        method: &'static Method,
        arguments: &A,
    ) -> TryCall<T, E> {
        try_call(channel, method, arguments)
    }
}

impl<T: Serialize + 'static, E: Serialize> Outcome<Result<T, E>> {
    /// Answers what a method returned, a `Result`.
    #[inline]
    pub fn try_reply(request: &Request, answer: &mut Answer, value: Result<T, E>) {
        match value {
            Ok(value) => answer.value(request, value),
            Err(error) => answer.error(request, &error),
        }
    }
}

impl<T, E> Outcome<Result<T, E>>
where
    T: Serialize + DeserializeOwned + 'static,
    E: Serialize + DeserializeOwned + 'static,
{
    /// The reply of a method that returns a `Result`, encoded for another connection.
    pub fn recode(passage: &Passage, reply: Reply) -> Reply {
        passage.result::<T, E>(reply)
    }
}

/// Refuses a type that serde can neither write nor read. `FAULT` comes from [`Wire`] or [`Lent`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross the wire: it implements neither `Serialize` nor `Deserialize`",
    label = "needs `#[derive(serde::Serialize, serde::Deserialize)]`, as does every type in it",
    note = "a type of another crate is replaced by one that serde knows, such as `PathBuf`, `String`, \
            `Vec<u8>` or `Duration`, or by one of your own"
)]
pub trait Crosses<const FAULT: bool> {
    /// Naming it is the check.
    const OK: () = ();
}

impl<T: ?Sized> Crosses<false> for T {}

/// Refuses a type that serde can read and not write.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross the wire: it implements `Deserialize` but not `Serialize`",
    label = "needs `#[derive(serde::Serialize)]` too, as does every type in it"
)]
pub trait Serializes<const FAULT: bool> {
    /// Naming it is the check.
    const OK: () = ();
}

impl<T: ?Sized> Serializes<false> for T {}

/// Refuses a type that serde can write and not read.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross the wire: it implements `Serialize` but not `Deserialize`",
    label = "needs `#[derive(serde::Deserialize)]` too, as does every type in it"
)]
pub trait Deserializes<const FAULT: bool> {
    /// Naming it is the check.
    const OK: () = ();
}

impl<T: ?Sized> Deserializes<false> for T {}
