//! The task of a connection: reads, lets the protocol work, writes, sleeps.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::time::Sleep;

use super::gauge::Charge;
use super::incoming::{Handler, Incoming, own};
use super::link::Link;
use super::now;
use super::state::{Shared, Slot};
use crate::cancellation::Cancellation;
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::proto::{CallId, Event, Fault};
use crate::transport::Io;
use crate::wire::{Reply, RequestHead};

/// The task of one connection. It ends when the connection has.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    io: Box<dyn Io>,
    handler: Option<Arc<dyn Handler>>,
    limits: Limits,
    /// What the connection holds for its peer, where somebody adds it up.
    charge: Option<Charge>,
    inbound: BytesMut,
    outbound: VecDeque<Bytes>,
    /// Bytes in `outbound`.
    unsent: usize,
    /// When writing counts as stalled, while something is unsent.
    stall: Option<Instant>,
    /// Writing failed so, and reading may go on until then.
    broken: Option<(Instant, String)>,
    /// The peer sends nothing more.
    peer_gone: bool,
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
    /// How much a read may bring at once. Large enough for many small frames or a whole chunk with
    /// its header, small enough to be cheap for a connection that carries little.
    const READ: usize = 64 * 1024 + 1024;

    /// More is not taken from the protocol while so much is unsent: what comes later and is small
    /// must not wait behind it.
    const UNSENT_MAX: usize = 256 * 1024;

    /// Buffers handed to one vectored write; Linux takes 1,024, and more than a few dozen gain
    /// nothing.
    const SLICES: usize = 64;

    /// Turns before the task lets others run: a flood on one connection must not starve the rest.
    const TURNS: usize = 16;

    /// How long the last words to a peer may take.
    const FAREWELL: Duration = Duration::from_secs(1);

    pub(super) fn new(
        shared: Arc<Shared>,
        io: Box<dyn Io>,
        handler: Option<Arc<dyn Handler>>,
        limits: Limits,
    ) -> Self {
        let armed = now();
        let charge = handler.as_ref().map(|handler| handler.gauge().charge(0));
        Self {
            shared,
            io,
            handler,
            charge,
            limits,
            inbound: BytesMut::new(),
            outbound: VecDeque::new(),
            unsent: 0,
            stall: None,
            broken: None,
            peer_gone: false,
            timer: Box::pin(tokio::time::sleep_until(armed.into())),
            armed,
            phase: Phase::Open,
        }
    }

    /// One turn: read, let the protocol work, write. Whether anything moved.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let read = self.read(cx);
        let now = now();
        let mut moved = matches!(read, Poll::Ready(Ok(1..)));
        let events = self.advance(now, &read, cx);
        self.hand_out(events);
        moved |= self.write(now, cx);
        moved
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.phase == Phase::Done {
            return Poll::Pending;
        }
        // A connection on which nothing arrives owns no more than the part of a frame that is there:
        // the buffer is reserved for a read and given back when the read brings nothing. What fills
        // a good part of it stays, so that nobody makes us copy much by sending little.
        self.inbound.reserve(Self::READ);
        let polled = pin!(self.io.read_buf(&mut self.inbound)).poll(cx);
        if polled.is_pending() && self.inbound.len() < Self::READ / 8 {
            self.inbound = BytesMut::from(&self.inbound[..]);
        }
        if self.phase != Phase::Open {
            // Only the end matters now.
            self.inbound.clear();
        }
        polled
    }

    /// Lets the protocol take in what arrived and the time, and give out what it has.
    fn advance(
        &mut self,
        now: Instant,
        read: &Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Vec<Event> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        match read {
            Poll::Ready(Ok(0)) => state.proto.handle_eof(),
            Poll::Ready(Ok(_)) => state.proto.handle_bytes(now, &mut self.inbound),
            Poll::Ready(Err(error)) => state.proto.handle_error(error.to_string()),
            Poll::Pending => {
                if let Some((_, text)) = self.broken.take_if(|(until, _)| now >= *until) {
                    state.proto.handle_error(text);
                }
            }
        }
        self.peer_gone |= matches!(read, Poll::Ready(Ok(0) | Err(_)));
        if state.proto.poll_timeout().is_some_and(|due| now >= due) {
            state.proto.handle_timeout(now);
        }
        if state.proto.is_done() && self.unsent == 0 {
            state.proto.close(Fault::Closed);
        }
        let mut events = Vec::new();
        while let Some(event) = state.proto.poll_event() {
            events.push(event);
        }
        while self.unsent < Self::UNSENT_MAX {
            let before = self.outbound.len();
            if !state.proto.poll_transmit(now, &mut self.outbound) {
                break;
            }
            self.unsent += self
                .outbound
                .iter()
                .skip(before)
                .map(Bytes::len)
                .sum::<usize>();
            // Transmitting may let calls start that waited for it.
            while let Some(event) = state.proto.poll_event() {
                events.push(event);
            }
        }
        if self.unsent > 0 {
            self.stall = self.stall.or_else(|| self.stalled_at(now));
        }
        if let Some(charge) = &mut self.charge {
            charge.set(state.proto.held() + self.unsent + self.inbound.len());
        }
        let due = state.proto.poll_timeout();
        state.driver = Some(cx.waker().clone());
        drop(state);
        self.arm(now, due, cx);
        events
    }

    /// Tells everybody what happened.
    fn hand_out(&mut self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut wakers: Vec<Waker> = Vec::new();
        for event in events {
            match event {
                Event::Established => wakers.append(&mut self.shared.lock().waiting),
                Event::Response { id, reply } => {
                    let mut state = self.shared.lock();
                    if let Some(slot) = state.calls.get_mut(&id) {
                        let done = std::mem::replace(slot, Slot::Done(reply));
                        if let Slot::Waiting(Some(waker)) = done {
                            wakers.push(waker);
                        }
                    }
                }
                Event::Request {
                    id,
                    head,
                    deadline,
                    payload,
                } => {
                    self.start(id, head, deadline, payload);
                }
                Event::Abort(id) => {
                    let cancellation = self.shared.lock().running.remove(&id);
                    if let Some(cancellation) = cancellation {
                        cancellation.cancel();
                    }
                }
                Event::Draining => {}
                Event::Closed(fault) => {
                    self.phase = Phase::Flushing(now() + Self::FAREWELL);
                    let mut state = self.shared.lock();
                    state.fault = Some(fault);
                    wakers.append(&mut state.waiting);
                    drop(state);
                    self.shared.closed.cancel();
                }
            }
        }
        for waker in wakers {
            waker.wake();
        }
    }

    fn start(&self, id: CallId, head: RequestHead, deadline: Instant, payload: Bytes) {
        let payload = own(payload, Self::READ);
        let cancellation = Cancellation::new();
        let link = Link {
            shared: Arc::clone(&self.shared),
            _owner: None,
        };
        self.shared.lock().running.insert(id, cancellation.clone());
        let call = Incoming {
            head,
            payload,
            deadline,
            cancellation,
            link,
            id: Some(id),
        };
        match &self.handler {
            Some(handler) => handler.start(call),
            None => {
                call.link.strike();
                call.respond(Reply::Failure(Error::new(
                    Code::Unimplemented,
                    "this side offers no services",
                )));
            }
        }
    }

    /// When writing counts as stalled if nothing moves from now on; `None` if never.
    fn stalled_at(&self, now: Instant) -> Option<Instant> {
        now.checked_add(self.limits.write_stall)
    }

    fn discard(&mut self) {
        self.outbound.clear();
        self.unsent = 0;
        self.stall = None;
    }

    /// Writes what is unsent; whether any byte left.
    fn write(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while self.unsent > 0 {
            let slices: Vec<IoSlice<'_>> = self
                .outbound
                .iter()
                .take(Self::SLICES)
                .map(|bytes| IoSlice::new(bytes))
                .collect();
            match Pin::new(&mut self.io).poll_write_vectored(cx, &slices) {
                Poll::Ready(Ok(written @ 1..)) => {
                    self.sent(written);
                    self.stall = self.stalled_at(now).filter(|_| self.unsent > 0);
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
                        self.shared.lock().proto.close(fault);
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

    fn sent(&mut self, mut written: usize) {
        self.unsent = self.unsent.saturating_sub(written);
        while let Some(front) = self.outbound.front_mut() {
            if front.len() > written {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.outbound.pop_front();
        }
    }

    /// Leads a connection that is over to its end: flush, shut down, wait for the peer.
    fn part(&mut self, cx: &mut Context<'_>) {
        if let Phase::Flushing(until) = self.phase {
            if now() >= until {
                self.phase = Phase::Done;
            } else if self.unsent == 0 {
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

    /// Sees to it that the task is woken by `due`, or when writing counts as stalled.
    fn arm(&mut self, now: Instant, due: Option<Instant>, cx: &mut Context<'_>) {
        let farewell = match (self.phase, &self.broken) {
            (Phase::Flushing(until) | Phase::Lingering(until), _) => Some(until),
            (_, Some((until, _))) => Some(*until),
            _ => None,
        };
        let Some(due) = [due, self.stall, farewell].into_iter().flatten().min() else {
            return;
        };
        if due < self.armed || self.armed <= now {
            self.armed = due;
            self.timer.as_mut().reset(due.into());
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let driver = &mut *self;
        for _ in 0..Self::TURNS {
            let before = driver.phase;
            let moved = driver.turn(cx);
            driver.part(cx);
            if driver.phase == Phase::Done {
                return Poll::Ready(());
            }
            if !moved && driver.phase == before {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The runtime may drop the task at any time, for example when it shuts down. Everybody who waits
/// for the connection is told.
impl Drop for Driver {
    fn drop(&mut self) {
        if self.phase == Phase::Done {
            return;
        }
        let mut state = self.shared.lock();
        state.proto.close(Fault::Closed);
        let mut events = Vec::new();
        while let Some(event) = state.proto.poll_event() {
            // Nobody can run it any more, and nobody waits for it.
            if !matches!(event, Event::Request { .. }) {
                events.push(event);
            }
        }
        drop(state);
        self.hand_out(events);
    }
}

#[cfg(test)]
mod tests;
