//! The task of a connection: reads, lets the protocol work, runs handlers, writes, sleeps.

mod body;
mod exchange;
mod receive;
mod send;

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::AsyncWrite as _;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::alarm::Alarm;
use super::drive::Driven;
use super::gauge::Charge;
use super::incoming::{Handler, Session};
use super::now;
use super::numbers::Numbers;
use super::scratch::Scratch;
use super::shared::Shared;
use crate::cancellation::Cancellation;
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::proto::{CallId, Connection, Event, Fault, Transmit, earlier};
use crate::transport::Io;

/// The task of one connection. It ends when the connection has.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    proto: Box<Connection>,
    io: Box<dyn Io>,
    handler: Option<Arc<dyn Handler>>,
    /// A runtime with several threads runs a task that was just woken before all others, so that
    /// each caller would have its call written alone. There the task, woken by one call while there
    /// are others, lets those who are waiting to run leave theirs first, once.
    gathers: bool,
    /// It has let them.
    gathered: bool,
    /// Made with the peer's first call.
    session: Option<Box<dyn Session>>,
    /// Calls were started in this turn.
    is_serving: bool,
    /// The peer's calls came or ended since the task was woken.
    is_stirred: bool,
    /// The peer's calls whose handlers went on, and what ends them. The peer picks the numbers, so
    /// they are hashed with a secret.
    running: HashMap<CallId, Cancellation>,
    /// The number of each call on the desks, by its token.
    numbers: Numbers,
    /// Calls of unknown methods or shapes since the last of a known one.
    strikes: u32,
    limits: Arc<Limits>,
    /// What the connection holds for its peer, where somebody adds it up.
    charge: Option<Charge>,
    /// The part of a frame that has arrived, and what there was no time for.
    inbound: Vec<u8>,
    /// There was no time for all of that.
    is_behind: bool,
    outbound: Transmit,
    /// When writing counts as stalled, while something is unsent.
    stall: Option<Instant>,
    /// What was written may wait in a buffer of the transport.
    unflushed: bool,
    /// Writing failed so, and reading may go on until then.
    broken: Option<(Instant, Error)>,
    /// The peer sends nothing more.
    peer_gone: bool,
    /// Callers were told that the connection takes no new calls.
    is_draining: bool,
    alarm: Alarm,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// The protocol is over; what it said last is being written, until then.
    Flushing(Instant),
    /// Everything is said. The peer is given until then to close first: a socket that is closed
    /// with unread bytes resets the connection, and the last words could be lost.
    Lingering(Instant),
    Done,
}

impl Driver {
    /// Turns before the task lets others run: a flood on one connection must not starve the rest.
    const TURNS: usize = 2;

    /// Reads in one turn, so that what is to be sent does not wait for more.
    const READS: usize = 4;

    /// How long tables stay that no call is in: longer than the pauses of a busy peer, and so long
    /// that looking costs nothing.
    const REST: Duration = Duration::from_secs(1);

    /// How long the last words to a peer may take.
    const FAREWELL: Duration = Duration::from_secs(1);

    pub(super) fn new(
        now: Instant,
        shared: Arc<Shared>,
        proto: Connection,
        io: Box<dyn Io>,
        handler: Option<Arc<dyn Handler>>,
        limits: Arc<Limits>,
        has_events: bool,
    ) -> Self {
        let charge = handler.as_ref().map(|handler| handler.gauge().charge(0));
        Self {
            gathers: shared.has_threads(),
            shared,
            proto: Box::new(proto),
            io,
            handler,
            gathered: false,
            session: None,
            is_serving: false,
            is_stirred: false,
            running: HashMap::new(),
            numbers: Numbers::default(),
            strikes: 0,
            charge,
            limits,
            inbound: Vec::new(),
            is_behind: false,
            outbound: Transmit::default(),
            stall: None,
            unflushed: false,
            broken: None,
            peer_gone: false,
            is_draining: false,
            alarm: Alarm::new(now, has_events),
            phase: Phase::Open,
        }
    }

    /// One turn: what callers left, what arrived, what is to be sent. Whether there is more to do
    /// that nothing will wake the task for, and whether callers have their replies now.
    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> (bool, bool) {
        let now = self.take_posts(scratch);
        let mut more = true;
        for _ in 0..Self::READS {
            more = self.receive(now, cx, scratch);
            let somebody_waits = self.is_serving || !scratch.replies.is_empty();
            if !more || self.gathers && somebody_waits {
                break;
            }
        }
        self.keep_time(now, cx, scratch);
        self.send(now, cx, scratch);
        if let Some(session) = self
            .session
            .as_mut()
            .filter(|_| mem::take(&mut self.is_serving))
        {
            session.rest();
        }
        let has_replies = !scratch.replies.is_empty();
        self.deliver(scratch);
        (
            more || (self.phase == Phase::Open && self.is_done()),
            has_replies,
        )
    }

    /// Lets the protocol know the time, and sees to it that it is asked again when it wants to be.
    fn keep_time(&mut self, now: Instant, cx: &mut Context<'_>, scratch: &mut Scratch) {
        if !self.alarm.has_fired(now) && self.broken.is_none() && !self.is_done() {
            return;
        }
        if let Some((_, error)) = self.broken.take_if(|(until, _)| now >= *until) {
            self.proto.handle_error(error);
        }
        if self.proto.poll_timeout().is_some_and(|due| now >= due) {
            self.proto.handle_timeout(now);
        }
        if self.is_done() {
            self.proto.close(Fault::Closed);
        }
        self.hand_out(now, cx, scratch);
    }

