//! One call, from its encoded arguments to its reply: the attempts it takes, and the words for
//! their failures.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::channel::Channel;
use super::retry;
use crate::codec::{Budget, CodecId};
use crate::driver::{Link, now};
use crate::error::{Code, Error, Executed};
use crate::proto;
use crate::service::{BoxFuture, Method};
use crate::shape::{MethodShape, first_difference};
use crate::wire::{Metadata, Reply};

/// All that is known of a call before it is sent.
pub(crate) struct Plan {
    pub(crate) channel: Channel,
    pub(crate) method: &'static Method,
    pub(crate) deadline: Instant,
    pub(crate) metadata: Metadata,
    /// The encoded arguments, or why they could not be encoded.
    pub(crate) payload: Result<Bytes, Error>,
}

/// A call that was made and has no reply yet. Nothing is sent before the first poll.
pub(crate) struct Pending {
    method: &'static Method,
    codec: CodecId,
    /// [`Limits::decode_depth`](crate::Limits::decode_depth) and
    /// [`Limits::decode_memory`](crate::Limits::decode_memory).
    decode: (usize, usize),
    run: BoxFuture<Reply>,
}

impl Pending {
    pub(crate) fn new(plan: Plan) -> Self {
        let options = plan.channel.options();
        Self {
            method: plan.method,
            codec: options.codec,
            decode: (options.limits.decode_depth, options.limits.decode_memory),
            run: Box::pin(plan.run()),
        }
    }

    pub(super) fn method(&self) -> &'static Method {
        self.method
    }

    /// How a reply of `length` bytes is to be decoded.
    pub(super) fn codec(&self, length: usize) -> (CodecId, Budget) {
        let (depth, memory) = self.decode;
        (self.codec, Budget::of_message(length, depth, memory))
    }
}

impl Future for Pending {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        self.run.as_mut().poll(cx)
    }
}

impl Plan {
    /// Makes attempts until one succeeds or no other is worth it.
    async fn run(self) -> Reply {
        let payload = match &self.payload {
            Ok(payload) => payload.clone(),
            Err(error) => return Reply::Failure(self.place(error.clone(), 1)),
        };
        let mut attempt = 1;
        // What is known of the attempts before the last one.
        let mut executed = Executed::No;
        loop {
            let (error, elsewhere) = match self.attempt(&payload).await {
                Ok(reply) => {
                    if attempt == 1 {
                        self.channel.retries().deposit();
                    }
                    return reply;
                }
                Err(failure) => failure,
            };
            let error = self.place(error, attempt);
            if error.executed() != Executed::No {
                executed = error.executed();
            }
            let failed = |error: Error| Reply::Failure(error.with_executed(executed));
            if attempt >= retry::ATTEMPTS_MAX
                || !retry::is_worthwhile(&error, self.method.idempotent)
                || !(retry::is_free(&error) || self.channel.retries().withdraw(now()))
            {
                return failed(error);
            }
            attempt += 1;
            if !elsewhere {
                let wait = retry::wait(attempt, &error);
                if now()
                    .checked_add(wait)
                    .is_none_or(|then| then >= self.deadline)
                {
                    return failed(error);
                }
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// One attempt. A failure comes with whether another place can be tried at once.
    async fn attempt(&self, payload: &Bytes) -> Result<Reply, (Error, bool)> {
        let target = self.channel.target();
        let link = match target.ready() {
            Some(link) => link,
            None => self.acquire().await.map_err(|error| (error, false))?,
        };
        let call = proto::Call {
            method: self.method.id.0,
            fingerprint: self.method.fingerprint(),
            deadline: self.deadline,
            metadata: self.metadata.clone(),
            payload: payload.clone(),
        };
        let reply = match link.call(call) {
            Ok(outgoing) => outgoing.await,
            Err(error) => Reply::Failure(error),
        };
        match reply {
            Reply::Failure(error) => {
                let error = self.explain(error).with_address(link.peer().address());
                let elsewhere = target.failed(&link, &error);
                Err((error, elsewhere))
            }
            reply => Ok(reply),
        }
    }

    async fn acquire(&self) -> Result<Link, Error> {
        let acquired = self.channel.target().acquire();
        match tokio::time::timeout_at(self.deadline.into(), acquired).await {
            // Whatever ran on the way to a connection, this call did not.
            Ok(result) => result.map_err(|error| error.with_executed(Executed::No)),
            Err(_) => Err(Error::new(
                Code::DeadlineExceeded,
                "the time allowed to the call was over before there was a connection",
            )),
        }
    }

    /// Says in words what differs between the two sides, where the server sent its shapes.
    fn explain(&self, error: Error) -> Error {
        if error.code() != Code::Skew {
            return error;
        }
        let theirs = error
            .details()
            .and_then(|bytes| MethodShape::from_bytes(bytes));
        let difference = theirs.and_then(|theirs| {
            first_difference(self.method.shape(), &theirs, self.method.arguments)
        });
        match difference {
            Some(difference) => error.with_message(difference),
            None => error,
        }
        .with_hint("build both sides from the same version of the trait and its types")
    }

    fn place(&self, error: Error, attempt: u32) -> Error {
        let error = if error.executed() == Executed::No && error.code() == Code::DeadlineExceeded {
            error.with_hint("allow more time with `with_deadline`, or look at what the server does")
        } else {
            error
        };
        error
            .with_method(self.method.service, self.method.name)
            .with_address(self.channel.address())
            .with_attempt(attempt)
    }
}
