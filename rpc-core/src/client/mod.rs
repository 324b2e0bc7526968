//! The calling side.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use serde::Serialize;

use crate::error::{CallError, Code, Error};
use crate::service::{Descriptor, Method};
use crate::transport::IntoAddress;

/// A handle to a service.
#[derive(Clone, Debug)]
pub struct Channel;

/// A call.
pub struct Pending;

impl Channel {
    pub(crate) fn start<A: Serialize>(&self, _: &'static Method, _: &A) -> Pending {
        Pending
    }
    pub(crate) async fn connect_for(
        _: impl IntoAddress,
        _: &'static Descriptor,
    ) -> Result<Self, Error> {
        Ok(Self)
    }
    pub(crate) fn connect_lazy_for(
        _: impl IntoAddress,
        _: &'static Descriptor,
    ) -> Result<Self, Error> {
        Ok(Self)
    }
    pub(crate) async fn discover_for(_: &'static Descriptor) -> Result<Self, Error> {
        Ok(Self)
    }
    /// x
    pub fn with_deadline(&self, _: Duration) -> Self {
        self.clone()
    }
}

/// A call of a method that returns a plain value.
pub struct Call<T>(PhantomData<fn() -> T>);
impl<T> Call<T> {
    pub(crate) fn new(_: Pending) -> Self {
        Self(PhantomData)
    }
}
impl<T> Future for Call<T> {
    type Output = Result<T, Error>;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Err(Error::new(Code::Unreachable, "")))
    }
}

/// A call of a method that returns a `Result`.
pub struct TryCall<T, E>(PhantomData<fn() -> (T, E)>);
impl<T, E> TryCall<T, E> {
    pub(crate) fn new(_: Pending) -> Self {
        Self(PhantomData)
    }
}
impl<T, E> Future for TryCall<T, E> {
    type Output = Result<T, CallError<E>>;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Err(Error::new(Code::Unreachable, "").into()))
    }
}
