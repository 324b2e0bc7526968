//! The state of one connection, and the contract of the protocol core.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::assembly::Bounds;
use super::calls::{self, Call, Calls, Progress};
use super::credit::Credit;
use super::event::Event;
use super::fault::Fault;
use super::handshake::{self, Handshake, MANDATORY_CODEC, Opening, Terms};
use super::id::CallId;
use super::keepalive::Keepalive;
use super::outbox::Outbox;
use super::served::{self, Complete, Served, Stopped};
use crate::error::{Code, Error, Executed};
use crate::limits::Limits;
use crate::wire::{
    Answer, BODY_MAX, Decoder, Frame, Hello, MAGIC, PREAMBLE_MAX, Parameters, Reply, RequestHead,
    VERSIONS,
};

/// One side of one connection.
///
/// The methods come in four kinds:
///
/// - **Input** from outside, `handle_*`: bytes that arrived, the end of the stream, a timeout.
/// - **Commands** from this side's program, plain verbs: [`call`](Self::call),
///   [`cancel`](Self::cancel), [`respond`](Self::respond), [`go_away`](Self::go_away),
///   [`close`](Self::close).
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
    limits: Limits,
    opening: Opening,
    handshake: Handshake,
    terms: Option<Terms>,
    decoder: Decoder,
    calls: Calls,
    served: Served,
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
    unsaid: Option<Frame>,
    /// The peer sent go-away: it does not run calls of ours above this number.
    draining: Option<u64>,
    /// What the peer said when it gave us up.
    dismissal: Option<(u8, String)>,
    closed: bool,
}

/// The most calls that may travel with hello. They are run before the server knows that it can be
/// heard, so they are few.
const EARLY_CALLS_MAX: usize = 16;

/// How long `ready` waits for a frame to ride with.
const READY_WAIT: Duration = Duration::from_secs(1);

/// Frames for calls that do not exist before the peer counts as hostile.
const STRAYS_MAX: u32 = 100;

impl Connection {
    /// The side that dialled. Its hello is the first thing that it transmits.
    pub(crate) fn client(now: Instant, limits: Limits, opening: Opening) -> Self {
        let until = later(now, limits.handshake);
        let mut connection = Self::new(now, limits, opening, Handshake::AwaitAnswer { until });
        connection.outbox.raw(&MAGIC);
        let hello = Frame::Hello(Hello {
            versions: VERSIONS,
            parameters: connection.parameters(),
            codecs: connection.opening.codecs.clone(),
            expected: connection.opening.expected,
            credentials: connection.opening.credentials.clone(),
        });
        connection.outbox.frame(&hello);
        connection.early.1 = connection.outbox.frames_len();
        connection
    }

    /// The side that accepted.
    pub(crate) fn server(now: Instant, limits: Limits, opening: Opening) -> Self {
        let until = later(now, limits.handshake);
        Self::new(now, limits, opening, Handshake::AwaitHello { until })
    }

    fn new(now: Instant, limits: Limits, opening: Opening, handshake: Handshake) -> Self {
        Self {
            limits,
            opening,
            handshake,
            terms: None,
            decoder: Decoder::new(),
            calls: Calls::default(),
            served: Served::default(),
            outbox: Outbox::default(),
            credit: Credit::new(limits.connection_window),
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
            closed: false,
        }
    }

    // Input.

    /// Bytes arrived. Whole frames are taken off the front of `buffer`, the rest stays.
    pub(crate) fn handle_bytes(&mut self, now: Instant, buffer: &mut BytesMut) {
        self.keepalive.heard(now);
        while !self.closed {
            let frame = match self.decoder.next(buffer) {
                Ok(Some(frame)) => frame,
                Ok(None) => return self.release_held(),
                Err(malformed) => return self.close(malformed.into()),
            };
            if let Err(fault) = self.handle_frame(now, frame) {
                return self.close(fault);
            }
        }
        buffer.clear();
    }

