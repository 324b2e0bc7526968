//! Where the protocol, the bytes and the clock meet: one task per connection.
//!
//! The pure [`Connection`] stands behind a lock. Callers put their calls straight into it and wake
//! the task only to have the bytes written; the task reads, hands out what arrived, writes, and
//! sleeps until the next timeout. Everything that is true of a connection is said in
//! [`crate::proto`]; this file only moves bytes and wakes people.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::time::Sleep;

use crate::cancellation::Cancellation;
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::proto::{ById, Call, CallId, Connection, Event, Fault, Opening, Terms};
use crate::transport::{Conduit, Io, Peer};
use crate::wire::{Reply, RequestHead};

/// Runs the calls that the peer makes. A server has one; a client has one if it offers services to
/// its server.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Starts the call and returns at once; its reply goes to [`Incoming::respond`].
    fn start(&self, call: Incoming);
}

/// A call of the peer's, on its way to a handler. Dropping it answers with an internal error, so
/// that no caller waits for a handler that is gone.
pub(crate) struct Incoming {
    pub(crate) head: RequestHead,
    pub(crate) payload: Bytes,
    /// When the call is late.
    pub(crate) deadline: Instant,
    /// Fires when the call is to stop. The handler then goes away, and says so by `respond`.
    pub(crate) cancellation: Cancellation,
    pub(crate) link: Link,
    id: Option<CallId>,
}

impl Incoming {
    /// The handler is gone and this is what it left.
    pub(crate) fn respond(mut self, reply: Reply) {
        self.finish(reply);
    }

    fn finish(&mut self, reply: Reply) {
        if let Some(id) = self.id.take() {
            let mut state = self.link.shared.lock();
            state.running.remove(&id);
            state.proto.respond(id, reply);
            state.wake_driver();
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let error = Error::new(Code::Internal, "the handler ended without an answer");
        self.finish(Reply::Failure(
            error.with_executed(crate::error::Executed::Maybe),
        ));
    }
}

/// A handle to an open connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    /// A client's connection ends with its last handle.
    _owner: Option<Arc<Owner>>,
}

struct Shared {
    /// Distinguishes the connections of a process.
    id: u64,
    state: Mutex<State>,
    peer: Peer,
    /// Fires when the connection has ended.
    closed: Cancellation,
    /// Calls of unknown methods since the last of a known one.
    strikes: AtomicU32,
}

struct State {
    proto: Connection,
    calls: ById<Slot>,
    running: HashMap<CallId, Cancellation>,
    /// Woken when something changed that the driver must act upon.
    driver: Option<Waker>,
    /// Who waits for the handshake.
    waiting: Vec<Waker>,
    /// Why the connection ended.
    fault: Option<Fault>,
}

/// Where the reply of a call of ours will lie.
enum Slot {
    Waiting(Option<Waker>),
    Done(Reply),
}

/// Ends a client's connection when the last handle is dropped.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.proto.close(Fault::Closed);
        state.wake_driver();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug, but no reason for more panics in everyone else.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

impl Link {
    /// Takes over an open connection as its client and starts its driver, which ends with the last
    /// handle. Must run within a tokio runtime.
    pub(crate) fn client(
        conduit: Conduit,
        limits: Limits,
        opening: Opening,
        handler: Option<Arc<dyn Handler>>,
    ) -> Self {
        let proto = Connection::client(now(), limits, opening);
        let shared = Shared::new(proto, conduit.peer);
        tokio::spawn(Driver::new(
            Arc::clone(&shared),
            conduit.io,
            handler,
            limits,
        ));
        Self {
            _owner: Some(Arc::new(Owner(Arc::clone(&shared)))),
            shared,
        }
    }

    /// Takes over an accepted connection as its server. The returned driver must be spawned.
    pub(crate) fn server(
        conduit: Conduit,
        limits: Limits,
        opening: Opening,
        handler: Arc<dyn Handler>,
    ) -> (Self, Driver) {
        let proto = Connection::server(now(), limits, opening);
        let shared = Shared::new(proto, conduit.peer);
        let driver = Driver::new(Arc::clone(&shared), conduit.io, Some(handler), limits);
        (
            Self {
                shared,
                _owner: None,
            },
            driver,
        )
    }

    /// Makes a call; its reply comes out of the returned future, which cancels the call when it is
    /// dropped.
    pub(crate) fn call(&self, call: Call) -> Result<Outgoing, Error> {
        let mut state = self.shared.lock();
        let id = state.proto.call(now(), call)?;
        state.calls.insert(id, Slot::Waiting(None));
        state.wake_driver();
        drop(state);
        Ok(Outgoing {
            link: self.clone(),
            id: Some(id),
        })
    }

