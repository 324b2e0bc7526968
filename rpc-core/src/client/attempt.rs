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
    pub(super) method: &'static Method,
    pub(super) time: Time,
    pub(super) metadata: Metadata,
    /// The encoded arguments.
    pub(super) payload: Payload,
    /// Why they could not be encoded.
    pub(super) unencodable: Option<Error>,
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
    /// Where the call goes. It stays when the call is over, if it may: mostly the next one of the same
    /// task goes there, too, and then nobody has to be counted once more.
    path: Option<Arc<Path>>,
    codec: CodecId,
    /// [`Limits::decode_depth`](crate::Limits::decode_depth) and
    /// [`Limits::decode_memory`](crate::Limits::decode_memory).
    decode: (usize, usize),
    /// Of no meaning when the call is over, or takes longer than one attempt.
    plan: Plan,
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
    /// Of no call.
    pub(super) fn empty(method: &'static Method) -> Self {
        Self {
            path: None,
            codec: CodecId::BINCODE,
            decode: (0, 0),
            plan: Plan::empty(method),
            stage: Stage::Over,
        }
    }

    /// The next call of a course that is over, of which `write` writes the rest.
    #[inline]
    pub(super) fn begin(
        &mut self,
        path: &Arc<Path>,
        method: &'static Method,
        write: impl FnOnce(&mut Plan),
    ) {
        if !self.goes_by(|last| Arc::ptr_eq(last, path)) {
            let limits = &path.options().limits;
            self.codec = path.options().codec;
            self.decode = (limits.decode_depth, limits.decode_memory);
            self.path = Some(Arc::clone(path));
        }
        self.plan.method = method;
        write(&mut self.plan);
        self.stage = Stage::Unsent;
    }

    /// Whether it goes there, or went there last.
    #[inline]
    pub(super) fn goes_by(&self, it: impl FnOnce(&Arc<Path>) -> bool) -> bool {
        self.path.as_ref().is_some_and(it)
    }

    /// The call is over, or is cancelled by this.
    #[inline]
    pub(super) fn end(&mut self) {
        if let (Stage::First(token), Some(path)) = (&self.stage, &self.path) {
            // It has nothing else to say so.
            if let Some(link) = path.first_ever() {
                link.forget(*token);
            }
        }
        self.stage = Stage::Over;
        self.plan.clear();
        if !self.goes_by(|path| path.is_lasting()) {
            self.path = None;
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
        let Some(path) = &self.path else {
            self.stage = Stage::Over;
            return;
        };
        let plan = &mut self.plan;
        if plan.unencodable.is_some() {
            return self.go_on(None);
        }
        if let Some(first) = path.first() {
            let allowed = plan.time.allowed();
            let write = |call: &mut proto::Call, now, token| plan.write(path, now, token, call);
            match first.leave(allowed, cx, write) {
                Ok(token) => self.stage = Stage::First(token),
                Err(error) => {
                    let failure = plan.failed(path, first, error);
                    self.go_on(Some(failure));
                }
            };
            return;
        }
        match path.ready() {
            Some(link) => match plan.send(path, link, Some(cx)) {
                Ok(outgoing) => self.stage = Stage::Sent(outgoing),
                Err(failure) => self.go_on(Some(failure)),
            },
            None => self.go_on(None),
        }
    }

    /// Goes on after the first attempt failed so, or because it must wait.
    #[cold]
    fn go_on(&mut self, first: Option<Failure>) {
        let empty = Plan::empty(self.plan.method);
        let plan = mem::replace(&mut self.plan, empty);
        self.stage = match &self.path {
            Some(path) => Stage::Longer(Box::pin(plan.run(Arc::clone(path), first))),
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
            Stage::First(token) => match this.path.as_ref().and_then(|path| path.first_ever()) {
                Some(link) => Some(ready!(link.poll_reply(*token, cx))),
                None => None,
            },
            Stage::Sent(outgoing) => Some(ready!(Pin::new(outgoing).poll(cx))),
            _ => None,
        };
        match reply {
            Some(Reply::Failure(error)) => {
                let stage = mem::replace(&mut this.stage, Stage::Over);
                let failure = this.path.as_ref().and_then(|path| {
                    let link = match &stage {
                        Stage::Sent(outgoing) => outgoing.link(),
                        _ => path.first_ever()?,
                    };
                    Some(this.plan.failed(path, link, error))
                });
                this.go_on(failure);
            }
            Some(reply) => {
                if let Some(path) = &this.path {
                    path.retries().deposit();
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

/// Why an attempt failed, and whether another place can be tried at once.
type Failure = (Error, bool);

impl Plan {
    /// Of no call.
    fn empty(method: &'static Method) -> Self {
        Self {
            method,
            time: Time::Allowed(Duration::ZERO, None),
            metadata: Metadata::new(),
            payload: Payload::default(),
            unencodable: None,
        }
    }

    /// Keeps nothing of the call.
    #[inline]
    fn clear(&mut self) {
        self.payload.clear();
        if !self.metadata.is_empty() {
            self.metadata = Metadata::new();
        }
        self.unencodable = None;
    }

    /// Makes attempts until one succeeds or no other is worth it, from the `first` on if that has
    /// failed already.
    async fn run(mut self, path: Arc<Path>, mut first: Option<Failure>) -> Reply {
        if let Some(error) = self.unencodable.take() {
            return Reply::Failure(self.place(&path, error, 1));
        }
        let deadline = self.time.begin(now());
        let mut attempt = 1;
        // What is known of the attempts before the last one.
        let mut executed = Executed::No;
        loop {
            let outcome = match first.take() {
                Some(failure) => Err(failure),
                None => self.attempt(&path, deadline).await,
            };
            let (error, elsewhere) = match outcome {
                Ok(reply) => {
                    if attempt == 1 {
                        path.retries().deposit();
                    }
                    return reply;
                }
                Err(failure) => failure,
            };
            let error = self.place(&path, error, attempt);
            if error.executed() != Executed::No {
                executed = error.executed();
            }
            let failed = |error: Error| Reply::Failure(error.with_executed(executed));
            if attempt >= retry::ATTEMPTS_MAX
                || !retry::is_worthwhile(&error, self.method.idempotent)
                || !(retry::is_free(&error) || path.retries().withdraw(now()))
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
    async fn attempt(&mut self, path: &Path, deadline: Instant) -> Result<Reply, Failure> {
        let link = match path.ready() {
            Some(link) => link,
            None => acquire(path, deadline)
                .await
                .map_err(|error| (error, false))?,
        };
        let mut outgoing = self.send(path, link, None)?;
        match (&mut outgoing).await {
            Reply::Failure(error) => Err(self.failed(path, outgoing.link(), error)),
            reply => Ok(reply),
        }
    }

    #[inline]
    fn send(
        &mut self,
        path: &Path,
        link: Link,
        cx: Option<&mut Context<'_>>,
    ) -> Result<Outgoing, Failure> {
        let sent = link.call_in(self.time.allowed(), cx, |call, now, token| {
            self.write(path, now, token, call);
        });
        match sent {
            Ok(outgoing) => Ok(outgoing),
            Err((link, error)) => Err(self.failed(path, &link, error)),
        }
    }

    /// Writes what is to be sent now into a call of nothing.
    #[inline]
    fn write(&mut self, path: &Path, now: Instant, token: usize, call: &mut proto::Call) {
        let beyond = path.options().beyond;
        call.method = self.method.id.0;
        call.fingerprint = beyond.unwrap_or_else(|| self.method.fingerprint());
        call.deadline = self.time.begin(now);
        call.token = token;
        call.payload.share(&self.payload);
        if !self.metadata.is_empty() {
            call.metadata = self.metadata.clone();
        }
    }

    /// What is to be said of a failure on `link`.
    fn failed(&self, path: &Path, link: &Link, error: Error) -> Failure {
        let error = self.explain(error).with_address(link.peer().address());
        let elsewhere = path.target().failed(link, &error);
        (error, elsewhere)
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

    fn place(&self, path: &Path, error: Error, attempt: u32) -> Error {
        let error = if error.executed() == Executed::No && error.code() == Code::DeadlineExceeded {
            error.with_hint("allow more time with `with_deadline`, or look at what the server does")
        } else {
            error
        };
        error
            .with_method(self.method.service, self.method.name)
            .with_address(path.target().address())
            .with_attempt(attempt)
    }
}

async fn acquire(path: &Path, deadline: Instant) -> Result<Link, Error> {
    let acquired = path.target().acquire();
    match tokio::time::timeout_at(deadline.into(), acquired).await {
        // Whatever ran on the way to a connection, this call did not.
        Ok(result) => result.map_err(|error| error.with_executed(Executed::No)),
        Err(_) => Err(Error::new(
            Code::DeadlineExceeded,
            "the time allowed to the call was over before there was a connection",
        )),
    }
}

#[cfg(test)]
impl Course {
    /// Nothing is left of a call.
    pub(super) fn is_over(&self) -> bool {
        let plan = &self.plan;
        plan.payload.is_empty() && plan.metadata.is_empty() && matches!(self.stage, Stage::Over)
    }
}
