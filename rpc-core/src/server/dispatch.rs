//! Runs the calls of one connection: each under its context, until it returns, panics or is to stop.
//!
//! A call is polled once where it is, in a runner that is used again for the next. Most are done then.
//! One that has to wait goes on in a task of its own, runner and all.
//!
//! A panic ends the call alone, wherever it comes from: the method, its stub, a destructor. Two ends
//! are Rust's own and cannot be fenced: a destructor that panics while another panic unwinds, and any
//! panic of a program built with `panic = "abort"`, end the process.

mod runner;

use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Context as TaskContext;
use std::time::{Duration, Instant};

pub(super) use self::runner::Runner;
use super::router::Router;
use super::routes::Route;
use crate::cancellation::Cancellation;
use crate::context::Context;
use crate::driver::{Charge, Link, Session, Started, Ticket, now, spawn};
use crate::error::{Code, Error, Executed};
use crate::proto::{Incoming, Terms};
use crate::race::{Either, race};
use crate::service::Method;
use crate::wire::Reply;

/// Runs the calls of one connection.
///
/// A call that is done when it was polled once leaves nothing behind but its answer, in the runner that
/// the next call takes; so it is neither counted nor looked up again. Only one that waits takes its
/// runner, its place among the server's calls and its context with it.
pub(super) struct Dispatch {
    router: Arc<Router>,
    /// The connection that the calls come over.
    link: Link,
    /// Who makes them: the peer of that connection, or somebody beyond it.
    caller: Link,
    /// What is kept from one call to the next while calls come.
    kept: Option<Kept>,
    /// Of the last call that was done at once, to be used again.
    context: Option<Context>,
    /// Other threads could run what computes for long.
    has_threads: bool,
    pace: Pace,
}

/// A runner at the service that was called last, and a place among the server's calls.
struct Kept {
    service: usize,
    runner: Runner,
    permit: Permit,
}

/// How far a call came.
enum Ran {
    /// It is done, and its answer is in the runner.
    Done,
    GoesOn(Cancellation),
}

impl Dispatch {
    pub(super) fn new(router: Arc<Router>, link: Link) -> Self {
        Self {
            router,
            has_threads: link.has_threads(),
            caller: link.clone(),
            link,
            kept: None,
            context: None,
            pace: Pace::new(),
        }
    }

    /// The next calls are those of `caller`, who is beyond the connection.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn serve(&mut self, caller: Link) {
        self.caller = caller;
        self.context = None;
    }

    /// Runs the call as far as it goes, or says why not.
    #[inline]
    fn run(
        &mut self,
        call: &mut Incoming<'_>,
        terms: &Terms,
        now: Instant,
        cx: &mut TaskContext<'_>,
    ) -> Result<Ran, (Refusal, Error)> {
        let Self {
            router,
            link,
            caller,
            kept,
            context,
            has_threads,
            pace,
        } = self;
        let route = router
            .find(&call.head)
            .map_err(|error| (Refusal::Unknown, error))?;
        let overload = |error| (Refusal::Known, error);
        router.has_room().map_err(overload)?;
        if kept
            .as_ref()
            .is_none_or(|kept| kept.service != route.service)
        {
            prepare(router, route, kept).map_err(overload)?;
        }
        let Some(Kept { runner, .. }) = kept else {
            return Err(overload(panicked()));
        };
        let held = call.arguments.len();
        router
            .fill(&mut runner.call, route, &mut call.arguments, terms)
            .map_err(overload)?;
        let metadata = mem::take(&mut call.head.metadata);
        Context::renew(context, caller, call.deadline, metadata);
        let is_apart = *has_threads && route.is_slow();
        if !is_apart {
            // Where nobody else could run it, it does not matter how long it takes.
            let began = match has_threads {
                true => pace.begin(now),
                false => None,
            };
            let polled = runner.poll(route.method, context, cx);
            if pace.end(began) {
                route.was_slow();
            }
            if polled.is_ready() {
                return Ok(Ran::Done);
            }
        }
        let (Some(kept), Some(context)) = (kept.take(), context.take()) else {
            return Err(overload(panicked()));
        };
        let Some(cancellation) = context.cancellation().cloned() else {
            return Err(overload(panicked()));
        };
        let task = Task {
            router: Arc::clone(router),
            service: kept.service,
            method: route.method,
            is_unpolled: is_apart,
            runner: kept.runner,
            context: Some(context),
            deadline: call.deadline,
            permit: kept.permit.with(router.gauge.charge(held)),
            ticket: Ticket::new(link.clone(), call.id),
        };
        spawn(task.run());
        Ok(Ran::GoesOn(cancellation))
    }

    /// What has become of a call that is done.
    #[inline]
    fn answer(&mut self) -> Started<'_> {
        let Some(Kept { runner, .. }) = &mut self.kept else {
            return Started::Answered(panicked().into());
        };
        runner.release();
        let Some(call) = &mut runner.call else {
            // What panicked took it along.
            return Started::Answered(panicked().into());
        };
        match call.answer.settle() {
            Ok((outcome, value)) => Started::Returned(outcome, value),
            Err(reply) => Started::Answered(reply),
        }
    }
}

/// Why a call does not run.
enum Refusal {
    /// There is no such method.
    Unknown,
    Known,
}

