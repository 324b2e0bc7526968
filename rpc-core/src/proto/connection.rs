//! The state of one connection, and the contract of the protocol core.

mod body;
mod calling;
mod closing;
mod frames;
mod opening;
mod serving;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub(crate) use self::body::Body;
use self::calling::Left;
use self::serving::{Granted, late_arrival};
use super::calls::{Call, Calls, Progress};
use super::credit::Credit;
use super::event::Event;
use super::fault::Fault;
use super::handshake::{Handshake, Opening, Terms};
use super::id::CallId;
use super::keepalive::Keepalive;
use super::outbox::Outbox;
use super::served::{Served, Stopped};
use super::taken::Taken;
use super::transmit::Transmit;
use super::{earlier, later};
use crate::error::{Code, Error, Executed};
use crate::limits::Limits;
use crate::wire::{Decoder, Frame, Hello, MAGIC, Reply, VERSIONS};

/// Room for hello and a small call behind it: a client's first write.
const FIRST_WRITE: usize = 256;

/// One side of one connection.
///
/// The methods come in four kinds:
///
/// - **Input** from outside, `handle_*`: bytes that arrived, the end of the stream, a timeout.
/// - **Commands** from this side's program, plain verbs: [`call`](Self::call),
///   [`cancel`](Self::cancel), [`answer`](Self::answer), [`go_on`](Self::go_on),
///   [`respond`](Self::respond), [`go_away`](Self::go_away), [`close`](Self::close).
/// - **Output**, `poll_*`: events, bytes to send, the next timeout.
/// - **Questions** that change nothing.
///
/// The one rule: after any input or command, drain the output, in this order: `poll_event` until
/// `None`, `poll_transmit` until it adds nothing, `poll_event` once more, because bytes that leave
/// may set requests free that waited for it, then ask `poll_timeout` when to call `handle_timeout`
/// next. Nothing is lost by draining late, but nothing moves until then.
///
/// No method fails because of what a peer sent. A peer that breaks the protocol ends the
/// connection: every call of ours gets an [`Event::Response`], every call of theirs an
/// [`Event::Abort`], and the last event is [`Event::Closed`]. The bytes that `poll_transmit` still
/// hands out tell the peer why.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Behind pointers, because many connections have the same, and most are idle.
    limits: Arc<Limits>,
    opening: Arc<Opening>,
    handshake: Handshake,
    terms: Option<Terms>,
    decoder: Decoder,
    calls: Calls,
    served: Served,
    granted: Granted,
    /// What is left to our calls that leave together.
    left: Left,
    outbox: Outbox,
    credit: Credit,
    keepalive: Keepalive,
    events: VecDeque<Event>,
    /// Calls and bytes sent before the answer.
    early: (usize, usize),
    /// When `ready` must have been sent, if it has not.
    ready_due: Option<Instant>,
    /// The number of a ping to answer. A flood of pings is one pong.
    pong: Option<u64>,
    /// Frames for calls that do not exist.
    strays: u32,
    /// We sent go-away: calls above this number do not run.
    leaving: Option<u64>,
    /// The go-away to be sent once the answer is here.
    unsaid: Option<Arc<Frame>>,
    /// The peer sent go-away: it does not run calls of ours above this number.
    draining: Option<u64>,
    /// What the peer said when it gave us up.
    dismissal: Option<(u8, String)>,
    /// Why the connection ended, once it has.
    ended: Option<Fault>,
    /// Nothing that was said then can be lost any more.
    was_settled: bool,
}

impl Connection {
    /// The side that dialled. Its hello is the first thing that it transmits.
    pub(crate) fn client(
        now: Instant,
        limits: impl Into<Arc<Limits>>,
        opening: impl Into<Arc<Opening>>,
    ) -> Self {
        let limits = limits.into();
        let until = later(now, limits.handshake);
        let mut connection = Self::new(
            now,
            limits,
            opening.into(),
            Handshake::AwaitAnswer { until },
        );
        connection
            .outbox
            .put_buffer(Vec::with_capacity(FIRST_WRITE));
        connection.outbox.raw(&MAGIC);
        let hello = Frame::Hello(Hello {
            versions: VERSIONS,
            parameters: connection.parameters(),
            codecs: connection.opening.codecs,
            expected: connection.opening.expected,
            credentials: connection.opening.credentials.clone(),
        });
        connection.outbox.frame(&hello);
        connection.early.1 = connection.outbox.frames_len();
        connection
    }

    /// The side that accepted.
    pub(crate) fn server(
        now: Instant,
        limits: impl Into<Arc<Limits>>,
        opening: impl Into<Arc<Opening>>,
    ) -> Self {
        let limits = limits.into();
        let until = later(now, limits.handshake);
        Self::new(now, limits, opening.into(), Handshake::AwaitHello { until })
    }

