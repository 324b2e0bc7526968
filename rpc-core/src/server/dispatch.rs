//! Runs the calls of one connection: each under its context, until it returns, panics or is to stop.
//!
//! A call is polled once where it is, in a slot that is used again for the next. Most are done then.
//! One that has to wait goes on in a task of its own, slot and all.
//!
//! A panic ends the call alone, wherever it comes from: the method, its stub, a destructor. Two ends
//! are Rust's own and cannot be fenced: a destructor that panics while another panic unwinds, and any
//! panic of a program built with `panic = "abort"`, end the process.

use std::any::Any;
use std::future::poll_fn;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use super::router::{Route, Router};
use crate::cancellation::Cancellation;
use crate::context::Context;
use crate::driver::{Charge, Incoming, Link, Session, Started, Ticket, has_threads, now};
use crate::error::{Code, Error, Executed};
use crate::proto::Terms;
use crate::race::{Either, race};
use crate::service::{BoxSlot, Method, Request};
use crate::wire::Reply;

/// Runs the calls of one connection.
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

/// A slot for the service that was called last, and a place among the server's calls.
struct Kept {
    service: usize,
    slot: BoxSlot,
    permit: Permit,
}

impl Dispatch {
    pub(super) fn new(router: Arc<Router>, link: Link) -> Self {
        Self {
            router,
            caller: link.clone(),
            link,
            kept: None,
            context: None,
            has_threads: has_threads(),
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
        call: &mut Incoming,
        terms: &Terms,
        now: Instant,
        cx: &mut TaskContext<'_>,
    ) -> Result<Started, (Refusal, Error)> {
        let Self {
            router,
            link,
            caller,
            kept,
            context: last,
            has_threads,
            pace,
        } = self;
        let route = router
            .find(&call.head)
            .map_err(|error| (Refusal::Unknown, error))?;
        let overload = |error| (Refusal::Known, error);
        router.has_room().map_err(overload)?;
        let held = call.payload.len();
        let request = router
            .request(route, mem::take(&mut call.payload), terms)
            .map_err(overload)?;
        if kept
            .as_ref()
            .is_none_or(|kept| kept.service != route.service)
        {
            prepare(router, route, kept).map_err(overload)?;
        }
        let Some(Kept {
            service,
            slot,
            permit,
        }) = kept.take()
        else {
            return Err(overload(panicked()));
        };
        let metadata = mem::take(&mut call.head.metadata);
        let context = Context::of_call(last.take(), caller, call.deadline, metadata);
        let mut running = Running {
            method: route.method,
            slot,
            request: Some(request),
            context: Some(context),
        };
        if !(*has_threads && route.is_slow.load(Ordering::Relaxed)) {
            let began = pace.begin(now);
            let polled = running.poll(cx);
            if pace.end(began) {
                route.is_slow.store(true, Ordering::Relaxed);
            }
            if let Poll::Ready(reply) = polled {
                *last = running.context;
                *kept = Some(Kept {
                    service,
                    slot: running.slot,
                    permit,
                });
                return Ok(Started::Answered(reply));
            }
        }
        let Some(cancellation) = running.cancellation() else {
            return Ok(Started::Answered(panicked().into()));
        };
        let task = Task {
            router: Arc::clone(router),
            service,
            deadline: call.deadline,
            permit: permit.with(router.gauge.charge(held)),
            ticket: Ticket::new(link.clone(), call.id),
            running,
        };
        tokio::spawn(task.run());
        Ok(Started::GoesOn(cancellation))
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
    if let Some(Kept { service, slot, .. }) = kept.take() {
        router.keep(service, slot);
    }
    *kept = Some(Kept {
        permit: router.permit()?,
        slot: router.slot(route.service).ok_or_else(panicked)?,
        service: route.service,
    });
    Ok(())
}

impl Session for Dispatch {
    #[inline]
    fn start(
        &mut self,
        call: &mut Incoming,
        terms: &Terms,
        now: Instant,
        cx: &mut TaskContext<'_>,
    ) -> Started {
        self.run(call, terms, now, cx)
            .unwrap_or_else(|(refusal, error)| {
                let error = error.with_executed(Executed::No);
                match refusal {
                    Refusal::Unknown => Started::Unknown(error),
                    Refusal::Known => Started::Answered(error.into()),
                }
            })
    }

    fn rest(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.router.keep(kept.service, kept.slot);
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
            return now().saturating_duration_since(began) > Self::LONG;
        }
        if self.calls >= Self::CALLS {
            self.look();
        }
        false
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

/// A call in its slot, whose panics stay its own.
struct Running {
    method: &'static Method,
    slot: BoxSlot,
    /// Until the stub has it.
    request: Option<Request>,
    context: Option<Context>,
}

impl Running {
    #[inline]
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Reply> {
        let Self {
            slot,
            request,
            context,
            ..
        } = self;
        let poll = || match request.take() {
            Some(request) => slot.as_mut().run(request, cx),
            None => slot.as_mut().poll(cx),
        };
        match catch_unwind(AssertUnwindSafe(|| Context::enter(context, poll))) {
            Ok(polled) => polled,
            Err(payload) => Poll::Ready(self.fail(payload)),
        }
    }

    /// The call panicked; what is left of it goes.
    #[cold]
    fn fail(&mut self, payload: Box<dyn Any + Send>) -> Reply {
        report(self.method, payload);
        self.empty();
        panicked().into()
    }

    /// Drops what is left of the call; `false` if that panicked. Its destructors may ask for the
    /// context, too.
    fn empty(&mut self) -> bool {
        let Self { slot, context, .. } = self;
        let empty = || slot.as_mut().empty();
        match catch_unwind(AssertUnwindSafe(|| Context::enter(context, empty))) {
            Ok(()) => true,
            Err(payload) => {
                report(self.method, payload);
                false
            }
        }
    }

    fn cancellation(&self) -> Option<Cancellation> {
        self.context.as_ref()?.cancellation().cloned()
    }
}

/// A call that goes on in a task of its own.
struct Task {
    running: Running,
    router: Arc<Router>,
    service: usize,
    deadline: Instant,
    permit: Permit,
    ticket: Ticket,
}

impl Task {
    /// Runs the call to its end and answers it. The answer leaves when the handler is gone, and only
    /// then is the call's place free again.
    async fn run(mut self) {
        let Some(cancellation) = self.running.cancellation() else {
            return;
        };
        let polled = poll_fn(|cx| self.running.poll(cx));
        let reply = match race(cancellation.cancelled(), polled).await {
            Either::First(()) => None,
            Either::Second(reply) => Some(reply),
        };
        let intact = self.running.empty();
        let Self {
            running,
            router,
            service,
            deadline,
            permit,
            ticket,
        } = self;
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
            router.keep(service, running.slot);
        }
        drop(permit);
        ticket.respond(reply);
    }
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        Self::Failure(error)
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
