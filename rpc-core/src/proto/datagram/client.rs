//! The client's side of calls by datagrams.

mod calls;
mod opening;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::calls::{Calls, Ended};
use super::pace::{Again, Pace};
use super::{IDLE, SPAN};
use crate::error::{Code, Error, Executed};
use crate::limits::Limits;
use crate::proto::{Call, CallId, Event, Fault, Opening, Terms, later};
use crate::wire::datagram::{ClientBody, Cookie, FromClient, FromServer, Message, ServerBody};
use crate::wire::{Metadata, Reply, RequestHead};

/// The calls to one server, from hello to the last word.
///
/// The kinds of methods and the one rule are those of [`Connection`](crate::proto::Connection): after
/// any input or command, drain `poll_event`, then `poll_transmit`, then ask `poll_timeout`.
#[derive(Debug)]
pub(crate) struct Client {
    limits: Arc<Limits>,
    opening: Arc<Opening>,
    /// Chosen at random: who knows it receives our datagrams.
    id: u64,
    state: State,
    calls: Calls,
    pace: Pace,
    /// The last time at which there was a call.
    busy: Instant,
    outbox: VecDeque<Bytes>,
    events: VecDeque<Event>,
    is_draining: bool,
}

/// ```text
///   Hello --answer--> Joined --close--> Leaving --heard, or said often enough--> Ended
///     +-- refused, nobody there, too late: Ended, from every state
/// ```
#[derive(Debug)]
enum State {
    /// Hello is said again and again.
    Hello {
        until: Instant,
        again: Again,
    },
    Joined {
        cookie: Cookie,
        terms: Terms,
        /// Ready is said again until anything is heard that shows that the server remembers us, and
        /// not beyond the time.
        ready: Option<(Instant, Again)>,
    },
    /// Farewell is said a few times, because nobody else tells the server.
    Leaving {
        cookie: Cookie,
        left: u32,
        again: Again,
    },
    Ended,
}

impl Client {
    /// How often farewell is said: even at 20 % of loss it is heard 99 times of 100.
    const FAREWELLS: u32 = 3;

    /// The client that dialled. `id` must be such that nobody guesses it; `seed` is for what is only
    /// to differ from client to client.
    pub(crate) fn new(
        now: Instant,
        limits: Arc<Limits>,
        opening: Arc<Opening>,
        id: u64,
        seed: u64,
    ) -> Self {
        let mut pace = Pace::new(seed);
        let until = later(now, limits.handshake);
        let again = Again::begin(now, &mut pace);
        let mut client = Self {
            limits,
            opening,
            id,
            state: State::Hello { until, again },
            calls: Calls::default(),
            pace,
            busy: now,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            is_draining: false,
        };
        client.say_hello();
        client
    }

    // Input.