    /// Waits until the handshake is over. Cancel safe.
    ///
    /// # Errors
    /// Why it failed, or why the connection has ended since.
    pub(crate) async fn established(&self) -> Result<Terms, Error> {
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if let Some(fault) = &state.fault {
                return Poll::Ready(Err(fault.to_error()));
            }
            match state.proto.terms() {
                Some(terms) => Poll::Ready(Ok(*terms)),
                None => {
                    if !state
                        .waiting
                        .iter()
                        .any(|waker| waker.will_wake(cx.waker()))
                    {
                        state.waiting.push(cx.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// What was agreed in the handshake, once it is over.
    pub(crate) fn terms(&self) -> Option<Terms> {
        self.shared.lock().proto.terms().copied()
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// A number that no other connection of this process has or had.
    pub(crate) fn id(&self) -> u64 {
        self.shared.id
    }

    /// Whether a new call has no chance here: the connection is closed, or one side is leaving.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.lock().proto.is_draining()
    }

    /// Calls of ours that have not ended.
    pub(crate) fn calls_in_flight(&self) -> usize {
        self.shared.lock().proto.calls_in_flight()
    }

    /// Takes no new calls of the peer's, finishes those that are here, and closes.
    pub(crate) fn go_away(&self, code: Code, text: &str) {
        let mut state = self.shared.lock();
        state.proto.go_away(code, text);
        state.wake_driver();
    }

    /// Ends the connection at once; all its calls end.
    pub(crate) fn close(&self) {
        let mut state = self.shared.lock();
        state.proto.close(Fault::Closed);
        state.wake_driver();
    }

    /// Fires when the connection has ended.
    pub(crate) fn closed(&self) -> &Cancellation {
        &self.shared.closed
    }

    /// The peer called a method that does not exist; after a hundred in a row it is cut off, because
    /// it is not looking for anything.
    pub(crate) fn strike(&self) {
        const STRIKES_MAX: u32 = 100;
        if self.shared.strikes.fetch_add(1, Ordering::Relaxed) >= STRIKES_MAX {
            let mut state = self.shared.lock();
            state.proto.close(Fault::Violation(
                "a hundred calls in a row of unknown methods",
            ));
            state.wake_driver();
        }
    }

    /// The peer called a method that exists.
    pub(crate) fn forgive(&self) {
        self.shared.strikes.store(0, Ordering::Relaxed);
    }

    /// Whether both are handles of one connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("peer", self.peer())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn new(proto: Connection, peer: Peer) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            state: Mutex::new(State {
                proto,
                calls: ById::default(),
                running: HashMap::new(),
                driver: None,
                waiting: Vec::new(),
                fault: None,
            }),
            peer,
            closed: Cancellation::new(),
            strikes: AtomicU32::new(0),
        })
    }
}

/// The reply of a call of ours, as a future. Dropping it cancels the call.
pub(crate) struct Outgoing {
    link: Link,
    id: Option<CallId>,
}

impl Future for Outgoing {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Reply> {
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

/// The task of one connection. It ends when the connection has.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    io: Box<dyn Io>,
    handler: Option<Arc<dyn Handler>>,
    limits: Limits,
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

    fn new(
        shared: Arc<Shared>,
        io: Box<dyn Io>,
        handler: Option<Arc<dyn Handler>>,
        limits: Limits,
    ) -> Self {
        let armed = now();
        Self {
            shared,
            io,
            handler,
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
    fn turn(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let read = self.read(cx);
        let now = now();
        let mut moved = matches!(read, Poll::Ready(Ok(1..)));
        let events = self.advance(now, &read, cx);
        self.hand_out(events);
        moved |= self.write(now, cx);
        moved
    }

    fn read(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<usize>> {
        if self.phase == Phase::Done {
            return Poll::Pending;
        }
        // An idle connection owns no buffer: it is reserved for a read and given back when the read
        // brings nothing and no part of a frame is waiting.
        self.inbound.reserve(Self::READ);
        let polled = pin!(self.io.read_buf(&mut self.inbound)).poll(cx);
        if polled.is_pending() && self.inbound.is_empty() {
            self.inbound = BytesMut::new();
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
        cx: &mut TaskContext<'_>,
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
        if self.stall.is_some_and(|stall| now >= stall) {
            state.proto.close(Fault::Stalled(self.limits.write_stall));
        }
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
            self.stall.get_or_insert(now + self.limits.write_stall);
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
        let payload = own(payload);
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
            None => call.respond(Reply::Failure(Error::new(
                Code::Unimplemented,
                "this side offers no services",
            ))),
        }
    }

    fn discard(&mut self) {
        self.outbound.clear();
        self.unsent = 0;
        self.stall = None;
    }

    /// Writes what is unsent; whether any byte left.
    fn write(&mut self, now: Instant, cx: &mut TaskContext<'_>) -> bool {
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
                    self.stall = (self.unsent > 0).then_some(now + self.limits.write_stall);
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
                Poll::Pending => break,
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
    fn part(&mut self, cx: &mut TaskContext<'_>) {
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
    fn arm(&mut self, now: Instant, due: Option<Instant>, cx: &mut TaskContext<'_>) {
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

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
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

/// The payload without the buffer that it was read into: a handler may keep its request for long,
/// and must not keep its neighbours too. What fills most of a buffer, or was assembled in one of its
/// own, stays where it is.
fn own(payload: Bytes) -> Bytes {
    if payload.len() < Driver::READ / 2 {
        Bytes::copy_from_slice(&payload)
    } else {
        payload
    }
}

/// The clock of connections: tokio's, so that tests can hold it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
