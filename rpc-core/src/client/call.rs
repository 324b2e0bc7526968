//! The futures that client methods return: the last place where types matter.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use serde::de::DeserializeOwned;

use super::pending::Pending;
use crate::error::{CallError, Code, Error, Executed};
use crate::wire::{Payload, Reply};

/// A call of a method that returns a plain value.
///
/// The arguments are encoded and the [`Context`](crate::Context) is read when the method is called; the
/// call is sent, and its deadline counts, when the future is first polled. Dropping it cancels the call
/// at the server, and everything that the call had called in turn.
#[must_use = "a call is sent when it is awaited"]
pub struct Call<T> {
    pending: Pending,
    returns: PhantomData<fn() -> T>,
}

impl<T> Call<T> {
    pub(crate) fn new(pending: Pending) -> Self {
        Self {
            pending,
            returns: PhantomData,
        }
    }
}

impl<T: DeserializeOwned + 'static> Future for Call<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(Pin::new(&mut self.pending).poll(cx));
        Poll::Ready(match reply {
            Reply::Value(payload) => self.pending.decode(payload),
            Reply::ServiceError(_) => Err(self.pending.blame(Error::new(
                Code::Skew,
                "the server answered with an error of the service, which this method does not have",
            ))),
            Reply::Failure(error) => Err(error),
        })
    }
}

/// A call of a method that returns a `Result`; its two kinds of failure are kept apart by
/// [`CallError`]. Otherwise as [`Call`].
#[must_use = "a call is sent when it is awaited"]
pub struct TryCall<T, E> {
    pending: Pending,
    returns: PhantomData<fn() -> (T, E)>,
}

impl<T, E> TryCall<T, E> {
    pub(crate) fn new(pending: Pending) -> Self {
        Self {
            pending,
            returns: PhantomData,
        }
    }
}

impl<T: DeserializeOwned + 'static, E: DeserializeOwned + 'static> Future for TryCall<T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(Pin::new(&mut self.pending).poll(cx));
        Poll::Ready(match reply {
            Reply::Value(payload) => Ok(self.pending.decode(payload)?),
            Reply::ServiceError(payload) => Err(CallError::Service(self.pending.decode(payload)?)),
            Reply::Failure(error) => Err(CallError::Rpc(error)),
        })
    }
}

impl Pending {
    #[inline]
    fn decode<T: DeserializeOwned + 'static>(&self, payload: Payload) -> Result<T, Error> {
        let (codec, budget) = self.codec(payload.len());
        let decoded = match payload.into_shared() {
            Ok(bytes) => codec.decode_shared(bytes, &budget),
            Err(payload) => {
                let tail = payload.parts();
                let bytes = tail.map_or_else(|| &*payload, |split| split.head());
                codec.decode_owned(bytes, tail, &budget)
            }
        };
        decoded.map_err(|error| self.blame(error))
    }

    /// The failure of a call that ran and whose reply is of no use.
    fn blame(&self, error: Error) -> Error {
        let method = self.method();
        error
            .with_executed(Executed::Yes)
            .with_method(method.service, method.name)
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Call").field(self.pending.method()).finish()
    }
}

impl<T, E> fmt::Debug for TryCall<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TryCall")
            .field(self.pending.method())
            .finish()
    }
}
