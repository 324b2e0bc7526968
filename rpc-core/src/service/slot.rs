//! Places in which the calls of a service run, one after the other. Knows no connections.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::{BoxFuture, Exchange, Request};
use crate::wire::Reply;

/// A place in which calls of one service run, one after the other.
///
/// All three functions run the user's code and may panic; [`empty`](Self::empty) makes the slot fit
/// for the next call even then. Of the call that panicked nothing comes back.
#[doc(hidden)]
pub trait Slot: Send {
    /// Puts a call in and polls it once. When it is ready the slot is empty again, and the call comes
    /// back with its answer.
    fn run(self: Pin<&mut Self>, call: Box<Exchange>, cx: &mut Context<'_>) -> Poll<Box<Exchange>>;

    /// Goes on with a call that was pending. When it is ready the slot is empty again, and the call
    /// comes back with its answer.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Box<Exchange>>;

    /// Drops what is left of a call.
    fn empty(self: Pin<&mut Self>);
}

/// A slot that can be moved.
#[doc(hidden)]
pub type BoxSlot = Pin<Box<dyn Slot>>;

pin_project! {
    /// A slot for the futures that `make` makes of a service and a call. They hand the service back
    /// with the call, so that its holders need not be counted up and down each time. One that is done
    /// stays until the next takes its place: it has handed back all that it had.
    struct Reused<S: ?Sized, M, F> {
        service: Arc<S>,
        spare: Option<Arc<S>>,
        make: M,
        #[pin]
        future: Option<F>,
    }
}

/// A slot for the calls of `service`.
pub(crate) fn slot<S, M, F>(service: Arc<S>, make: M) -> BoxSlot
where
    S: Send + Sync + ?Sized + 'static,
    M: Fn(Arc<S>, Box<Exchange>) -> F + Send + 'static,
    F: Future<Output = (Box<Exchange>, Arc<S>)> + Send + 'static,
{
    Box::pin(Reused {
        service,
        spare: None,
        make,
        future: None,
    })
}

impl<S, M, F> Slot for Reused<S, M, F>
where
    S: Send + Sync + ?Sized,
    M: Fn(Arc<S>, Box<Exchange>) -> F + Send,
    F: Future<Output = (Box<Exchange>, Arc<S>)> + Send,
{
    #[inline]
    fn run(self: Pin<&mut Self>, call: Box<Exchange>, cx: &mut Context<'_>) -> Poll<Box<Exchange>> {
        let mut this = self.project();
        let spare = this.spare.take();
        let service = spare.unwrap_or_else(|| Arc::clone(this.service));
        this.future.set(Some((this.make)(service, call)));
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let (call, service) = ready!(future.poll(cx));
        *this.spare = Some(service);
        Poll::Ready(call)
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Box<Exchange>> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        let (call, service) = ready!(future.poll(cx));
        *this.spare = Some(service);
        Poll::Ready(call)
    }

    fn empty(self: Pin<&mut Self>) {
        self.project().future.set(None);
    }
}

/// One call in a slot of its own.
pub(crate) fn call_in(mut slot: BoxSlot, request: Request) -> BoxFuture<Reply> {
    let mut call = Some(Exchange::new(request));
    Box::pin(std::future::poll_fn(move |cx| {
        let polled = match call.take() {
            Some(call) => slot.as_mut().run(call, cx),
            None => slot.as_mut().poll(cx),
        };
        polled.map(|mut call| call.answer.take())
    }))
}