    /// A datagram came from where ours go.
    pub(crate) fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        let Ok(FromServer { client, body }) = FromServer::parse(datagram) else {
            return;
        };
        if client != self.id {
            return;
        }
        match (&mut self.state, body) {
            (State::Ended, _) => {}
            (State::Leaving { .. }, ServerBody::Stale | ServerBody::GoAway { .. }) => {
                self.state = State::Ended;
            }
            (State::Leaving { .. }, _) => {}
            (State::Hello { .. }, ServerBody::Answer { cookie, answer }) => {
                self.handle_answer(now, cookie, answer);
            }
            // Only an answer can follow upon hello.
            (State::Hello { .. }, _) => {}
            (State::Joined { .. }, ServerBody::Answer { answer, .. }) => {
                // A refusal of the server as such. A second answer to our hello says nothing new.
                self.handle_late_answer(now, answer);
            }
            (State::Joined { ready, .. }, ServerBody::Ready) => {
                if let Some((_, again)) = ready.take() {
                    again.answered(now, &mut self.pace);
                }
            }
            (State::Joined { ready, .. }, ServerBody::Underway { number }) => {
                *ready = None;
                self.calls.underway(now, number, &mut self.pace);
                self.send_calls(now);
            }
            (State::Joined { ready, .. }, ServerBody::Response { number, reply }) => {
                *ready = None;
                self.handle_response(now, number, reply);
            }
            (State::Joined { .. }, ServerBody::Stale) => self.close(now, Fault::Forgotten),
            (State::Joined { .. }, ServerBody::GoAway { code, text }) => {
                if Code::from_wire(code) == Code::Draining {
                    self.drain();
                } else {
                    self.close(now, Fault::Dismissed { code, text });
                }
            }
        }
    }

    fn handle_response(&mut self, now: Instant, number: u64, reply: Reply) {
        if let Some(token) = self.calls.finish(now, number, &mut self.pace) {
            self.busy = now;
            let draining =
                matches!(&reply, Reply::Failure(error) if error.code() == Code::Draining);
            self.events.push_back(Event::Response { token, reply });
            if draining {
                self.drain();
            }
        }
        self.send_calls(now);
    }

    /// The system says that nobody receives what we send.
    pub(crate) fn handle_absence(&mut self, now: Instant) {
        match self.state {
            State::Hello { .. } => self.close(now, Fault::Absent),
            State::Joined { .. } => {
                let text = "nothing listens there any more";
                self.close(now, Fault::Io(Error::new(Code::Disconnected, text)));
            }
            State::Leaving { .. } => self.state = State::Ended,
            State::Ended => {}
        }
    }

    /// The system failed to send or to receive. What was lost is sent again; where nothing has come
    /// through yet, it is not waited for.
    pub(crate) fn handle_error(&mut self, now: Instant, error: Error) {
        if matches!(self.state, State::Hello { .. }) {
            self.close(now, Fault::Io(error));
        }
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come. Calling it early or late
    /// does no harm.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.handle_handshake_timeout(now);
        for late in self.calls.late(now) {
            self.end_late(late);
            if late.sent {
                self.send_cancel(now, late.number);
            }
        }
        self.send_calls(now);
        for number in self.calls.due(now, &mut self.pace) {
            self.send_request(now, number);
        }
        for number in self.calls.due_cancels(now, &mut self.pace) {
            self.say(Message::Cancel { number });
        }
        if self.is_idle_for(now, IDLE) {
            self.close(now, Fault::Closed);
        }
        self.finish_drain(now);
    }

    // Commands.

    /// Makes a call, and takes what is in it. It ends with one [`Event::Response`], unless it is
    /// cancelled first.
    ///
    /// # Errors
    /// The call was not taken in and does not run: it does not fit a datagram, too many wait, or the
    /// connection takes no new calls.
    pub(crate) fn call(&mut self, now: Instant, call: &mut Call) -> Result<CallId, Error> {
        if self.is_draining {
            return Err(Error::new(
                Code::Draining,
                "the connection takes no new calls",
            ));
        }
        let room = FromClient::ROOM;
        let length = call
            .payload
            .len()
            .saturating_add(metadata_len(&call.metadata));
        if length > room {
            let text = format!(
                "the request has {length} bytes with its metadata, a datagram takes at most {room}"
            );
            let error = Error::new(Code::TooLargeForDatagram, text);
            return Err(error.with_hint("use tcp:// for this method, or send less at once"));
        }
        if self.calls.waiting() >= self.limits.queued_calls {
            let waiting = self.calls.waiting();
            let text = format!("{waiting} calls wait already");
            let error = Error::new(Code::Overloaded, text);
            return Err(error.with_hint("make fewer calls at once, or raise `queued_calls`"));
        }
        let number = self.calls.queue(call);
        self.busy = now;
        self.send_calls(now);
        Ok(CallId(number))
    }

    /// Forgets a call of ours, and tells the server if the call was sent.
    pub(crate) fn cancel(&mut self, now: Instant, id: CallId) {
        if let Some(Ended { sent: true, .. }) = self.calls.end(id.0) {
            self.send_cancel(now, id.0);
        }
        self.send_calls(now);
        self.finish_drain(now);
    }

    /// Makes no new calls, and ends when those under way have.
    pub(crate) fn go_away(&mut self, now: Instant) {
        self.drain();
        self.finish_drain(now);
    }

    /// Ends at once; all calls end.
    pub(crate) fn close(&mut self, now: Instant, fault: Fault) {
        let cookie = match self.state {
            State::Hello { .. } => None,
            State::Joined { cookie, .. } => Some(cookie),
            State::Leaving { .. } | State::Ended => return,
        };
        for Ended { token, sent, .. } in self.calls.end_all() {
            // What the server refused as such, it did not run.
            let ran = sent && !matches!(fault, Fault::Refused { .. });
            let executed = match ran {
                true => Executed::Maybe,
                false => Executed::No,
            };
            let error = fault.to_error().with_executed(executed);
            self.events.push_back(Event::Response {
                token,
                reply: Reply::Failure(error),
            });
        }
        self.is_draining = true;
        self.state = match (cookie, &fault) {
            (Some(cookie), Fault::Closed | Fault::Violation(_)) => {
                self.say(Message::GoAway);
                State::Leaving {
                    cookie,
                    left: Self::FAREWELLS.saturating_sub(1),
                    again: Again::begin(now, &mut self.pace),
                }
            }
            _ => State::Ended,
        };
        self.events.push_back(Event::Closed(fault));
    }

    // Output.

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next datagram to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.outbox.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let calls = self.calls.next_due();
        let own = match &self.state {
            State::Hello { until, again } => Some(again.at.min(*until)),
            State::Joined {
                ready: Some((until, again)),
                ..
            } => Some(again.at.min(*until)),
            State::Joined { .. } if self.calls.is_empty() => self.busy.checked_add(IDLE),
            State::Leaving { again, .. } => Some(again.at),
            State::Joined { .. } | State::Ended => None,
        };
        [calls, own].into_iter().flatten().min()
    }

    // Questions.

    /// What both sides agreed on, once they have.
    pub(crate) fn terms(&self) -> Option<&Terms> {
        match &self.state {
            State::Joined { terms, .. } => Some(terms),
            _ => None,
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining
    }

    /// Whether everything is over, the farewell included.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    #[cfg(test)]
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    fn is_idle_for(&self, now: Instant, time: Duration) -> bool {
        matches!(self.state, State::Joined { .. })
            && self.calls.is_empty()
            && now.saturating_duration_since(self.busy) >= time
    }

    /// No new calls are made here; those that were not sent can go elsewhere.
    fn drain(&mut self) {
        self.is_draining = true;
        for Ended { token, .. } in self.calls.end_waiting() {
            let error = Error::new(Code::Draining, "the server is shutting down");
            self.events.push_back(Event::Response {
                token,
                reply: Reply::Failure(error),
            });
        }
        self.events.push_back(Event::Draining);
    }

    fn finish_drain(&mut self, now: Instant) {
        if self.is_draining && self.is_idle_for(now, Duration::ZERO) {
            self.close(now, Fault::Closed);
        }
    }

    /// Sends what may be sent: as many calls as the server takes, and none so far ahead of one that
    /// the server may not have heard of that this would fall out of its window.
    fn send_calls(&mut self, now: Instant) {
        let State::Joined { terms, .. } = &self.state else {
            return;
        };
        let places = usize::try_from(u64::from(terms.peer.calls).clamp(1, SPAN)).unwrap_or(1);
        while let Some(next) = self.calls.send_next(now, places, SPAN, &mut self.pace) {
            match next {
                Ok(number) => self.send_request(now, number),
                Err(late) => self.end_late(late),
            }
        }
    }

    /// Ends a call whose time is over.
    fn end_late(&mut self, late: Ended) {
        let executed = match late.sent {
            true => Executed::Maybe,
            false => Executed::No,
        };
        let text = "the time allowed to the call is over";
        let error = Error::new(Code::DeadlineExceeded, text).with_executed(executed);
        self.events.push_back(Event::Response {
            token: late.token,
            reply: Reply::Failure(error),
        });
    }

    fn send_request(&mut self, now: Instant, number: u64) {
        let State::Joined { cookie, terms, .. } = &self.state else {
            return;
        };
        let floor = self.calls.floor();
        let Some((call, deadline)) = self.calls.sent(number) else {
            return;
        };
        let left = deadline.saturating_duration_since(now).as_millis();
        let head = RequestHead {
            method: call.method,
            fingerprint: call.fingerprint,
            // Late calls have ended before this, so there is at least a part of one.
            timeout_ms: u32::try_from(left).unwrap_or(u32::MAX).max(1),
            metadata: call.metadata.clone(),
        };
        let message = Message::Request {
            number,
            floor,
            head,
            payload: &call.payload,
        };
        let body = ClientBody::Shown {
            cookie: *cookie,
            codec: terms.codec,
            message,
        };
        let mut datagram = Vec::new();
        FromClient {
            client: self.id,
            body,
        }
        .put(&mut datagram);
        self.outbox.push_back(Bytes::from(datagram));
    }

    fn send_cancel(&mut self, now: Instant, number: u64) {
        let again = Again::begin(now, &mut self.pace);
        self.calls.cancelled(number, again);
        self.say(Message::Cancel { number });
    }

    /// Sends what every datagram after hello looks like.
    fn say(&mut self, message: Message<'_>) {
        let (cookie, codec) = match &self.state {
            State::Joined { cookie, terms, .. } => (*cookie, terms.codec),
            State::Leaving { cookie, .. } => (*cookie, 0),
            State::Hello { .. } | State::Ended => return,
        };
        let body = ClientBody::Shown {
            cookie,
            codec,
            message,
        };
        let mut datagram = Vec::new();
        FromClient {
            client: self.id,
            body,
        }
        .put(&mut datagram);
        self.outbox.push_back(Bytes::from(datagram));
    }
}

fn metadata_len(metadata: &Metadata) -> usize {
    match metadata.is_empty() {
        true => 0,
        false => metadata.wire_len(),
    }
}
