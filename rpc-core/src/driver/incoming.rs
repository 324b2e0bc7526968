//! A call of the peer's, and who runs it.

use std::time::Instant;

use bytes::Bytes;

use super::gauge::Gauge;
use super::link::Link;
use crate::cancellation::Cancellation;
use crate::error::{Code, Error, Executed};
use crate::proto::CallId;
use crate::wire::{Reply, RequestHead};

/// Runs the calls that the peer makes. A server has one; a client has one if it offers services to
/// its server.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Starts the call and returns at once; its reply goes to [`Incoming::respond`].
    fn start(&self, call: Incoming);

    /// Where connections say how much they hold for their peers.
    fn gauge(&self) -> &Gauge;
}

/// A call of the peer's, on its way to a handler. Dropping it answers with an internal error, so
/// that no caller waits for a handler that is gone.
pub(crate) struct Incoming {
    pub(crate) head: RequestHead,
    pub(crate) payload: Bytes,
    /// When the call is late.
    pub(crate) deadline: Instant,
    /// Fires when the call is to stop. The handler then goes away, and says so by `respond`.
    pub(crate) cancellation: Cancellation,
    pub(crate) link: Link,
    pub(super) id: Option<CallId>,
}

impl Incoming {
    /// The handler is gone and this is what it left.
    pub(crate) fn respond(mut self, reply: Reply) {
        self.finish(reply);
    }

    fn finish(&mut self, reply: Reply) {
        if let Some(id) = self.id.take() {
            let mut state = self.link.shared.lock();
            state.running.remove(&id);
            state.proto.respond(id, reply);
            state.wake_driver();
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.id.is_some() {
            let error = Error::new(Code::Internal, "the handler ended without an answer");
            self.finish(Reply::Failure(error.with_executed(Executed::Maybe)));
        }
    }
}

/// The payload without the `buffer` bytes that it was read into: a handler may keep its request for long,
/// and must not keep its neighbours too. What fills most of a buffer, or was assembled in one of its
/// own, stays where it is.
pub(super) fn own(payload: Bytes, buffer: usize) -> Bytes {
    if payload.len() < buffer / 2 {
        Bytes::copy_from_slice(&payload)
    } else {
        payload
    }
}
