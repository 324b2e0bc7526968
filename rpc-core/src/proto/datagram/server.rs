//! The server's side of one client that calls by datagrams.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::REMEMBERED;
use super::window::{Meeting, Memory, Window};
use crate::error::{Code, Error, Executed};
use crate::limits::Limits;
use crate::proto::{CallId, Event, Fault, Opening, Terms, handshake, later};
use crate::wire::datagram::{
    ClientBody, Cookie, DATAGRAM_MAX, FromClient, FromServer, Message, ServerBody, put_response,
};
use crate::wire::{Answer, Payload, Reply, RequestHead, VERSIONS};

/// One client of a server, from the first datagram with a good cookie on.
///
/// The kinds of methods and the one rule are those of [`Connection`](crate::proto::Connection): after
/// any input or command, drain `poll_event`, then `poll_transmit`, then ask `poll_timeout`. Its
/// datagrams must have been [admitted](super::Admission::admit).
#[derive(Debug)]
pub(crate) struct Server {
    limits: Arc<Limits>,
    /// The client's id, once it has been heard.
    client: Option<u64>,
    /// Why this client is not served.
    refusal: Option<(Code, &'static str)>,
    codec: u8,
    window: Window,
    /// The calls whose handlers are there. One that was stopped keeps its place until then.
    running: BTreeMap<u64, Running>,
    /// No deadline of a running call is before it.
    due: Option<Instant>,
    heard: Instant,
    outbox: VecDeque<Bytes>,
    events: VecDeque<Event>,
    /// No new calls run; when the last reply left.
    leaving: Option<Instant>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    deadline: Instant,
    /// It was cancelled or is late: what its handler leaves is not wanted.
    stopped: bool,
}

impl Server {
    /// How long a server that drains waits for a client to ask once more for a reply that was lost:
    /// a few of the client's waits.
    const LINGER: Duration = Duration::from_millis(500);

    pub(crate) fn new(
        now: Instant,
        limits: Arc<Limits>,
        opening: &Opening,
        memory: Memory,
    ) -> Self {
        Self {
            limits,
            client: None,
            refusal: opening.refuse,
            codec: 0,
            window: Window::new(memory),
            running: BTreeMap::new(),
            due: None,
            heard: now,
            outbox: VecDeque::new(),
            events: VecDeque::from([Event::Established]),
            leaving: None,
            ended: false,
        }
    }

    // Input.

    /// A datagram of the client's came, and its cookie was good.
    pub(crate) fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        let Ok(FromClient { client, body }) = FromClient::parse(datagram) else {
            return;
        };
        let ClientBody::Shown { codec, message, .. } = body else {
            return;
        };
        if self.ended || *self.client.get_or_insert(client) != client {
            return;
        }
        self.heard = now;
        self.codec = codec;
        self.window.sweep(now);
        if let Some((code, text)) = self.refusal {
            let answer = Answer::Refused {
                code: code.to_wire(),
                versions: VERSIONS,
                text: text.to_owned(),
            };
            let cookie = Cookie::NONE;
            self.send(ServerBody::Answer { cookie, answer });
            return self.end(Fault::RefusedByUs(code, text.to_owned()));
        }
        match message {
            Message::Ready => self.send(ServerBody::Ready),
            Message::Request {
                number,
                floor,
                head,
                payload,
            } => {
                self.window.acknowledge(floor.min(number));
                self.handle_request(now, number, head, payload);
            }
            Message::Cancel { number } => self.handle_cancel(now, number),
            Message::GoAway => {
                self.send(ServerBody::GoAway {
                    code: Code::Disconnected.to_wire(),
                    text: String::new(),
                });
                self.end(Fault::Eof);
            }
        }
    }

