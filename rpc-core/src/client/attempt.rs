//! One call, from its encoded arguments to its reply: the attempts it takes, and the words for
//! their failures.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::channel::Path;
use super::retry;
use crate::codec::{Budget, CodecId};
use crate::driver::{Link, Outgoing, now};
use crate::error::{Code, Error, Executed};
use crate::limits::Limits;
use crate::proto;
use crate::service::{BoxFuture, Method};
#[cfg(feature = "differences")]
use crate::shape::{MethodShape, first_difference};
use crate::wire::{Metadata, Payload, Reply};

/// All that is known of a call before it is sent.
pub(super) struct Plan {
    pub(super) path: Arc<Path>,
    pub(super) method: &'static Method,
    pub(super) time: Time,
    pub(super) metadata: Metadata,
    /// The encoded arguments, or why they could not be encoded.
    pub(super) payload: Result<Payload, Error>,
}

/// What time a call has.
#[derive(Clone, Copy)]
pub(super) enum Time {
    /// So much from when it is sent, or begins to wait for a connection; but no longer than the call
    /// that it belongs to.
    Allowed(Duration, Option<Instant>),
    /// Until then.
    Until(Instant),
}

impl Time {
    /// The most that is left of it.
    #[inline]
    fn allowed(self) -> Duration {
        match self {
            Self::Allowed(allowed, _) => allowed,
            Self::Until(_) => Duration::MAX,
        }
    }

    /// When it is over, if the call begins now or has begun.
    #[inline]
    fn begin(&mut self, now: Instant) -> Instant {
        let deadline = match *self {
            Self::Allowed(allowed, inherited) => {
                // What the clock cannot express is as good as the longest that servers grant.
                let own = now
                    .checked_add(allowed)
                    .unwrap_or(now + Limits::default().deadline_max);
                inherited.map_or(own, |inherited| inherited.min(own))
            }
            Self::Until(deadline) => deadline,
        };
        *self = Self::Until(deadline);
        deadline
    }
}

/// How a call goes on, from its arguments to its reply. Nothing is sent before the first poll.
pub(super) struct Course {
    codec: CodecId,
    /// [`Limits::decode_depth`](crate::Limits::decode_depth) and
    /// [`Limits::decode_memory`](crate::Limits::decode_memory).
    decode: (usize, usize),
    /// Until the call is over, or takes longer than one attempt.
    plan: Option<Plan>,
    stage: Stage,
}

/// How far a call is. Nearly all go from the first to the second and are over: there is a connection,
/// and the first attempt succeeds. Those are not allocated for.
enum Stage {
    Unsent,
    /// Sent over the path's [first connection](Path::first), under this token.
    First(usize),
    Sent(Outgoing),
    /// Waiting for a connection, or on the way to another attempt.
    Longer(BoxFuture<Reply>),
    Over,
}

impl Course {
    #[inline]
    pub(super) fn new(plan: Plan) -> Self {
        let options = plan.path.options();
        Self {
            codec: options.codec,
            decode: (options.limits.decode_depth, options.limits.decode_memory),
            stage: Stage::Unsent,
            plan: Some(plan),
        }
    }

    /// How a reply of `length` bytes is to be decoded.
    #[inline]
    pub(super) fn codec(&self, length: usize) -> (CodecId, Budget) {
        let (depth, memory) = self.decode;
        (self.codec, Budget::of_message(length, depth, memory))
    }

    /// Makes the first attempt, if there is a connection.
    #[inline]
    fn send(&mut self, cx: &mut Context<'_>) {
        let Some(plan) = &self.plan else {
            self.stage = Stage::Over;
            return;
        };
        let Ok(payload) = &plan.payload else {
            return self.go_on(None);
        };
        if let Some(first) = plan.path.first() {
            let mut time = plan.time;
            let write = |call: &mut proto::Call, now, token| {
                plan.write(payload, time.begin(now), token, call);
            };
            return match first.leave(plan.time.allowed(), cx, write) {
                Ok(token) => self.sent(Stage::First(token), time),
                Err(error) => {
                    let failure = plan.failed(first, error);
                    self.go_on(Some(failure));
                }
            };
        }
        match plan.path.ready() {
            Some(link) => match plan.send(payload, link, Some(cx)) {
                Ok((outgoing, time)) => self.sent(Stage::Sent(outgoing), time),
                Err(failure) => self.go_on(Some(failure)),
            },
            None => self.go_on(None),
        }
    }

    #[inline]
    fn sent(&mut self, stage: Stage, time: Time) {
        self.stage = stage;
        if let Some(plan) = &mut self.plan {
            plan.time = time;
        }
    }

    /// Goes on after the first attempt failed so, or because it must wait.
    #[cold]
    fn go_on(&mut self, first: Option<Failure>) {
        self.stage = match self.plan.take() {
            Some(plan) => Stage::Longer(Box::pin(plan.run(first))),
            None => Stage::Over,
        };
    }
}