    /// The peer sends nothing more.
    pub(crate) fn handle_eof(&mut self) {
        let fault = match self.dismissal.take() {
            Some((code, text)) => Fault::Dismissed { code, text },
            None => Fault::Eof,
        };
        self.close(fault);
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come. Calling it early or late
    /// does no harm.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.closed {
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

    /// Makes a call. It ends with one [`Event::Response`], unless it is cancelled first.
    ///
    /// # Errors
    /// The call was not taken in and does not run: the connection is closed or draining, or too
    /// many calls wait already.
    pub(crate) fn call(&mut self, now: Instant, call: Call) -> Result<CallId, Error> {
        if self.closed {
            return Err(Fault::Closed.to_error());
        }
        if self.draining.is_some() || self.leaving.is_some() {
            return Err(Error::new(
                Code::Draining,
                "the connection takes no new calls",
            ));
        }
        let id = self.calls.insert(call);
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
        if let Some(Progress::Sent | Progress::Receiving) = self.forget(id) {
            self.outbox.frame(&Frame::Cancel { id: id.0 });
        }
        self.send_calls(now);
    }

    /// Answers a call of the peer's whose handler is gone. A call that was aborted only becomes
    /// free; nobody waits for its reply.
    pub(crate) fn respond(&mut self, id: CallId, reply: Reply) {
        if self.served.finish(id) && !self.closed {
            let limit = self.terms.map_or(0, |terms| terms.peer.message);
            if reply.payload().len() > limit as usize {
                let error = Error::new(
                    Code::TooLarge,
                    format!(
                        "the reply has {} bytes, the client accepts {limit}",
                        reply.payload().len()
                    ),
                );
                self.refuse(id, error.with_executed(Executed::Yes));
            } else {
                self.send_reply(id, reply);
            }
        }
    }

    /// Announces that calls beyond those already here will not run.
    pub(crate) fn go_away(&mut self, code: Code, text: &str) {
        if self.closed || self.leaving.is_some() {
            return;
        }
        let last_id = self.served.last();
        self.leaving = Some(last_id);
        let frame = Frame::GoAway {
            last_id,
            code: code.to_wire(),
            text: text.to_owned(),
        };
        match self.handshake {
            Handshake::AwaitHello { .. } => {
                self.opening.refuse = Some((Code::Draining, "the server is shutting down"));
            }
            Handshake::AwaitAnswer { .. } => self.unsaid = Some(frame),
            Handshake::AwaitReady { .. } | Handshake::Established => self.outbox.frame(&frame),
        }
    }

    /// Ends the connection. All calls end, and the peer is told why where that makes sense.
    pub(crate) fn close(&mut self, fault: Fault) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        if let Some((code, text)) = fault.verdict() {
            // Calls that came after a go-away were passed over: its number must not rise.
            let last_id = self.leaving.unwrap_or_else(|| self.served.last());
            if self.terms.is_some() {
                self.outbox.frame(&Frame::GoAway {
                    last_id,
                    code: code.to_wire(),
                    text,
                });
            } else if matches!(self.handshake, Handshake::AwaitHello { .. }) {
                self.outbox.raw(&MAGIC);
                let refused = Answer::Refused {
                    code: code.to_wire(),
                    versions: VERSIONS,
                    text,
                };
                self.outbox.frame(&Frame::Answer(refused));
            }
        }
        self.ready_due = None;
        self.pong = None;
        let never_accepted = matches!(fault, Fault::Refused { .. } | Fault::WrongInstance);
        for id in self.calls.above(0) {
            let unsent = self.outbox.has(id, false);
            let executed = match self.calls.end(id) {
                Some(Progress::Receiving) => Executed::Yes,
                Some(Progress::Sent) if !never_accepted && !unsent => Executed::Maybe,
                _ => Executed::No,
            };
            let error = fault.to_error().with_executed(executed);
            self.events.push_back(Event::Response {
                id,
                reply: Reply::Failure(error),
            });
        }
        for id in self.served.ids() {
            self.stop(id);
        }
        // A call that counts as not run must not be completed after all.
        self.outbox.abandon();
        self.events.push_back(Event::Closed(fault));
    }

    // Output.

