//! Runs one call: under its context, until it returns, panics or is to stop.
//!
//! A panic ends the call alone, wherever it comes from: the method, its stub, a destructor. Two ends
//! are Rust's own and cannot be fenced: a destructor that panics while another panic unwinds, and any
//! panic of a program built with `panic = "abort"`, end the process.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};

use crate::context::Context;
use crate::driver::{Charge, Incoming, now};
use crate::error::{Code, Error, Executed};
use crate::race::{Either, race};
use crate::service::{BoxFuture, Method, Request, Service};
use crate::wire::Reply;

/// Runs the call and answers it. The answer leaves when the handler is gone, and only then is the
/// call's place free again.
pub(super) async fn run(
    service: Arc<dyn Service>,
    request: Request,
    call: Incoming,
    permit: Permit,
) {
    let method = request.method();
    let context = Context::of_call(
        call.deadline,
        call.cancellation.clone(),
        call.link.clone(),
        call.head.metadata.clone(),
    );
    let mut handler = Contained::new(method, move || service.call(request));
    let running = context.scope(poll_fn(|cx| handler.poll(cx)));
    let reply = match race(call.cancellation.cancelled(), running).await {
        Either::First(()) => None,
        Either::Second(reply) => Some(reply),
    };
    // Its destructors may panic as well, and may ask for the context.
    let intact = context
        .scope(poll_fn(|_| Poll::Ready(handler.destroy())))
        .await;
    let reply = match reply {
        // A call that this one made has the same deadline, and its failure may have come here
        // before our own clock: what a handler makes of that is not what went wrong.
        Some(reply) if now() >= call.deadline => Reply::Failure(late(&reply)),
        Some(reply) if intact => reply,
        Some(_) => Reply::Failure(panicked()),
        // Nobody waits for this one.
        None => Reply::Failure(Error::new(Code::Cancelled, "the call was cancelled")),
    };
    drop(permit);
    call.respond(reply);
}

/// A handler whose panics stay its own.
struct Contained<S> {
    method: &'static Method,
    state: State<S>,
}

enum State<S> {
    /// Not called yet: the stub itself may panic, in the user's `Clone` for example.
    Unstarted(Option<S>),
    Running(BoxFuture<Reply>),
    Gone,
}

impl<S: FnOnce() -> BoxFuture<Reply>> Contained<S> {
    fn new(method: &'static Method, start: S) -> Self {
        Self {
            method,
            state: State::Unstarted(Some(start)),
        }
    }

    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Reply> {
        let state = &mut self.state;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            if let State::Unstarted(start) = state {
                if let Some(start) = start.take() {
                    *state = State::Running(start());
                }
            }
            match state {
                State::Running(handler) => handler.as_mut().poll(cx),
                _ => Poll::Ready(Reply::Failure(panicked())),
            }
        }));
        polled.unwrap_or_else(|payload| {
            self.report(payload);
            Poll::Ready(Reply::Failure(panicked()))
        })
    }

    /// Drops what is left of the handler; `false` if that panicked.
    fn destroy(&mut self) -> bool {
        let state = std::mem::replace(&mut self.state, State::Gone);
        match catch_unwind(AssertUnwindSafe(|| drop(state))) {
            Ok(()) => true,
            Err(payload) => {
                self.report(payload);
                false
            }
        }
    }

    fn report(&self, payload: Box<dyn Any + Send>) {
        // The text goes to the log of this process only; the panic hook has printed it already.
        let text = payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a value that is not text");
        tracing::error!(method = ?self.method, panic = text, "a handler panicked");
        // A payload of the user's own type may panic once more when it is dropped.
        if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(again);
        }
    }
}

/// What the caller is told: nothing of the panic's text, which may hold secrets.
fn panicked() -> Error {
    Error::new(Code::Internal, "the handler panicked").with_executed(Executed::Maybe)
}

/// What the caller is told when the handler returned too late.
fn late(reply: &Reply) -> Error {
    let executed = match reply {
        Reply::Value(_) | Reply::ServiceError(_) => Executed::Yes,
        Reply::Failure(error) => error.executed(),
    };
    Error::new(Code::DeadlineExceeded, "the handler ran out of time").with_executed(executed)
}

/// A place among the calls that a server runs at once.
pub(super) struct Permit {
    calls: Arc<AtomicUsize>,
    /// The bytes of its request.
    _charge: Charge,
}

impl Permit {
    pub(super) fn take(calls: &Arc<AtomicUsize>, max: usize, charge: Charge) -> Option<Self> {
        let taken = calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |running| {
            (running < max).then_some(running + 1)
        });
        taken.ok().map(|_| Self {
            calls: Arc::clone(calls),
            _charge: charge,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }
}
