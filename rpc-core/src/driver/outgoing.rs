//! The reply of a call of ours, as a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::link::Link;
use super::now;
use super::state::Slot;
use crate::error::{Code, Error};
use crate::proto::CallId;
use crate::wire::Reply;

/// The reply of a call of ours, as a future. Dropping it cancels the call.
pub(crate) struct Outgoing {
    pub(super) link: Link,
    pub(super) id: Option<CallId>,
}

impl Future for Outgoing {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let Some(id) = self.id else {
            let error = Error::new(Code::Internal, "the reply was taken already");
            return Poll::Ready(Reply::Failure(error));
        };
        let mut state = self.link.shared.lock();
        match state.calls.get_mut(&id) {
            Some(Slot::Waiting(waker)) => {
                match waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                return Poll::Pending;
            }
            Some(Slot::Done(_)) => {}
            None => {
                let error = Error::new(Code::Internal, "the call is not known");
                return Poll::Ready(Reply::Failure(error));
            }
        }
        let reply = match state.calls.remove(&id) {
            Some(Slot::Done(reply)) => reply,
            _ => Reply::Failure(Error::new(Code::Internal, "the call is not known")),
        };
        drop(state);
        self.id = None;
        Poll::Ready(reply)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            let mut state = self.link.shared.lock();
            if let Some(Slot::Waiting(_)) = state.calls.remove(&id) {
                state.proto.cancel(now(), id);
                state.wake_driver();
            }
        }
    }
}