    fn new(now: Instant, limits: Arc<Limits>, opening: Arc<Opening>, handshake: Handshake) -> Self {
        let window = limits.connection_window;
        Self {
            limits,
            opening,
            handshake,
            terms: None,
            decoder: Decoder::new(),
            calls: Calls::default(),
            served: Served::default(),
            granted: Granted::new(now),
            left: Left::new(now),
            outbox: Outbox::default(),
            credit: Credit::new(window),
            keepalive: Keepalive::new(now),
            events: VecDeque::new(),
            early: (0, 0),
            ready_due: None,
            pong: None,
            strays: 0,
            leaving: None,
            unsaid: None,
            draining: None,
            dismissal: None,
            ended: None,
            was_settled: false,
        }
    }

    // Input.

    /// Bytes arrived: takes one frame off the front of `input`, or the piece of a chunk. After
    /// [`Taken::Nothing`] what is left must stand in front of what arrives next.
    #[inline(always)]
    pub(crate) fn handle_input<'a>(&mut self, now: Instant, input: &mut &'a [u8]) -> Taken<'a> {
        if self.ended.is_some() {
            *input = &[];
            return Taken::Nothing;
        }
        self.keepalive.heard(now);
        if let Some(call) = self.usual_request(now, input) {
            return Taken::Request(call);
        }
        if let Some(taken) = self.usual_response(now, input) {
            return taken;
        }
        self.handle_next(now, input)
    }

    /// The peer sends nothing more.
    pub(crate) fn handle_eof(&mut self) {
        self.lose(Fault::Eof);
    }

    /// Reading or writing failed for a reason of the system's.
    pub(crate) fn handle_error(&mut self, error: Error) {
        self.lose(Fault::Io(error));
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come. Calling it early or late
    /// does no harm.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        if self.handshake.until().is_some_and(|until| now >= until) {
            return self.close(Fault::HandshakeTimeout(self.limits.handshake));
        }
        self.say_ready(now);
        for id in self.calls.late(now) {
            self.end(
                id,
                Code::DeadlineExceeded,
                "the time allowed to the call is over",
            );
        }
        // They may have left places.
        self.send_calls(now);
        for id in self.served.late(now) {
            if self.stop(id) == Some(Stopped::Unstarted) {
                self.refuse(id, late_arrival());
            } else {
                let error = Error::new(Code::DeadlineExceeded, "the handler ran out of time");
                self.refuse(id, error.with_executed(Executed::Maybe));
            }
        }
        if self.handshake == Handshake::Established {
            let busy = self.is_busy();
            match self.keepalive.check(now, &self.limits, busy) {
                Ok(Some(number)) => self.outbox.frame(&Frame::Ping(number)),
                Ok(None) => {}
                Err(fault) => self.close(fault),
            }
        }
    }

    // Commands.

    /// Makes a call, and takes what is in it. It ends with one [`Event::Response`], unless it is cancelled first.
    ///
    /// # Errors
    /// The call was not taken in and does not run: the connection is closed or draining, or too
    /// many calls wait already.
    pub(crate) fn call(&mut self, now: Instant, call: &mut Call) -> Result<CallId, Error> {
        if let Some(fault) = &self.ended {
            return Err(fault.to_error());
        }
        if self.draining.is_some() || self.leaving.is_some() {
            return Err(Error::new(
                Code::Draining,
                "the connection takes no new calls",
            ));
        }
        if self.calls.queued() == 0 && self.may_send(call) {
            let id = self.calls.send(call);
            self.send_call(now, id, call);
            return Ok(id);
        }
        let id = self.calls.queue(call);
        self.send_calls(now);
        if self.calls.queued() > self.limits.queued_calls {
            // It is the last in the queue, so none but itself makes room.
            self.calls.end(id);
            let waiting = self.calls.queued();
            return Err(
                Error::new(Code::Overloaded, format!("{waiting} calls wait already"))
                    .with_hint("make fewer calls at once, or raise `queued_calls`"),
            );
        }
        Ok(id)
    }

    /// Forgets a call of ours, and tells the peer if the call was sent.
    pub(crate) fn cancel(&mut self, now: Instant, id: CallId) {
        if let Some((_, Progress::Sent | Progress::Receiving)) = self.forget(id) {
            self.outbox.frame(&Frame::Cancel { id: id.0 });
        }
        self.send_calls(now);
    }

    /// The handler of a call that [`Event::Request`] has just told of answered at once.
    #[inline]
    pub(crate) fn answer(&mut self, id: CallId, reply: Reply) {
        self.served.answered();
        self.reply(id, reply);
    }

    /// The handler of a call that [`Event::Request`] has just told of goes on; it will
    /// [`respond`](Self::respond). `false` if the connection has ended: it must stop.
    pub(crate) fn go_on(&mut self, id: CallId, deadline: Instant) -> bool {
        self.served.go_on(id, deadline);
        self.ended.is_none()
    }

    /// Answers a call of the peer's whose handler [went on](Self::go_on) and is gone. A call that
    /// was aborted only becomes free; nobody waits for its reply.
    pub(crate) fn respond(&mut self, id: CallId, reply: Reply) {
        if self.served.finish(id) {
            self.reply(id, reply);
        }
    }

    // Output.

    /// Whether [`poll_event`](Self::poll_event) has anything to tell, as it seldom has.
    #[inline]
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// What happened.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Appends bytes to send, in order; whether there were any. One call hands out a bounded
    /// amount, so that a frame which becomes ready meanwhile is not far behind.
    #[inline]
    pub(crate) fn poll_transmit(&mut self, now: Instant, out: &mut Transmit) -> bool {
        let is_at_rest = self.outbox.is_empty()
            && self.pong.is_none()
            && self.ready_due.is_none()
            && !self.credit.is_owed();
        !is_at_rest && self.transmit(now, out)
    }

    fn transmit(&mut self, now: Instant, out: &mut Transmit) -> bool {
        if let Some(number) = self.pong.take() {
            self.outbox.frame(&Frame::Pong(number));
        }
        let grant = match self.ended.is_some() {
            true => None,
            false => self.credit.grant(),
        };
        if let Some(bytes) = grant {
            self.outbox.frame(&Frame::Credit {
                id: 0,
                bytes,
                callee: false,
            });
        }
        self.say_ready(now);
        if !self.outbox.is_ready(&self.credit) {
            return false;
        }
        self.outbox.transmit(&mut self.credit, out);
        self.release_held();
        self.send_calls(now);
        true
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next, if nothing else happens.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let keepalive = match self.handshake {
            Handshake::Established => self.keepalive.timeout(&self.limits, self.is_busy()),
            _ => self.handshake.until(),
        };
        let calls = earlier(self.calls.earliest(), self.served.earliest());
        earlier(earlier(keepalive, self.ready_due), calls)
    }

    /// Whether there is room for calls of the peer's and no such call.
    pub(crate) fn is_roomy(&self) -> bool {
        self.served.is_roomy()
    }

    /// Gives back the room that a crowd of calls took, if none is left of it.
    pub(crate) fn tidy(&mut self) {
        self.calls.tidy();
        self.served.tidy();
        self.outbox.tidy();
    }

    /// Takes the buffer of small frames, if none waits in it: who is idle need not own one.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        self.outbox.take_buffer()
    }

    /// Puts a buffer in for the small frames to come.
    #[inline]
    pub(crate) fn put_buffer(&mut self, buffer: Vec<u8>) {
        self.outbox.put_buffer(buffer);
    }

    /// Takes the list of events out, if there are none, for the same reason.
    #[inline]
    pub(crate) fn take_events(&mut self) -> VecDeque<Event> {
        match self.events.is_empty() {
            true => std::mem::take(&mut self.events),
            false => VecDeque::new(),
        }
    }

    /// Puts in a list for the events to come.
    pub(crate) fn put_events(&mut self, events: VecDeque<Event>) {
        if self.events.capacity() == 0 {
            self.events = events;
        }
    }

    // Questions.

    /// What was agreed, once the handshake is over.
    pub(crate) fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Whether new calls are refused.
    pub(crate) fn is_draining(&self) -> bool {
        self.ended.is_some() || self.draining.is_some() || self.leaving.is_some()
    }

    /// Whether the connection has said goodbye and finished all that it had begun.
    pub(crate) fn is_done(&self) -> bool {
        self.is_draining()
            && self.calls.is_empty()
            && self.served.len() == 0
            && self.outbox.is_empty()
    }

    /// Whether the connection ended when the peer had heard all that it was told: it need not be given
    /// time for that.
    pub(crate) fn was_settled(&self) -> bool {
        self.was_settled
    }

    /// Bytes of requests under assembly, and of replies that the peer has not taken.
    pub(crate) fn held(&self) -> usize {
        self.served
            .assembling()
            .saturating_add(self.outbox.replies())
    }

    /// What must stay bounded or conserved, for tests to look at.
    #[cfg(test)]
    pub(super) fn audit(&self) -> Audit {
        Audit {
            calls: self.calls.in_flight().saturating_add(self.calls.queued()),
            queue: self.calls.queue_len(),
            served: self.served.len(),
            frames: self.outbox.frames_len(),
            bulk: self.outbox.bulk_len(),
            replies: self.outbox.replies(),
            assembling: self.served.assembling(),
            events: self.events.len(),
            credit: self.credit.balance(),
            is_conserved: self.credit.is_conserved(),
        }
    }

    fn is_busy(&self) -> bool {
        !self.calls.is_empty() || self.served.len() > 0
    }
}

/// See [`Connection::audit`].
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Audit {
    /// Calls of ours that have not ended.
    pub(super) calls: usize,
    /// Numbers in the queue of calls, dead ones included.
    pub(super) queue: usize,
    /// Calls of the peer's that hold a place.
    pub(super) served: usize,
    /// Bytes of small frames not handed out.
    pub(super) frames: usize,
    /// Messages of which chunks are left.
    pub(super) bulk: usize,
    /// Bytes of replies that the peer has not taken.
    pub(super) replies: usize,
    /// Bytes of the peer's requests under assembly.
    pub(super) assembling: usize,
    /// Events not polled.
    pub(super) events: usize,
    /// What we may send, and what the peer may.
    pub(super) credit: (u64, u64),
    pub(super) is_conserved: bool,
}
