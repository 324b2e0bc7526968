//! The task of a client, or of what a server has of one, that speaks by datagrams: as that of a
//! stream, with less to keep.

mod door;
mod exchange;

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, ErrorKind};
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

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
use crate::proto::datagram::{Client, Server, Side};
use crate::proto::{CallId, Fault, Opening};
use crate::transport::Datagrams;

pub(crate) use door::gate;

/// The task of one client.
pub(crate) struct DatagramDriver {
    shared: Arc<Shared>,
    proto: Side,
    datagrams: Box<dyn Datagrams>,
    handler: Option<Arc<dyn Handler>>,
    /// Made with the peer's first call.
    session: Option<Box<dyn Session>>,
    /// Calls were started in this turn.
    is_serving: bool,
    /// The peer's calls whose handlers went on, and what ends them.
    running: HashMap<CallId, Cancellation>,
    /// The number of each call on the desks, by its token.
    numbers: Numbers,
    /// Calls of unknown methods or shapes since the last of a known one.
    strikes: u32,
    limits: Arc<Limits>,
    /// What is held for the peer, where somebody adds it up.
    charge: Option<Charge>,
    /// Nothing comes any more.
    is_deaf: bool,
    has_agreed: bool,
    has_ended: bool,
    /// Callers were told that no new calls are taken.
    is_draining: bool,
    alarm: Alarm,
}

impl DatagramDriver {
    /// Turns before the task lets others run.
    const TURNS: usize = 2;

    /// Datagrams received in one turn.
    const RECEIVES: usize = 64;

    pub(super) fn client(
        shared: Arc<Shared>,
        datagrams: Box<dyn Datagrams>,
        limits: Arc<Limits>,
        opening: Arc<Opening>,
        handler: Option<Arc<dyn Handler>>,
    ) -> Self {
        let seed = fastrand::u64(..);
        let client = Client::new(now(), Arc::clone(&limits), opening, unguessable(), seed);
        Self::new(shared, Side::Client(client), datagrams, handler, limits)
    }

    pub(super) fn server(
        shared: Arc<Shared>,
        datagrams: Box<dyn Datagrams>,
        limits: Arc<Limits>,
        opening: &Opening,
        handler: Arc<dyn Handler>,
    ) -> Self {
        let memory = handler.memory().clone();
        let server = Server::new(now(), Arc::clone(&limits), opening, memory);
        let handler = Some(handler);
        Self::new(shared, Side::Server(server), datagrams, handler, limits)
    }

    fn new(
        shared: Arc<Shared>,
        proto: Side,
        datagrams: Box<dyn Datagrams>,
        handler: Option<Arc<dyn Handler>>,
        limits: Arc<Limits>,
    ) -> Self {
        let charge = handler.as_ref().map(|handler| handler.gauge().charge(0));
        Self {
            shared,
            proto,
            datagrams,
            handler,
            session: None,
            is_serving: false,
            running: HashMap::new(),
            numbers: Numbers::default(),
            strikes: 0,
            limits,
            charge,
            is_deaf: false,
            has_agreed: false,
            has_ended: false,
            is_draining: false,
            alarm: Alarm::new(now(), false),
        }
    }

    /// One turn: what callers left, what arrived, what is to be sent. Whether there may be more that
    /// nothing will wake the task for.
    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> bool {
        let now = self.take_posts(scratch);
        self.hand_out(now, cx, scratch);
        let more = self.receive(now, cx, scratch);
        if self.proto.poll_timeout().is_some_and(|due| now >= due) {
            self.proto.handle_timeout(now);
            if self.proto.is_drained(now) {
                self.proto.close(now, Fault::Closed);
            }
            self.hand_out(now, cx, scratch);
        }
        self.send(now);
        self.hand_out(now, cx, scratch);
        if let Some(session) = self
            .session
            .as_mut()
            .filter(|_| mem::take(&mut self.is_serving))
        {
            session.rest();
        }
        self.deliver(scratch);
        if let Some(charge) = &mut self.charge {
            charge.set(self.proto.held());
        }
        if let Some(due) = self.proto.poll_timeout() {
            self.alarm.set(due, now, cx);
        }
        more
    }

    /// Takes in what arrived; whether there may be more.
    fn receive(&mut self, now: Instant, cx: &mut Context<'_>, scratch: &mut Scratch) -> bool {
        for _ in 0..Self::RECEIVES {
            if self.is_deaf {
                return false;
            }
            match self.datagrams.poll_receive(cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(datagram)) => self.proto.handle_datagram(now, &datagram),
                Poll::Ready(Err(error)) => self.fail(now, &error),
            }
            self.hand_out(now, cx, scratch);
        }
        true
    }

    fn send(&mut self, now: Instant) {
        while let Some(datagram) = self.proto.poll_transmit() {
            if let Err(error) = self.datagrams.send(&datagram) {
                self.fail(now, &error);
            }
        }
    }

    fn fail(&mut self, now: Instant, error: &io::Error) {
        match error.kind() {
            ErrorKind::ConnectionRefused => self.proto.handle_absence(now),
            ErrorKind::UnexpectedEof => {
                self.is_deaf = true;
                self.proto.close(now, Fault::Closed);
            }
            _ => self.proto.handle_error(now, failed(error)),
        }
    }

    fn run(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        for _ in 0..Self::TURNS {
            let more = self.turn(cx, scratch);
            if self.has_ended && self.proto.is_over() {
                return Poll::Ready(());
            }
            if more {
                continue;
            }
            if let Some(busy) = self.shared.sleep(cx) {
                if busy || self.has_ended || !self.shared.closes_when_idle() {
                    return Poll::Pending;
                }
                self.proto.close(now(), Fault::Closed);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Driven for DatagramDriver {
    fn has_agreed(&self) -> bool {
        self.has_agreed
    }

    fn has_ended(&self) -> bool {
        self.has_ended
    }
}

impl Future for DatagramDriver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = Scratch::take();
        let polled = self.run(cx, &mut scratch);
        scratch.give_back();
        polled
    }
}

/// The runtime may drop the task at any time, for example when it shuts down. Everybody who waits is
/// told, and the peer, as far as one datagram goes.
impl Drop for DatagramDriver {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let mut scratch = Scratch::take();
        self.proto.close(now(), Fault::Closed);
        self.conclude_all(&mut scratch);
        self.deliver(&mut scratch);
        scratch.give_back();
        while let Some(datagram) = self.proto.poll_transmit() {
            let _ = self.datagrams.send(&datagram);
        }
    }
}

/// What is to be said where nothing has come through yet.
fn failed(error: &io::Error) -> Error {
    let (code, text) = match error.kind() {
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            (Code::Unreachable, "there is no way to the host")
        }
        ErrorKind::PermissionDenied => (Code::Denied, "this system forbids the datagram"),
        _ => (Code::Io, "the system could not send the datagram"),
    };
    Error::new(code, format!("{text}: {error}"))
        .with_hint("check the address, the firewall, and this machine's network")
}

/// A number that nobody outside of this process can guess. The keys of `std`'s hash tables are the
/// one secret from the system that is at hand everywhere, and its hash does not reveal them.
fn unguessable() -> u64 {
    RandomState::new().hash_one(fastrand::u64(..))
}
