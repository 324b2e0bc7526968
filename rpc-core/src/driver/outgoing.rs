//! The reply of a call of ours, as a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::link::Link;
use crate::error::{Code, Error};
use crate::wire::Reply;

/// The reply of a call of ours, as a future. Dropping it cancels the call.
pub(crate) struct Outgoing {
    link: Link,
    token: Option<usize>,
}

impl Outgoing {
    pub(super) fn new(link: Link, token: usize) -> Self {
        let token = Some(token);
        Self { link, token }
    }

    /// The connection over which the call went.
    pub(crate) fn link(&self) -> &Link {
        &self.link
    }
}

impl Future for Outgoing {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let Some(token) = self.token else {
            let error = Error::new(Code::Internal, "the reply was taken already");
            return Poll::Ready(Reply::Failure(error));
        };
        let reply = ready!(self.link.shared().poll_reply(token, cx));
        self.token = None;
        Poll::Ready(reply)
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.link.shared().forget(token);
        }
    }
}