impl Future for Course {
    type Output = Reply;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        let this = &mut *self;
        if matches!(this.stage, Stage::Unsent) {
            this.send(cx);
            if matches!(this.stage, Stage::First(_) | Stage::Sent(_)) {
                return Poll::Pending;
            }
        }
        let reply = match &mut this.stage {
            Stage::First(token) => match this.plan.as_ref().and_then(|plan| plan.path.first_ever())
            {
                Some(link) => Some(ready!(link.poll_reply(*token, cx))),
                None => None,
            },
            Stage::Sent(outgoing) => Some(ready!(Pin::new(outgoing).poll(cx))),
            _ => None,
        };
        match reply {
            Some(Reply::Failure(error)) => {
                let stage = mem::replace(&mut this.stage, Stage::Over);
                let failure = this.plan.as_ref().and_then(|plan| {
                    let link = match &stage {
                        Stage::Sent(outgoing) => outgoing.link(),
                        _ => plan.path.first_ever()?,
                    };
                    Some(plan.failed(link, error))
                });
                this.go_on(failure);
            }
            Some(reply) => {
                if let Some(plan) = &this.plan {
                    plan.path.retries().deposit();
                }
                this.stage = Stage::Over;
                return Poll::Ready(reply);
            }
            None => {}
        }
        if let Stage::Longer(run) = &mut this.stage {
            let reply = ready!(run.as_mut().poll(cx));
            this.stage = Stage::Over;
            return Poll::Ready(reply);
        }
        let error = Error::new(Code::Internal, "the call was polled after its end");
        Poll::Ready(Reply::Failure(error))
    }
}

/// Dropping a call cancels it. One that goes over the first connection has nothing else to say so.
impl Drop for Course {
    #[inline]
    fn drop(&mut self) {
        if let (Stage::First(token), Some(plan)) = (&self.stage, &self.plan) {
            if let Some(link) = plan.path.first_ever() {
                link.forget(*token);
            }
        }
    }
}

/// Why an attempt failed, and whether another place can be tried at once.
type Failure = (Error, bool);

impl Plan {
    /// Makes attempts until one succeeds or no other is worth it, from the `first` on if that has
    /// failed already.
    async fn run(mut self, mut first: Option<Failure>) -> Reply {
        let payload = match mem::replace(&mut self.payload, Ok(Payload::default())) {
            Ok(payload) => payload,
            Err(error) => return Reply::Failure(self.place(error, 1)),
        };
        let deadline = self.time.begin(now());
        let mut attempt = 1;
        // What is known of the attempts before the last one.
        let mut executed = Executed::No;
        loop {
            let outcome = match first.take() {
                Some(failure) => Err(failure),
                None => self.attempt(&payload, deadline).await,
            };
            let (error, elsewhere) = match outcome {
                Ok(reply) => {
                    if attempt == 1 {
                        self.path.retries().deposit();
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
                || !(retry::is_free(&error) || self.path.retries().withdraw(now()))
            {
                return failed(error);
            }
            attempt += 1;
            if !elsewhere {
                let wait = retry::wait(attempt, &error);
                if now().checked_add(wait).is_none_or(|then| then >= deadline) {
                    return failed(error);
                }
                tokio::time::sleep(wait).await;
            }
        }
    }

    /// One attempt.
    async fn attempt(&self, payload: &Payload, deadline: Instant) -> Result<Reply, Failure> {
        let link = match self.path.ready() {
            Some(link) => link,
            None => self
                .acquire(deadline)
                .await
                .map_err(|error| (error, false))?,
        };
        let (mut outgoing, _) = self.send(payload, link, None)?;
        match (&mut outgoing).await {
            Reply::Failure(error) => Err(self.failed(outgoing.link(), error)),
            reply => Ok(reply),
        }
    }

    #[inline]
    fn send(
        &self,
        payload: &Payload,
        link: Link,
        cx: Option<&mut Context<'_>>,
    ) -> Result<(Outgoing, Time), Failure> {
        let mut time = self.time;
        let sent = link.call_in(time.allowed(), cx, |call, now, token| {
            self.write(payload, time.begin(now), token, call);
        });
        match sent {
            Ok(outgoing) => Ok((outgoing, time)),
            Err((link, error)) => Err(self.failed(&link, error)),
        }
    }

    /// Writes what is to be sent into a call of nothing.
    #[inline]
    fn write(&self, payload: &Payload, deadline: Instant, token: usize, call: &mut proto::Call) {
        let beyond = self.path.options().beyond;
        call.method = self.method.id.0;
        call.fingerprint = beyond.unwrap_or_else(|| self.method.fingerprint());
        call.deadline = deadline;
        call.token = token;
        call.payload.share(payload);
        if !self.metadata.is_empty() {
            call.metadata = self.metadata.clone();
        }
    }

    /// What is to be said of a failure on `link`.
    fn failed(&self, link: &Link, error: Error) -> Failure {
        let error = self.explain(error).with_address(link.peer().address());
        let elsewhere = self.path.target().failed(link, &error);
        (error, elsewhere)
    }

    async fn acquire(&self, deadline: Instant) -> Result<Link, Error> {
        let acquired = self.path.target().acquire();
        match tokio::time::timeout_at(deadline.into(), acquired).await {
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
        #[cfg(feature = "differences")]
        let error = match self.difference(&error) {
            Some(difference) => error.with_message(difference),
            None => error,
        };
        error.with_hint("build both sides from the same version of the trait and its types")
    }

    #[cfg(feature = "differences")]
    fn difference(&self, error: &Error) -> Option<String> {
        let theirs = MethodShape::from_bytes(error.details()?)?;
        first_difference(self.method.shape(), &theirs, self.method.arguments)
    }

    fn place(&self, error: Error, attempt: u32) -> Error {
        let error = if error.executed() == Executed::No && error.code() == Code::DeadlineExceeded {
            error.with_hint("allow more time with `with_deadline`, or look at what the server does")
        } else {
            error
        };
        error
            .with_method(self.method.service, self.method.name)
            .with_address(self.path.target().address())
            .with_attempt(attempt)
    }
}