/// Changes what is kept for what calls of `route` need.
#[cold]
fn prepare(router: &Router, route: &Route, kept: &mut Option<Kept>) -> Result<(), Error> {
    if let Some(Kept {
        service, runner, ..
    }) = kept.take()
    {
        router.keep(service, runner);
    }
    *kept = Some(Kept {
        permit: router.permit()?,
        runner: router.runner(route.service).ok_or_else(panicked)?,
        service: route.service,
    });
    Ok(())
}

impl Session for Dispatch {
    #[inline]
    fn start(
        &mut self,
        call: &mut Incoming<'_>,
        terms: &Terms,
        now: Instant,
        cx: &mut TaskContext<'_>,
    ) -> Started<'_> {
        match self.run(call, terms, now, cx) {
            Ok(Ran::Done) => self.answer(),
            Ok(Ran::GoesOn(cancellation)) => Started::GoesOn(cancellation),
            Err((refusal, error)) => {
                let error = error.with_executed(Executed::No);
                match refusal {
                    Refusal::Unknown => Started::Unknown(error),
                    Refusal::Known => Started::Answered(error.into()),
                }
            }
        }
    }

    fn rest(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.router.keep(kept.service, kept.runner);
        }
        self.pace.rest();
    }
}

/// Finds methods that compute for long without waiting, at little cost: the clock is read once for
/// several calls, and for each one only after it has shown that something takes long.
struct Pace {
    /// Calls since the clock was read.
    calls: u32,
    since: Option<Instant>,
    /// When the clock was read last, while more calls come.
    last: Option<Instant>,
    /// So many calls are measured one by one.
    suspicion: u32,
}

impl Pace {
    /// A handler that computes for longer before it waits or returns keeps its connection, and the
    /// task of it, from everything else for longer than a task of its own costs, many times over.
    const LONG: Duration = Duration::from_micros(100);

    /// Calls for one reading of the clock.
    const CALLS: u32 = 16;

    /// Calls that are measured one by one after something took long.
    const SUSPICION: u32 = 64;

    fn new() -> Self {
        Self {
            calls: 0,
            since: None,
            last: None,
            suspicion: 0,
        }
    }

    #[inline]
    fn begin(&mut self, arrived: Instant) -> Option<Instant> {
        if self.suspicion > 0 {
            self.suspicion -= 1;
            return Some(now());
        }
        if self.calls == 0 {
            self.since = Some(self.last.take().unwrap_or(arrived));
        }
        self.calls += 1;
        None
    }

    /// Whether the call took long.
    #[inline]
    fn end(&mut self, began: Option<Instant>) -> bool {
        if let Some(began) = began {
            return Self::is_long(began);
        }
        if self.calls >= Self::CALLS {
            self.look();
        }
        false
    }

    /// Whether what began then takes long.
    fn is_long(began: Instant) -> bool {
        now().saturating_duration_since(began) > Self::LONG
    }

    /// Reads the clock after several calls.
    fn look(&mut self) {
        self.calls = 0;
        if let Some(since) = self.since.take() {
            let now = now();
            if now.saturating_duration_since(since) > Self::LONG {
                self.suspicion = Self::SUSPICION;
            }
            self.last = Some(now);
        }
    }

    fn rest(&mut self) {
        self.look();
        self.last = None;
    }
}

/// A call that goes on in a task of its own.
struct Task {
    router: Arc<Router>,
    service: usize,
    method: &'static Method,
    /// It was not polled in place, so that it is seen here whether it computes for long.
    is_unpolled: bool,
    runner: Runner,
    context: Option<Context>,
    deadline: Instant,
    permit: Permit,
    ticket: Ticket,
}

impl Task {
    /// Runs the call to its end and answers it. The answer leaves when the handler is gone, and only
    /// then is the call's place free again.
    async fn run(self) {
        let Self {
            router,
            service,
            method,
            mut is_unpolled,
            mut runner,
            mut context,
            deadline,
            permit,
            ticket,
        } = self;
        let cancellation = context.as_ref().and_then(Context::cancellation).cloned();
        let Some(cancellation) = cancellation else {
            return;
        };
        let polled = poll_fn(|cx| {
            if !mem::take(&mut is_unpolled) {
                return runner.poll(method, &mut context, cx);
            }
            let began = now();
            let polled = runner.poll(method, &mut context, cx);
            router.computed(method, Pace::is_long(began));
            polled
        });
        let reply = match race(cancellation.cancelled(), polled).await {
            Either::First(()) => None,
            Either::Second(()) => Some(runner.reply()),
        };
        let intact = runner.empty(method, &mut context);
        let reply = match reply {
            // A call that this one made has the same deadline, and its failure may have come here
            // before our own clock: what a handler makes of that is not what went wrong.
            Some(reply) if now() >= deadline => late(&reply).into(),
            Some(reply) if intact => reply,
            Some(_) => panicked().into(),
            // Nobody waits for this one.
            None => Error::new(Code::Cancelled, "the call was cancelled").into(),
        };
        if intact {
            runner.release();
            router.keep(service, runner);
        }
        drop(context);
        drop(permit);
        ticket.respond(reply);
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        Self::Failure(error)
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
    _charge: Option<Charge>,
}

impl Permit {
    pub(super) fn take(calls: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let taken = calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |running| {
            (running < max).then_some(running + 1)
        });
        taken.ok().map(|_| Self {
            calls: Arc::clone(calls),
            _charge: None,
        })
    }

    /// The same place, with what its call holds.
    fn with(mut self, charge: Charge) -> Self {
        self._charge = Some(charge);
        self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