    /// Whether the connection has said goodbye, and everything before that.
    fn is_done(&self) -> bool {
        self.proto.is_done() && self.outbound.is_empty()
    }

    /// Says what the connection holds for its peer.
    pub(super) fn weigh(&mut self) {
        if let Some(charge) = &mut self.charge {
            charge.set(self.proto.held() + self.outbound.len() + self.inbound.len());
        }
    }

    /// Leads a connection that is over to its end: flush, shut down, wait for the peer.
    pub(super) fn part(&mut self, cx: &mut Context<'_>) {
        if let Phase::Flushing(until) = self.phase {
            if now() >= until {
                self.phase = Phase::Done;
            } else if self.outbound.is_empty() {
                // A peer that has gone waits for the end alone, which dropping tells it, too, as soon as
                // no process has a copy of the descriptor.
                if self.peer_gone && !self.unflushed {
                    self.phase = Phase::Done;
                    return;
                }
                self.phase = match Pin::new(&mut self.io).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) if self.lingers() => Phase::Lingering(until),
                    Poll::Ready(_) => Phase::Done,
                    Poll::Pending => return,
                };
            }
        }
        if let Phase::Lingering(until) = self.phase {
            if self.peer_gone || now() >= until {
                self.phase = Phase::Done;
            }
        }
    }

    /// Whether the last words could be lost if the connection were closed before the peer has.
    fn lingers(&self) -> bool {
        !self.peer_gone && !self.proto.was_settled()
    }

    /// Sees to it that the task is woken when the protocol wants to be asked, or when writing counts
    /// as stalled.
    fn arm(&mut self, now: Instant, cx: &mut Context<'_>) {
        let farewell = match (self.phase, &self.broken) {
            (Phase::Done, _) => return,
            (Phase::Flushing(until) | Phase::Lingering(until), _) => Some(until),
            (_, Some((until, _))) => Some(*until),
            _ => None,
        };
        let rest = self.proto.is_roomy().then(|| now + Self::REST);
        let due = earlier(self.proto.poll_timeout(), self.stall);
        if let Some(due) = earlier(earlier(farewell, rest), due) {
            self.alarm.set(due, now, cx);
        }
    }

    /// Gives back what only a crowd of calls needed. The tables of the peer's calls stay while calls
    /// come: the next wave of them should find what the last one needed.
    fn tidy(&mut self, busy: bool) {
        if self.proto.is_roomy() && !self.is_stirred && self.running.is_empty() {
            self.running = HashMap::new();
            self.proto.tidy();
        }
        if !busy && self.numbers.tidy() {
            self.proto.tidy();
        }
    }

    /// Runs until there is nothing to do, or others should have their turn.
    fn run(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        if self.gathers && !mem::replace(&mut self.gathered, true) && self.shared.is_filling() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.gathered = false;
        self.is_stirred = false;
        for _ in 0..Self::TURNS {
            let before = self.phase;
            let (more, has_replies) = self.turn(cx, scratch);
            if self.phase == Phase::Done {
                return Poll::Ready(());
            }
            // Those who were woken run before the next replies are taken in, and leave their calls.
            if more && has_replies && self.gathers && !self.is_stirred {
                break;
            }
            if !more && self.phase == before {
                if let Some(busy) = self.shared.sleep(cx) {
                    if busy || self.phase != Phase::Open || !self.shared.closes_when_idle() {
                        self.tidy(busy);
                        return Poll::Pending;
                    }
                    self.proto.close(Fault::Closed);
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = Scratch::take();
        let [first, second] = &mut scratch.frames;
        self.proto.put_buffer(mem::take(first));
        self.outbound.put_buffer(mem::take(second));
        self.proto.put_events(mem::take(&mut scratch.events));
        let polled = self.run(cx, &mut scratch);
        scratch.frames = [self.proto.take_buffer(), self.outbound.take_buffer()];
        scratch.events = self.proto.take_events();
        scratch.give_back();
        polled
    }
}

/// What an error of the bytes means to the calls: what the transport says about it, if it says more
/// than the system.
fn lost(error: io::Error) -> Error {
    let text = error.to_string();
    match error.into_inner().map(|inner| inner.downcast::<Error>()) {
        Some(Ok(error)) => *error,
        _ => Error::new(Code::Disconnected, text),
    }
}

/// Whether the runtime of the caller has several threads.
pub(crate) fn has_threads() -> bool {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    matches!(flavor, Ok(RuntimeFlavor::MultiThread))
}

/// The runtime may drop the task at any time, for example when it shuts down. Everybody who waits
/// for the connection is told.
impl Driven for Driver {
    fn has_agreed(&self) -> bool {
        self.proto.terms().is_some()
    }

    fn has_ended(&self) -> bool {
        self.phase != Phase::Open
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.phase == Phase::Done {
            return;
        }
        let mut scratch = Scratch::take();
        self.proto.close(Fault::Closed);
        while let Some(event) = self.proto.poll_event() {
            match event {
                Event::Response { token, reply } => scratch.replies.push((token, reply)),
                Event::Abort(id) => {
                    if let Some(cancellation) = self.running.remove(&id) {
                        cancellation.cancel();
                    }
                }
                Event::Closed(fault) => self.end(fault, &mut scratch),
                // Nobody can run it any more, and nobody waits for it.
                Event::Request { .. } | Event::Established | Event::Draining => {}
            }
        }
        self.deliver(&mut scratch);
        scratch.give_back();
    }
}

#[cfg(test)]
mod tests;