    fn handle_request(&mut self, now: Instant, number: u64, head: RequestHead, payload: &[u8]) {
        match self.window.meet(number) {
            Meeting::New => {}
            Meeting::Running => return self.send(ServerBody::Underway { number }),
            Meeting::Replied(reply) => return self.outbox.push_back(reply),
            Meeting::Forgotten => {
                let text = "the reply of this call is not remembered any more";
                let error = Error::new(Code::Disconnected, text).with_executed(Executed::Maybe);
                return self.send(ServerBody::Response {
                    number,
                    reply: Reply::Failure(error),
                });
            }
        }
        let running = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        let refusal = if self.leaving.is_some() {
            Some(Error::new(Code::Draining, "the server is shutting down"))
        } else if running >= self.limits.calls {
            let text = format!("{running} calls of this client are in flight, the limit");
            Some(Error::new(Code::Overloaded, text))
        } else if head.timeout_ms == 0 {
            let text = "the call was late when it arrived";
            Some(Error::new(Code::DeadlineExceeded, text))
        } else if payload.len() > self.limits.message {
            let limit = self.limits.message;
            let text = format!("the request has more than {limit} bytes, the server's limit");
            Some(Error::new(Code::TooLarge, text))
        } else {
            None
        };
        if let Some(error) = refusal {
            // It is remembered as well: a copy of the request may come when there is room.
            return self.finish(now, number, &Reply::Failure(error));
        }
        let allowed = Duration::from_millis(head.timeout_ms.into()).min(self.limits.deadline_max);
        let deadline = later(now, allowed);
        self.window.begin(number);
        let running = Running {
            deadline,
            stopped: false,
        };
        self.running.insert(number, running);
        self.due = Some(self.due.map_or(deadline, |due| due.min(deadline)));
        self.events.push_back(Event::Request {
            id: CallId(number),
            head,
            deadline,
            payload: Payload::copy_from_slice(payload),
        });
    }

