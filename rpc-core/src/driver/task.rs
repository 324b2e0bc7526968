//! The task of a connection: reads, lets the protocol work, runs handlers, writes, sleeps.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Sleep;

use super::desk::{Post, Shared};
use super::gauge::Charge;
use super::incoming::{Handler, Incoming, Session, Started};
use super::link::Link;
use super::now;
use super::scratch::Scratch;
use crate::cancellation::Cancellation;
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::proto::{CallId, Connection, Event, Fault, Taken, Transmit};
use crate::transport::Io;
use crate::wire::{Payload, Reply};

/// The task of one connection. It ends when the connection has.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    proto: Connection,
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
    /// The number of each call on the desk, by its token.
    numbers: Vec<Option<CallId>>,
    /// Calls of unknown methods or shapes since the last of a known one.
    strikes: u32,
    limits: Arc<Limits>,
    /// What the connection holds for its peer, where somebody adds it up.
    charge: Option<Charge>,
    /// The part of a frame that has arrived, and what there was no time for.
    inbound: Vec<u8>,
    outbound: Transmit,
    /// When writing counts as stalled, while something is unsent.
    stall: Option<Instant>,
    /// Writing failed so, and reading may go on until then.
    broken: Option<(Instant, String)>,
    /// The peer sends nothing more.
    peer_gone: bool,
    /// Callers were told that the connection takes no new calls.
    is_draining: bool,
    timer: Pin<Box<Sleep>>,
    /// When `timer` fires. It may be early, never late: moving it costs more than one idle wake-up.
    armed: Instant,
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
    /// More is not taken from the protocol while so much is unsent: what comes later and is small
    /// must not wait behind it.
    const UNSENT_MAX: usize = 256 * 1024;

    /// Buffers handed to one vectored write: a round of chunks and their headers.
    const SLICES: usize = 16;

    /// Turns before the task lets others run: a flood on one connection must not starve the rest.
    const TURNS: usize = 8;

    /// Reads in one turn, so that what is to be sent does not wait for more.
    const READS: usize = 4;

    /// Frames taken in one read, for the same reason.
    const FRAMES: usize = 1024;

    /// How long tables stay that no call is in: longer than the pauses of a busy peer, and so long
    /// that looking costs nothing.
    const REST: Duration = Duration::from_secs(1);

    /// How long the last words to a peer may take.
    const FAREWELL: Duration = Duration::from_secs(1);

    pub(super) fn new(
        shared: Arc<Shared>,
        proto: Connection,
        io: Box<dyn Io>,
        handler: Option<Arc<dyn Handler>>,
        limits: Arc<Limits>,
    ) -> Self {
        let armed = now();
        let charge = handler.as_ref().map(|handler| handler.gauge().charge(0));
        Self {
            shared,
            proto,
            io,
            handler,
            gathers: has_threads(),
            gathered: false,
            session: None,
            is_serving: false,
            is_stirred: false,
            running: HashMap::new(),
            numbers: Vec::new(),
            strikes: 0,
            charge,
            limits,
            inbound: Vec::new(),
            outbound: Transmit::default(),
            stall: None,
            broken: None,
            peer_gone: false,
            is_draining: false,
            timer: Box::pin(tokio::time::sleep_until(armed.into())),
            armed,
            phase: Phase::Open,
        }
    }

    /// Whether both sides have agreed on how they speak, whatever has become of it.
    pub(crate) fn has_agreed(&self) -> bool {
        self.proto.terms().is_some()
    }

    /// Whether the connection has ended, though its last words may not be said.
    pub(crate) fn has_ended(&self) -> bool {
        self.phase != Phase::Open
    }

    /// One turn: what callers left, what arrived, what is to be sent. Whether there is more to do
    /// that nothing will wake the task for.
    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> bool {
        let now = now();
        self.take_posts(now, scratch);
        let mut more = true;
        for _ in 0..Self::READS {
            more = self.receive(now, cx, scratch);
            if !more {
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
        self.deliver(scratch);
        more || (self.phase == Phase::Open && self.is_done())
    }

    /// Does what callers and handlers left on the desk.
    fn take_posts(&mut self, now: Instant, scratch: &mut Scratch) {
        self.shared.take_posts(&mut scratch.posts);
        let mut posts = mem::take(&mut scratch.posts);
        for post in &mut posts {
            match post {
                Post::Call(call) => {
                    let token = call.token;
                    let number = match self.proto.call(now, call) {
                        Ok(id) => Some(id),
                        Err(error) => {
                            scratch.replies.push((token, Reply::Failure(error)));
                            None
                        }
                    };
                    if self.numbers.len() <= token {
                        self.numbers.resize(token + 1, None);
                    }
                    if let Some(place) = self.numbers.get_mut(token) {
                        *place = number;
                    }
                }
                &mut Post::Cancel(token) => {
                    let number = self.numbers.get_mut(token).and_then(Option::take);
                    if let Some(id) = number {
                        self.proto.cancel(now, id);
                    }
                    self.shared.release(token);
                }
                Post::Respond(id, reply) => {
                    self.is_stirred = true;
                    self.running.remove(id);
                    self.proto.respond(*id, mem::take(reply));
                }
                Post::GoAway(code, text) => self.proto.go_away(*code, text),
                Post::Close(fault) => self.proto.close(fault.clone()),
            }
        }
        posts.clear();
        scratch.posts = posts;
    }

    /// Reads, lets the protocol take it in, and runs the calls that came. Whether there may be more:
    /// the system wakes the task only once a read has brought nothing.
    fn receive(&mut self, now: Instant, cx: &mut Context<'_>, scratch: &mut Scratch) -> bool {
        if self.phase == Phase::Done {
            return false;
        }
        if let Some(moved) = self.receive_body(now, cx, scratch) {
            return moved;
        }
        // The part of a frame that is there stands in front of what is read now.
        let mut input = mem::take(&mut scratch.input);
        let kept = self.inbound.len();
        input.resize((kept + Scratch::READ / 8).max(Scratch::READ), 0);
        if let Some(front) = input.get_mut(..kept) {
            front.copy_from_slice(&self.inbound);
        }
        self.inbound.clear();
        let mut buffer = ReadBuf::new(input.get_mut(kept..).unwrap_or_default());
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut buffer);
        let read = buffer.filled().len();
        let mut unread = input.get(..kept + read).unwrap_or_default();
        let moved = match polled {
            // Only the end matters now.
            Poll::Ready(Ok(())) if read > 0 && self.phase != Phase::Open => {
                unread = &[];
                true
            }
            Poll::Ready(Ok(())) if read == 0 => {
                self.peer_gone = true;
                self.take_in(&mut unread, usize::MAX, now, cx, scratch);
                self.proto.handle_eof();
                false
            }
            Poll::Ready(Err(error)) => {
                self.peer_gone = true;
                self.proto.handle_error(error.to_string());
                false
            }
            Poll::Ready(Ok(())) | Poll::Pending => {
                self.take_in(&mut unread, Self::FRAMES, now, cx, scratch) > 0 || read > 0
            }
        };
        if !unread.is_empty() {
            self.inbound.extend_from_slice(unread);
        } else if self.inbound.capacity() > Self::INBOUND_IDLE {
            self.inbound = Vec::new();
        }
        scratch.input = input;
        self.hand_out(now, cx, scratch);
        moved
    }

    /// Bytes for the part of a frame that a connection keeps at rest.
    const INBOUND_IDLE: usize = 256;

    /// Takes up to `frames` frames off the front of `input`, and does what they ask for.
    fn take_in(
        &mut self,
        input: &mut &[u8],
        frames: usize,
        now: Instant,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> usize {
        let mut taken = 0;
        while taken < frames {
            match self.proto.handle_input(now, input) {
                Taken::Nothing => break,
                Taken::Frame => {}
                Taken::Request {
                    id,
                    head,
                    deadline,
                    payload,
                } => {
                    let mut call = Incoming {
                        id,
                        head,
                        payload: Payload::copy_from_slice(payload),
                        deadline,
                    };
                    self.start(&mut call, now, cx);
                }
                Taken::Reply {
                    token,
                    outcome,
                    payload,
                } => {
                    if let Some(number) = self.numbers.get_mut(token) {
                        *number = None;
                    }
                    let reply = outcome.reply(Payload::copy_from_slice(payload));
                    scratch.replies.push((token, reply));
                }
            }
            taken += 1;
            self.hand_out(now, cx, scratch);
        }
        taken
    }

    /// Lets the protocol know the time, and sees to it that it is asked again when it wants to be.
    fn keep_time(&mut self, now: Instant, cx: &mut Context<'_>, scratch: &mut Scratch) {
        if now < self.armed && self.broken.is_none() && !self.is_done() {
            return;
        }
        if let Some((_, text)) = self.broken.take_if(|(until, _)| now >= *until) {
            self.proto.handle_error(text);
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

    /// Takes what the protocol has to send, and writes it.
    fn send(&mut self, now: Instant, cx: &mut Context<'_>, scratch: &mut Scratch) {
        loop {
            while self.outbound.len() < Self::UNSENT_MAX {
                if !self.proto.poll_transmit(now, &mut self.outbound) {
                    break;
                }
                // Transmitting may let calls start that waited for it.
                self.hand_out(now, cx, scratch);
            }
            self.weigh();
            if self.outbound.is_empty() {
                break;
            }
            self.stall = self.stall.or_else(|| self.stalled_at(now));
            if !self.write(now, cx) || !self.outbound.is_empty() {
                break;
            }
        }
        // A peer that takes nothing any more has been given up.
        self.hand_out(now, cx, scratch);
        self.arm(now, cx);
    }

    /// Says what the connection holds for its peer.
    fn weigh(&mut self) {
        if let Some(charge) = &mut self.charge {
            charge.set(self.proto.held() + self.outbound.len() + self.inbound.len());
        }
    }

    /// Does what the protocol tells of.
    #[inline]
    fn hand_out(&mut self, now: Instant, cx: &mut Context<'_>, scratch: &mut Scratch) {
        while let Some(event) = self.proto.poll_event() {
            match event {
                Event::Response { token, reply } => {
                    if let Some(number) = self.numbers.get_mut(token) {
                        *number = None;
                    }
                    scratch.replies.push((token, reply));
                }
                Event::Request {
                    id,
                    head,
                    deadline,
                    payload,
                } => {
                    let mut call = Incoming {
                        id,
                        head,
                        payload,
                        deadline,
                    };
                    // What was held for it is its own from here on.
                    self.weigh();
                    self.start(&mut call, now, cx);
                }
                Event::Abort(id) => {
                    if let Some(cancellation) = self.running.remove(&id) {
                        cancellation.cancel();
                    }
                }
                Event::Established => {
                    let mut desk = self.shared.lock();
                    desk.established = true;
                    scratch.wakers.append(&mut desk.waiting);
                }
                Event::Draining => {}
                Event::Closed(fault) => {
                    self.phase = Phase::Flushing(now + Self::FAREWELL);
                    self.end(fault, scratch);
                }
            }
        }
    }

    /// Tells everybody that the connection has ended; all calls have, before.
    fn end(&mut self, fault: Fault, scratch: &mut Scratch) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.shared.close(fault, scratch);
        self.shared.closed.cancel();
    }

    /// Runs a call of the peer's.
    fn start(&mut self, call: &mut Incoming, now: Instant, cx: &mut Context<'_>) {
        let (id, deadline) = (call.id, call.deadline);
        self.is_serving = true;
        self.is_stirred = true;
        let started = match (&mut self.session, &self.handler, self.proto.terms()) {
            (Some(session), _, Some(terms)) => session.start(call, terms, now, cx),
            (empty, Some(handler), Some(terms)) => {
                let link = Link::without_owner(Arc::clone(&self.shared));
                let session = empty.insert(Arc::clone(handler).session(link));
                session.start(call, terms, now, cx)
            }
            _ => Started::Unknown(Error::new(
                Code::Unimplemented,
                "this side offers no services",
            )),
        };
        match started {
            Started::Answered(reply) => {
                self.strikes = 0;
                self.proto.answer(id, reply);
            }
            Started::GoesOn(cancellation) => {
                self.strikes = 0;
                if self.proto.go_on(id, deadline) {
                    self.running.insert(id, cancellation);
                } else {
                    cancellation.cancel();
                }
            }
            Started::Unknown(error) => {
                self.strikes += 1;
                self.proto.answer(id, Reply::Failure(error));
                if self.strikes > self.limits.strays {
                    self.proto.close(Fault::Violation(
                        "too many calls in a row of unknown methods or shapes",
                    ));
                }
            }
        }
    }

    /// Puts the replies that came down for their callers, and wakes them.
    fn deliver(&mut self, scratch: &mut Scratch) {
        if self.is_draining != self.proto.is_draining() {
            self.is_draining = true;
            self.shared.draining.store(true, Ordering::Relaxed);
        }
        if !scratch.replies.is_empty() {
            self.shared
                .deliver(&mut scratch.replies, &mut scratch.wakers);
        }
        for waker in scratch.wakers.drain(..) {
            waker.wake();
        }
    }

    /// When writing counts as stalled if nothing moves from now on; `None` if never.
    fn stalled_at(&self, now: Instant) -> Option<Instant> {
        now.checked_add(self.limits.write_stall)
    }

    fn discard(&mut self) {
        self.outbound.clear();
        self.stall = None;
    }

    /// Writes what is unsent; whether any byte left.
    fn write(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.outbound.is_empty() {
            let io = Pin::new(&mut self.io);
            let polled = match self.outbound.contiguous() {
                Some(bytes) => io.poll_write(cx, bytes),
                None => {
                    let mut slices = [IoSlice::new(&[]); Self::SLICES];
                    io.poll_write_vectored(cx, self.outbound.slices(&mut slices))
                }
            };
            match polled {
                Poll::Ready(Ok(written @ 1..)) => {
                    self.outbound.advance(written);
                    self.stall = self.stalled_at(now).filter(|_| !self.outbound.is_empty());
                    moved = true;
                }
                Poll::Ready(result) => {
                    let error = result
                        .err()
                        .unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    // The peer may have said why before it went, so reading goes on for a moment.
                    let until = now + Self::FAREWELL;
                    self.broken
                        .get_or_insert_with(|| (until, error.to_string()));
                    self.discard();
                    return true;
                }
                Poll::Pending => {
                    // Only now: a process that was stopped itself finds the time over, and a peer
                    // that has been reading all the while.
                    if self.stall.take_if(|stall| now >= *stall).is_some() {
                        let fault = Fault::Stalled(self.limits.write_stall);
                        self.proto.close(fault);
                        return true;
                    }
                    break;
                }
            }
        }
        if moved {
            let _ = Pin::new(&mut self.io).poll_flush(cx);
        }
        moved
    }

    /// Leads a connection that is over to its end: flush, shut down, wait for the peer.
    fn part(&mut self, cx: &mut Context<'_>) {
        if let Phase::Flushing(until) = self.phase {
            if now() >= until {
                self.phase = Phase::Done;
            } else if self.outbound.is_empty() {
                self.phase = match Pin::new(&mut self.io).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) if !self.peer_gone => Phase::Lingering(until),
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

    /// Sees to it that the task is woken when the protocol wants to be asked, or when writing counts
    /// as stalled.
    fn arm(&mut self, now: Instant, cx: &mut Context<'_>) {
        let farewell = match (self.phase, &self.broken) {
            (Phase::Flushing(until) | Phase::Lingering(until), _) => Some(until),
            (_, Some((until, _))) => Some(*until),
            _ => None,
        };
        let due = self.proto.poll_timeout();
        let rest = self.proto.is_roomy().then(|| now + Self::REST);
        let Some(due) = [due, self.stall, farewell, rest]
            .into_iter()
            .flatten()
            .min()
        else {
            return;
        };
        if due < self.armed || self.armed <= now {
            self.armed = due;
            self.timer.as_mut().reset(due.into());
            if self.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Gives back what only a crowd of calls needed. The tables of the peer's calls stay while calls
    /// come: the next wave of them should find what the last one needed.
    fn tidy(&mut self, busy: bool) {
        if self.proto.is_roomy() && !self.is_stirred && self.running.is_empty() {
            self.running = HashMap::new();
            self.proto.tidy();
        }
        if !busy && self.numbers.capacity() > Self::NUMBERS_IDLE {
            self.numbers = Vec::new();
            self.proto.tidy();
        }
    }

    /// Tokens that a connection at rest has room for.
    const NUMBERS_IDLE: usize = 16;

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
            let more = self.turn(cx, scratch);
            self.part(cx);
            if self.phase == Phase::Done {
                return Poll::Ready(());
            }
            if !more && self.phase == before {
                if let Some(busy) = self.shared.sleep(cx) {
                    self.tidy(busy);
                    return Poll::Pending;
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
        let polled = self.run(cx, &mut scratch);
        scratch.frames = [self.proto.take_buffer(), self.outbound.take_buffer()];
        scratch.give_back();
        polled
    }
}

/// Whether the runtime of the caller has several threads.
fn has_threads() -> bool {
    let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
    matches!(flavor, Ok(RuntimeFlavor::MultiThread))
}

/// The runtime may drop the task at any time, for example when it shuts down. Everybody who waits
/// for the connection is told.
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

mod body;

#[cfg(test)]
mod tests;