    /// What happened.
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Appends bytes to send, in order; whether there were any. One call hands out a bounded
    /// amount, so that a frame which becomes ready meanwhile is not far behind.
    pub(crate) fn poll_transmit(&mut self, now: Instant, out: &mut VecDeque<Bytes>) -> bool {
        if let Some(number) = self.pong.take() {
            self.outbox.frame(&Frame::Pong(number));
        }
        let grant = match self.closed {
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
        true
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next, if nothing else happens.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let keepalive = match self.handshake {
            Handshake::Established => self.keepalive.timeout(&self.limits, self.is_busy()),
            _ => self.handshake.until(),
        };
        [
            keepalive,
            self.ready_due,
            self.calls.earliest(),
            self.served.earliest(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    // Questions.

    /// What was agreed, once the handshake is over.
    pub(crate) fn terms(&self) -> Option<&Terms> {
        self.terms.as_ref()
    }

    /// Whether new calls are refused.
    pub(crate) fn is_draining(&self) -> bool {
        self.closed || self.draining.is_some() || self.leaving.is_some()
    }

    /// Whether the connection has said goodbye and finished all that it had begun.
    pub(crate) fn is_done(&self) -> bool {
        self.is_draining()
            && self.calls.is_empty()
            && self.served.len() == 0
            && self.outbox.is_empty()
    }

    /// Calls of ours that have not ended.
    pub(crate) fn calls_in_flight(&self) -> usize {
        self.calls.in_flight().saturating_add(self.calls.queued())
    }

    /// What must stay bounded or conserved, for tests to look at.
    #[cfg(test)]
    pub(super) fn audit(&self) -> Audit {
        Audit {
            calls: self.calls_in_flight(),
            queue: self.calls.queue_len(),
            served: self.served.len(),
            frames: self.outbox.frames_len(),
            bulk: self.outbox.bulk_len(),
            replies: self.outbox.replies(),
            events: self.events.len(),
            credit: self.credit.balance(),
            is_conserved: self.credit.is_conserved(),
        }
    }

    fn is_busy(&self) -> bool {
        !self.calls.is_empty() || self.served.len() > 0
    }

    fn parameters(&self) -> Parameters {
        let message = self.limits.message.min(Limits::MESSAGE_MAX);
        Parameters {
            message: u32::try_from(message).unwrap_or(u32::MAX),
            calls: self.limits.calls,
            connection_window: self.limits.connection_window,
            stream_window: self.limits.stream_window,
        }
    }

    // Frames.

    fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), Fault> {
        match (self.handshake, frame) {
            (Handshake::AwaitHello { until }, Frame::Hello(hello)) => {
                self.handle_hello(until, &hello)
            }
            (Handshake::AwaitAnswer { .. }, Frame::Answer(answer)) => {
                self.handle_answer(now, answer)
            }
            (Handshake::AwaitReady { .. }, Frame::Ready) => {
                self.handshake = Handshake::Established;
                self.establish();
                self.send_calls(now);
                Ok(())
            }
            (Handshake::AwaitHello { .. }, _) => Err(Fault::Violation(
                "the first frame of a client must be hello",
            )),
            (Handshake::AwaitAnswer { .. }, Frame::GoAway { code, text, .. }) => {
                Err(Fault::Dismissed { code, text })
            }
            (Handshake::AwaitAnswer { .. }, _) => Err(Fault::Violation(
                "the first frame of a server must be its answer",
            )),
            (_, Frame::Hello(_) | Frame::Answer(_) | Frame::Ready) => Err(Fault::Violation(
                "a frame of the handshake after the handshake",
            )),
            (_, frame) => self.handle_established(now, frame),
        }
    }

    fn handle_hello(&mut self, until: Instant, hello: &Hello) -> Result<(), Fault> {
        let (answer, terms) = handshake::answer(hello, &self.opening, self.parameters());
        self.outbox.raw(&MAGIC);
        self.outbox.frame(&Frame::Answer(answer.clone()));
        match (terms, answer) {
            (Some(terms), _) => {
                self.handshake = Handshake::AwaitReady { until };
                self.accept(terms);
                Ok(())
            }
            (None, Answer::Refused { code, text, .. }) => {
                Err(Fault::RefusedByUs(Code::from_wire(code), text))
            }
            (None, Answer::Accepted { .. }) => Ok(()),
        }
    }

    fn handle_answer(&mut self, now: Instant, answer: Answer) -> Result<(), Fault> {
        let (version, codec, peer, instance) = match answer {
            Answer::Accepted {
                version,
                codec,
                parameters,
                instance,
            } => (version, codec, parameters, instance),
            Answer::Refused {
                code,
                versions,
                text,
            } => {
                return Err(Fault::Refused {
                    code,
                    versions,
                    text,
                });
            }
        };
        if version < VERSIONS.0 || version > VERSIONS.1 || !self.opening.codecs.contains(&codec) {
            return Err(Fault::Violation(
                "the server chose a version or codec that was not offered",
            ));
        }
        let (early_calls, _) = self.early;
        if early_calls > 0 && codec != MANDATORY_CODEC {
            return Err(Fault::Violation(
                "the server chose another codec than the one of the early calls",
            ));
        }
        if self
            .opening
            .expected
            .is_some_and(|expected| expected != instance)
        {
            return Err(Fault::WrongInstance);
        }
        self.handshake = Handshake::Established;
        self.ready_due = Some(later(now, READY_WAIT));
        self.accept(Terms {
            codec,
            peer,
            instance,
        });
        if let Some(go_away) = self.unsaid.take() {
            self.outbox.frame(&go_away);
        }
        self.establish();
        self.send_calls(now);
        Ok(())
    }

    /// Sends ready if it has something to ride with, or has waited long enough.
    fn say_ready(&mut self, now: Instant) {
        let rides = self.outbox.is_ready(&self.credit);
        if self.ready_due.is_some_and(|due| rides || now >= due) {
            self.ready_due = None;
            self.outbox.frame(&Frame::Ready);
        }
    }

    fn accept(&mut self, terms: Terms) {
        self.terms = Some(terms);
        self.decoder.accept();
        self.credit.open(terms.peer.connection_window);
    }

    fn establish(&mut self) {
        if let Some(terms) = self.terms {
            self.events.push_back(Event::Established(terms));
        }
    }

    fn handle_established(&mut self, now: Instant, frame: Frame) -> Result<(), Fault> {
        match frame {
            Frame::Request {
                id,
                head,
                payload,
                more,
                stream,
            } => self.handle_request(now, CallId(id), head, payload, more, stream),
            Frame::Response { id, reply, more } => {
                let bounds = Bounds::new(&self.limits);
                let arrival = self.calls.response(CallId(id), reply, more, bounds);
                self.handle_reply(now, CallId(id), arrival)
            }
            Frame::Chunk {
                id,
                payload,
                more,
                callee: true,
            } => {
                self.credit.receive(payload.len())?;
                let bounds = Bounds::new(&self.limits);
                let arrival = self.calls.chunk(CallId(id), &payload, more, bounds);
                self.handle_reply(now, CallId(id), arrival)
            }
            Frame::Chunk {
                id,
                payload,
                more,
                callee: false,
            } => self.handle_request_chunk(CallId(id), &payload, more),
            Frame::Cancel { id } => {
                let id = CallId(id);
                if id.0 > self.served.last() {
                    return self.stray();
                }
                // A call that ended meanwhile is not the peer's fault.
                self.stop(id);
                Ok(())
            }
            Frame::Credit { id: 0, bytes, .. } => self.credit.replenish(bytes),
            Frame::Item {
                id,
                payload,
                callee,
                ..
            } => {
                self.credit.receive(payload.len().max(1))?;
                self.handle_stream(CallId(id), callee)
            }
            Frame::Credit { id, callee, .. } | Frame::End { id, callee, .. } => {
                self.handle_stream(CallId(id), callee)
            }
            Frame::Ping(number) => {
                self.pong = Some(number);
                Ok(())
            }
            Frame::Pong(_) => Ok(()),
            Frame::GoAway {
                last_id,
                code,
                text,
            } => {
                self.handle_go_away(last_id, code, text);
                Ok(())
            }
            Frame::Hello(_) | Frame::Answer(_) | Frame::Ready => Ok(()),
        }
    }

    fn handle_request(
        &mut self,
        now: Instant,
        id: CallId,
        head: RequestHead,
        payload: Bytes,
        more: bool,
        stream: bool,
    ) -> Result<(), Fault> {
        if !self.served.admit(id) {
            return Err(Fault::Violation(
                "a call number that is not above the ones before",
            ));
        }
        if self.leaving.is_some() {
            // The go-away that is on its way tells the peer that this call does not run.
            return Ok(());
        }
        let allowed = Duration::from_millis(head.timeout_ms.into()).min(self.limits.deadline_max);
        let deadline = later(now, allowed);
        // A reply that waits for credit keeps its call's place, so that a peer which reads in
        // trickles cannot pile up more replies than it may have calls.
        let running = self.served.len().saturating_add(self.outbox.bulk_replies());
        let running = u32::try_from(running).unwrap_or(u32::MAX);
        let refusal = if running >= self.limits.calls {
            let text = format!("{running} calls are in flight on this connection, the limit");
            Some(Error::new(Code::Overloaded, text))
        } else if head.timeout_ms == 0 {
            Some(late_arrival())
        } else if stream {
            let text = "this version does not serve streams";
            Some(Error::new(Code::Unimplemented, text))
        } else if payload.len() > self.limits.message {
            Some(too_large(self.limits.message))
        } else {
            None
        };
        if let Some(error) = refusal {
            if self.outbox.refusals() > self.limits.out_queue {
                return Err(Fault::Violation(
                    "calls that must be refused from a peer that does not read",
                ));
            }
            self.refuse(id, error);
        } else if more {
            let bounds = Bounds::new(&self.limits);
            if let served::Arrival::Crowded =
                self.served.begin(id, deadline, head, &payload, bounds)
            {
                self.refuse(id, crowded(bounds));
            }
        } else {
            self.start(Complete {
                id,
                head,
                deadline,
                payload,
            });
        }
        Ok(())
    }

    fn handle_request_chunk(&mut self, id: CallId, chunk: &Bytes, more: bool) -> Result<(), Fault> {
        self.credit.receive(chunk.len())?;
        let bounds = Bounds::new(&self.limits);
        match self.served.chunk(id, chunk, more, bounds) {
            served::Arrival::Complete(complete) => self.start(complete),
            served::Arrival::Continues | served::Arrival::Late => {}
            served::Arrival::TooLarge => {
                self.refuse(id, too_large(bounds.message));
            }
            served::Arrival::Crowded => self.refuse(id, crowded(bounds)),
            served::Arrival::Stray => return self.stray(),
        }
        Ok(())
    }

    /// A frame of a stream. This side opens none and refuses those that are opened to it, but the
    /// caller may have sent the first items before it could know.
    fn handle_stream(&mut self, id: CallId, callee: bool) -> Result<(), Fault> {
        if !callee && id.0 <= self.served.last() {
            return Ok(());
        }
        self.stray()
    }

    fn handle_reply(
        &mut self,
        now: Instant,
        id: CallId,
        arrival: calls::Arrival,
    ) -> Result<(), Fault> {
        match arrival {
            calls::Arrival::Ended(reply) => {
                self.outbox.forget(id, false);
                self.events.push_back(Event::Response { id, reply });
                self.send_calls(now);
            }
            calls::Arrival::Continues | calls::Arrival::Late => {}
            calls::Arrival::TooLarge { more } => {
                let limit = self.limits.message;
                let error = Error::new(
                    Code::TooLarge,
                    format!("the reply has more than {limit} bytes, this client's limit"),
                )
                .with_hint("raise the limit on messages, or ask for less at once");
                self.break_off(now, id, error, more);
            }
            calls::Arrival::Crowded { more } => {
                let limit = Bounds::new(&self.limits).total;
                let error = Error::new(
                    Code::Overloaded,
                    format!("{limit} bytes of replies are arriving already, this client's limit"),
                )
                .with_hint("raise the limit on assembly, or make fewer large calls at once");
                self.break_off(now, id, error, more);
            }
            calls::Arrival::Stray => return self.stray(),
        }
        Ok(())
    }

    /// Ends a call of ours in the middle of its reply.
    fn break_off(&mut self, now: Instant, id: CallId, error: Error, more: bool) {
        self.outbox.forget(id, false);
        if more {
            self.outbox.frame(&Frame::Cancel { id: id.0 });
        }
        self.events.push_back(Event::Response {
            id,
            reply: Reply::Failure(error.with_executed(Executed::Yes)),
        });
        self.send_calls(now);
    }

    fn handle_go_away(&mut self, last_id: u64, code: u8, text: String) {
        if Code::from_wire(code) != Code::Draining {
            self.dismissal = Some((code, text.clone()));
        }
        if self.draining.is_none() {
            self.events.push_back(Event::Draining);
        }
        // No new calls are made from here on, so only a lower number has anything to say.
        if self.draining.is_some_and(|before| before <= last_id) {
            return;
        }
        self.draining = Some(last_id);
        for id in self.calls.above(last_id) {
            // A peer that has begun to reply contradicts itself; what it did is the safer answer.
            let executed = match self.forget(id) {
                Some(Progress::Receiving) => Executed::Yes,
                _ => Executed::No,
            };
            let text = format!("the peer takes no new calls: {text}");
            let error = Error::new(Code::Draining, text).with_executed(executed);
            self.events.push_back(Event::Response {
                id,
                reply: Reply::Failure(error),
            });
        }
    }

    fn stray(&mut self) -> Result<(), Fault> {
        self.strays = self.strays.saturating_add(1);
        if self.strays > STRAYS_MAX {
            return Err(Fault::Violation(
                "too many frames for calls that do not exist",
            ));
        }
        Ok(())
    }

    // Calls of ours.

    /// Sends what may be sent: all that the peer has room for, or the early calls before it said.
    fn send_calls(&mut self, now: Instant) {
        while let Some((_, call)) = self.calls.next() {
            let head_len = RequestHead::FIXED.saturating_add(call.metadata.wire_len());
            let length = Self::FRAME_HEAD
                .saturating_add(head_len)
                .saturating_add(call.payload.len());
            let may_send = match (self.handshake, self.terms) {
                (Handshake::Established, Some(terms)) => {
                    self.calls.in_flight() < terms.peer.calls.max(1) as usize
                }
                (Handshake::AwaitAnswer { .. }, _) => self.may_send_early(length),
                _ => false,
            };
            if !may_send {
                return;
            }
            let Some((id, call)) = self.calls.send_next() else {
                return;
            };
            if self.terms.is_none() {
                let (calls, bytes) = self.early;
                self.early = (calls.saturating_add(1), bytes.saturating_add(length));
            }
            self.send_call(now, id, call);
        }
    }

    /// Bytes before the body of a frame.
    const FRAME_HEAD: usize = 16;

    fn may_send_early(&self, length: usize) -> bool {
        let (calls, bytes) = self.early;
        self.opening.expected.is_none()
            && self.opening.credentials.is_empty()
            && self.opening.codecs.first() == Some(&MANDATORY_CODEC)
            && calls < EARLY_CALLS_MAX
            && bytes.saturating_add(length) <= PREAMBLE_MAX
    }

    fn send_call(&mut self, now: Instant, id: CallId, call: Call) {
        let Some(timeout_ms) = milliseconds_until(now, call.deadline) else {
            self.calls.end(id);
            let error = Error::new(Code::DeadlineExceeded, "the call waited until its deadline");
            self.events.push_back(Event::Response {
                id,
                reply: Reply::Failure(error),
            });
            return;
        };
        let limit = self
            .terms
            .map_or(usize::MAX, |terms| terms.peer.message as usize);
        if call.payload.len() > limit {
            self.calls.end(id);
            let error = Error::new(
                Code::TooLarge,
                format!(
                    "the request has {} bytes, the server accepts {limit}",
                    call.payload.len()
                ),
            )
            .with_hint("send less at once, or raise the server's limit on messages");
            self.events.push_back(Event::Response {
                id,
                reply: Reply::Failure(error),
            });
            return;
        }
        let head = RequestHead {
            method: call.method,
            fingerprint: call.fingerprint,
            timeout_ms,
            metadata: call.metadata,
        };
        let mut payload = call.payload;
        let first = BODY_MAX.saturating_sub(head.len());
        let rest = payload.split_off(first.min(payload.len()));
        let more = !rest.is_empty();
        self.outbox.frame(&Frame::Request {
            id: id.0,
            head,
            payload,
            more,
            stream: false,
        });
        if more {
            self.outbox.bulk(id, false, rest);
        }
    }

    /// Ends a call of ours with a failure of this side's making, and tells the peer if it was sent.
    fn end(&mut self, id: CallId, code: Code, text: &'static str) {
        let unsent = self.outbox.has(id, false);
        let executed = match self.forget(id) {
            Some(Progress::Sent) if !unsent => Executed::Maybe,
            Some(Progress::Receiving) => Executed::Yes,
            Some(Progress::Queued | Progress::Sent) => Executed::No,
            None => return,
        };
        if executed != Executed::No || unsent {
            self.outbox.frame(&Frame::Cancel { id: id.0 });
        }
        let error = Error::new(code, text).with_executed(executed);
        self.events.push_back(Event::Response {
            id,
            reply: Reply::Failure(error),
        });
    }

    fn forget(&mut self, id: CallId) -> Option<Progress> {
        self.outbox.forget(id, false);
        self.calls.end(id)
    }

    // Calls of the peer's.

    fn start(&mut self, complete: Complete) {
        let Complete {
            id,
            head,
            deadline,
            payload,
        } = complete;
        if self.is_congested() {
            self.served.hold(id, deadline, head, payload);
        } else {
            self.served.run(id, deadline);
            self.events.push_back(Event::Request {
                id,
                head,
                deadline,
                payload,
            });
        }
    }

    /// Whether the peer takes its replies so slowly that it must not cause more of them. A peer that
    /// still grants credit does take them, however large the replies that wait: they do not hold up
    /// small ones.
    fn is_congested(&self) -> bool {
        self.outbox.frames_len() > self.limits.out_queue
            || (self.outbox.replies() > self.limits.out_queue && self.credit.is_exhausted())
    }

    fn release_held(&mut self) {
        while !self.is_congested() {
            let Some(Complete {
                id,
                head,
                deadline,
                payload,
            }) = self.served.release()
            else {
                return;
            };
            self.events.push_back(Event::Request {
                id,
                head,
                deadline,
                payload,
            });
        }
    }

    fn stop(&mut self, id: CallId) -> Option<Stopped> {
        self.outbox.forget(id, true);
        let stopped = self.served.stop(id);
        if stopped == Some(Stopped::Running) {
            self.events.push_back(Event::Abort(id));
        }
        stopped
    }

    /// Answers a call that has no handler, or none any more.
    fn refuse(&mut self, id: CallId, error: Error) {
        self.outbox.refusal(&Frame::Response {
            id: id.0,
            reply: Reply::Failure(error),
            more: false,
        });
    }

    fn send_reply(&mut self, id: CallId, reply: Reply) {
        // One byte says what kind of reply it is.
        let (reply, rest) = reply.split(BODY_MAX.saturating_sub(1));
        let more = !rest.is_empty();
        self.outbox.frame(&Frame::Response {
            id: id.0,
            reply,
            more,
        });
        if more {
            self.outbox.bulk(id, true, rest);
        }
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
    /// Events not polled.
    pub(super) events: usize,
    /// What we may send, and what the peer may.
    pub(super) credit: (u64, u64),
    pub(super) is_conserved: bool,
}

fn late_arrival() -> Error {
    Error::new(Code::DeadlineExceeded, "the call was late when it arrived")
}

fn too_large(limit: usize) -> Error {
    let text = format!("the request has more than {limit} bytes, the server's limit");
    Error::new(Code::TooLarge, text)
}

fn crowded(bounds: Bounds) -> Error {
    let limit = bounds.total;
    let text = format!("{limit} bytes of requests are arriving already, the limit");
    Error::new(Code::Overloaded, text)
}

/// `now + wait`, or an instant so far away that it never comes where the clock cannot express that.
fn later(now: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    now.checked_add(wait)
        .or_else(|| now.checked_add(CENTURY))
        .unwrap_or(now)
}

/// What is left until `deadline`, in whole milliseconds and at least one; `None` when it is over.
fn milliseconds_until(now: Instant, deadline: Instant) -> Option<u32> {
    let left = deadline
        .checked_duration_since(now)
        .filter(|left| !left.is_zero())?;
    Some(u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1))
}
