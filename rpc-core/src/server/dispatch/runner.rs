//! Runs one call after the other in a slot, and fences them: a panic ends the call that it came from,
//! and nothing else.

use std::any::Any;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context as TaskContext, Poll};

use super::panicked;
use crate::context::Context;
use crate::service::{BoxSlot, Exchange, Method};
use crate::wire::Reply;

/// A slot, and the call that goes into it and comes back out of it.
pub(in crate::server) struct Runner {
    slot: BoxSlot,
    /// A call that is to be run, or was; none while it is in the slot.
    pub(super) call: Option<Box<Exchange>>,
}

impl Runner {
    pub(in crate::server) fn new(slot: BoxSlot) -> Self {
        Self { slot, call: None }
    }

    /// Runs the call as far as it goes. When it is ready its answer is there.
    #[inline]
    pub(super) fn poll(
        &mut self,
        method: &'static Method,
        context: &mut Option<Context>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let Self { slot, call } = self;
        let poll = || match call.take() {
            Some(call) => slot.as_mut().run(call, cx),
            None => slot.as_mut().poll(cx),
        };
        match catch_unwind(AssertUnwindSafe(|| Context::enter(context, poll))) {
            Ok(polled) => polled.map(|done| *call = Some(done)),
            Err(payload) => {
                report(method, payload);
                self.empty(method, context);
                Poll::Ready(())
            }
        }
    }

    /// Drops what is left of the call; `false` if that panicked. Its destructors may ask for the
    /// context, too.
    pub(super) fn empty(&mut self, method: &'static Method, context: &mut Option<Context>) -> bool {
        let empty = || self.slot.as_mut().empty();
        match catch_unwind(AssertUnwindSafe(|| Context::enter(context, empty))) {
            Ok(()) => true,
            Err(payload) => {
                report(method, payload);
                false
            }
        }
    }

    /// Lets go of what the call brought.
    #[inline]
    pub(super) fn release(&mut self) {
        if let Some(call) = &mut self.call {
            call.request.payload.clear();
        }
    }

    /// The reply of a call that is ready. One that panicked left nothing.
    pub(super) fn reply(&mut self) -> Reply {
        match &mut self.call {
            Some(call) => call.answer.take(),
            None => panicked().into(),
        }
    }
}

fn report(method: &'static Method, payload: Box<dyn Any + Send>) {
    // The text goes to the log of this process only; the panic hook has printed it already.
    let text = payload
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text");
    #[cfg(feature = "tracing")]
    tracing::error!(?method, panic = text, "a handler panicked");
    #[cfg(not(feature = "tracing"))]
    let _ = (method, text);
    // A payload of the user's own type may panic once more when it is dropped.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(again);
    }
}