    /// A call that was cancelled before it came is over as well.
    fn handle_cancel(&mut self, now: Instant, number: u64) {
        match self.window.meet(number) {
            Meeting::New | Meeting::Running => {
                let error = Error::new(Code::Cancelled, "the call was cancelled");
                let error = error.with_executed(Executed::Maybe);
                self.finish(now, number, &Reply::Failure(error));
                self.stop(number);
            }
            Meeting::Replied(reply) => self.outbox.push_back(reply),
            Meeting::Forgotten => {
                let error = Error::new(Code::Cancelled, "").with_executed(Executed::Maybe);
                self.send(ServerBody::Response {
                    number,
                    reply: Reply::Failure(error),
                });
            }
        }
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) named has come. Calling it early or late
    /// does no harm.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        if self.due.is_some_and(|due| now >= due) {
            let live = self.running.iter().filter(|(_, call)| !call.stopped);
            let late: Vec<u64> = live
                .clone()
                .filter(|(_, call)| call.deadline <= now)
                .map(|(&number, _)| number)
                .collect();
            self.due = live
                .map(|(_, call)| call.deadline)
                .filter(|&deadline| deadline > now)
                .min();
            for number in late {
                let error = Error::new(Code::DeadlineExceeded, "the handler ran out of time");
                let error = error.with_executed(Executed::Maybe);
                self.finish(now, number, &Reply::Failure(error));
                self.stop(number);
            }
        }
        if self.is_silent(now) {
            self.end(Fault::Silent(REMEMBERED));
        }
    }

    /// Whether nobody will miss the client: nothing was heard for so long that it has left.
    fn is_silent(&self, now: Instant) -> bool {
        self.running.is_empty() && now.saturating_duration_since(self.heard) >= REMEMBERED
    }

    // Commands.

    /// The handler of a call that [`Event::Request`] has just told of has to wait; whether anybody
    /// waits for it.
    pub(crate) fn go_on(&mut self, id: CallId) -> bool {
        self.running.get(&id.0).is_some_and(|call| !call.stopped)
    }

    /// The handler of a call is gone, and this is what it left.
    pub(crate) fn respond(&mut self, now: Instant, id: CallId, reply: &Reply) {
        let Some(call) = self.running.remove(&id.0) else {
            return;
        };
        if !call.stopped && !self.ended {
            self.finish(now, id.0, reply);
        }
    }

    /// Takes no new calls, finishes those that are here, and ends.
    pub(crate) fn go_away(&mut self, now: Instant, code: Code, text: &str) {
        if self.leaving.is_none() && !self.ended {
            self.leaving = Some(now);
            self.send(ServerBody::GoAway {
                code: code.to_wire(),
                text: text.to_owned(),
            });
        }
    }

    /// Ends at once; all calls end.
    pub(crate) fn close(&mut self, fault: Fault) {
        if self.ended {
            return;
        }
        let (code, text) = fault.verdict().unwrap_or((
            Code::Disconnected,
            "the server closed the connection".to_owned(),
        ));
        self.send(ServerBody::GoAway {
            code: code.to_wire(),
            text,
        });
        self.end(fault);
    }

    // Output.

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next datagram to send.
    pub(crate) fn poll_transmit(&mut self) -> Option<Bytes> {
        self.outbox.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), or ask [`is_drained`](Self::is_drained).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let silent = match self.running.is_empty() {
            true => self.heard.checked_add(REMEMBERED),
            false => None,
        };
        let linger = self.lingers_until();
        [self.due, silent, linger].into_iter().flatten().min()
    }

    // Questions.

    /// What the client and this server agree on.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            codec: self.codec,
            // A reply is measured when it is there: the client cannot take more than a datagram, but
            // that is another failure than one over its limit.
            peer: handshake::parameters(&self.limits),
            instance: [0; 16],
        }
    }

    /// Whether it has said goodbye, and everything before that.
    pub(crate) fn is_drained(&self, now: Instant) -> bool {
        self.lingers_until().is_some_and(|until| now >= until)
    }

    fn lingers_until(&self) -> Option<Instant> {
        let since = self.leaving.filter(|_| self.running.is_empty())?;
        let since = since.max(self.heard);
        // A client of which nothing was heard all the while has nothing to ask for.
        Some(later(since, Self::LINGER))
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.leaving.is_some() || self.ended
    }

    /// Bytes held for the client.
    pub(crate) fn held(&self) -> usize {
        self.window.held()
    }

    /// The call is over and its reply leaves, and will again whenever the client asks.
    fn finish(&mut self, now: Instant, number: u64, reply: &Reply) {
        let Some(client) = self.client else {
            return;
        };
        let mut datagram = Vec::new();
        let room = FromServer::ROOM;
        if reply.payload_len() > room {
            let text = format!(
                "the reply has {} bytes, a datagram takes at most {room}",
                reply.payload_len()
            );
            let error = Error::new(Code::TooLargeForDatagram, text)
                .with_executed(Executed::Yes)
                .with_hint("use tcp:// for this method, or ask for less at once");
            put_response(&mut datagram, client, number, &Reply::Failure(error));
        } else {
            put_response(&mut datagram, client, number, reply);
        }
        debug_assert!(datagram.len() <= DATAGRAM_MAX);
        let datagram = Bytes::from(datagram);
        self.window.finish(now, number, datagram.clone());
        self.outbox.push_back(datagram);
        self.leaving = self.leaving.map(|_| now);
    }

    /// Nobody wants what the handler of the call leaves.
    fn stop(&mut self, number: u64) {
        if let Some(call) = self.running.get_mut(&number) {
            if !std::mem::replace(&mut call.stopped, true) {
                self.events.push_back(Event::Abort(CallId(number)));
            }
        }
    }

    fn send(&mut self, body: ServerBody) {
        if let Some(client) = self.client {
            let mut datagram = Vec::new();
            FromServer { client, body }.put(&mut datagram);
            self.outbox.push_back(Bytes::from(datagram));
        }
    }

    fn end(&mut self, fault: Fault) {
        self.ended = true;
        let running: Vec<u64> = self.running.keys().copied().collect();
        for number in running {
            self.stop(number);
        }
        self.running.clear();
        self.events.push_back(Event::Closed(fault));
    }
}
