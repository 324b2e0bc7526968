//! The calls of the peer of a [`Connection`]: their requests, and our replies.

use std::time::{Duration, Instant};

use super::Connection;
use crate::error::{Code, Error, Executed};
use crate::proto::assembly::Bounds;
use crate::proto::event::Event;
use crate::proto::fault::Fault;
use crate::proto::id::CallId;
use crate::proto::incoming::{Arguments, Incoming};
use crate::proto::later;
use crate::proto::served::{self, Complete, Stopped};
use crate::proto::taken::Taken;
use crate::wire::{
    BODY_MAX, Frame, Header, Outcome, Payload, Reader, Reply, RequestHead, flag, kind,
};

/// The deadline of the request that came last: requests that arrive together are mostly allowed the
/// same time, and to add it up costs as much as to look at the rest of a frame.
#[derive(Debug)]
pub(super) struct Granted {
    arrived: Instant,
    timeout_ms: u32,
    deadline: Instant,
}

impl Granted {
    /// As if a call had come that was late already.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            arrived: now,
            timeout_ms: 0,
            deadline: now,
        }
    }

    /// When a call is late that arrived `now` with so much time left, and is granted at most `max`.
    #[inline]
    fn deadline(&mut self, now: Instant, timeout_ms: u32, max: Duration) -> Instant {
        if self.timeout_ms != timeout_ms || self.arrived != now {
            let allowed = Duration::from_millis(timeout_ms.into()).min(max);
            *self = Self {
                arrived: now,
                timeout_ms,
                deadline: later(now, allowed),
            };
        }
        self.deadline
    }
}

impl Connection {
    /// The request at the front of `input`, if all that there is to say about it is that it may run: it
    /// is whole, in order and in time, bears no flag, and there is a place for it. So nearly all are, and
    /// to see that takes a few comparisons. What is left for [`handle_request`](Self::handle_request),
    /// which knows all the rules, may be just as good.
    #[inline(always)]
    pub(super) fn usual_request<'a>(
        &mut self,
        now: Instant,
        input: &mut &'a [u8],
    ) -> Option<Incoming<'a>> {
        let (frame, behind) = self.decoder.peek(kind::REQUEST, input)?;
        let (head, arguments) = frame.body.split_first_chunk()?;
        let timeout_ms = RequestHead::timeout_ms(head);
        let may_run = frame.id > self.served.last()
            && timeout_ms > 0
            && arguments.len() <= self.limits.message
            && self.handshaken().is_ok()
            && self.leaving.is_none()
            && self.has_place()
            && !self.is_congested();
        if !may_run {
            return None;
        }
        *input = behind;
        let id = CallId(frame.id);
        self.served.admit(id);
        self.served.start();
        Some(Incoming {
            id,
            deadline: self.deadline(now, timeout_ms),
            head: RequestHead::plain(head),
            arguments: Arguments::Read(arguments),
        })
    }

    /// The first frame of a request.
    pub(super) fn handle_request<'a>(
        &mut self,
        now: Instant,
        header: Header,
        body: &'a [u8],
    ) -> Result<Taken<'a>, Fault> {
        header.check()?;
        self.handshaken()?;
        let Header { flags, id, .. } = header;
        let mut body = Reader::new(header.kind, body);
        let head = RequestHead::parse(&mut body, flags & flag::METADATA != 0)?;
        let payload = body.rest();
        let id = CallId(id);
        if !self.served.admit(id) {
            return Err(Fault::Violation(
                "a call number that is not above the ones before",
            ));
        }
        if self.leaving.is_some() {
            // The go-away that is on its way tells the peer that this call does not run.
            return Ok(Taken::Frame);
        }
        let refusal = if !self.has_place() {
            let running = self.running();
            let text = format!("{running} calls are in flight on this connection, the limit");
            Some(Error::new(Code::Overloaded, text))
        } else if head.timeout_ms == 0 {
            Some(late_arrival())
        } else if flags & flag::STREAM != 0 {
            let text = "this version does not serve streams";
            Some(Error::new(Code::Unimplemented, text))
        } else if payload.len() > self.limits.message {
            Some(too_large(self.limits.message))
        } else {
            None
        };
        let deadline = self.deadline(now, head.timeout_ms);
        if let Some(error) = refusal {
            if self.outbox.refusals() > self.limits.out_queue {
                return Err(Fault::Violation(
                    "calls that must be refused from a peer that does not read",
                ));
            }
            self.refuse(id, error);
        } else if flags & flag::MORE != 0 {
            let bounds = Bounds::new(&self.limits);
            if let served::Arrival::Crowded = self.served.begin(id, deadline, head, payload, bounds)
            {
                self.refuse(id, crowded(bounds));
            }
        } else if self.is_congested() {
            let payload = Payload::copy_from_slice(payload);
            self.served.hold(id, deadline, head, payload);
        } else {
            self.served.start();
            return Ok(Taken::Request(Incoming {
                id,
                deadline,
                head,
                arguments: Arguments::Read(payload),
            }));
        }
        Ok(Taken::Frame)
    }

    #[inline]
    fn deadline(&mut self, now: Instant, timeout_ms: u32) -> Instant {
        let max = self.limits.deadline_max;
        self.granted.deadline(now, timeout_ms, max)
    }

    /// Whether the peer may have one more call in flight. A reply that waits for credit keeps its
    /// call's place, so that a peer which reads in trickles cannot pile up more replies than it may
    /// have calls.
    #[inline]
    fn has_place(&self) -> bool {
        self.running() < self.limits.calls as usize
    }

    #[inline]
    fn running(&self) -> usize {
        let replies = self.outbox.bulk_replies();
        self.served.len().saturating_add(replies)
    }

    pub(super) fn handle_request_chunk(
        &mut self,
        id: CallId,
        chunk: &[u8],
        more: bool,
        bounds: Bounds,
    ) -> Result<(), Fault> {
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
    pub(super) fn handle_stream(&mut self, id: CallId, callee: bool) -> Result<(), Fault> {
        if !callee && id.0 <= self.served.last() {
            return Ok(());
        }
        self.stray()
    }

    pub(super) fn start(&mut self, complete: Complete) {
        let Complete {
            id,
            head,
            deadline,
            payload,
        } = complete;
        if self.is_congested() {
            self.served.hold(id, deadline, head, payload);
        } else {
            self.served.start();
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
    #[inline]
    pub(super) fn is_congested(&self) -> bool {
        self.outbox.frames_len() > self.limits.out_queue
            || (self.outbox.replies() > self.limits.out_queue && self.credit.is_exhausted())
    }

    #[inline]
    pub(super) fn release_held(&mut self) {
        if self.served.is_holding() {
            self.release_all();
        }
    }

    #[cold]
    fn release_all(&mut self) {
        while self.served.is_holding() && !self.is_congested() {
            let Some(Complete {
                id,
                head,
                deadline,
                payload,
            }) = self.served.release()
            else {
                return;
            };
            self.served.start();
            self.events.push_back(Event::Request {
                id,
                head,
                deadline,
                payload,
            });
        }
    }

    pub(super) fn stop(&mut self, id: CallId) -> Option<Stopped> {
        self.outbox.forget(id, true);
        let stopped = self.served.stop(id);
        if stopped == Some(Stopped::Running) {
            self.events.push_back(Event::Abort(id));
        }
        stopped
    }

    /// Answers a call that has no handler, or none any more.
    pub(super) fn refuse(&mut self, id: CallId, error: Error) {
        self.outbox.refusal(&Frame::Response {
            id: id.0,
            reply: Reply::Failure(error),
            more: false,
        });
    }

    /// As [`answer`](Self::answer), with what the method returned where it lies.
    #[inline]
    pub(crate) fn answer_value(&mut self, id: CallId, outcome: Outcome, value: &[u8]) {
        let limit = self.terms.map_or(0, |terms| terms.peer.message) as usize;
        if self.ended.is_none() && value.len() <= limit.min(Self::REPLY_FIRST) {
            self.served.answered();
            self.outbox.returned(id, outcome, value, false);
        } else {
            self.answer(id, outcome.reply(Payload::copy_from_slice(value)));
        }
    }

    pub(super) fn reply(&mut self, id: CallId, reply: Reply) {
        if self.ended.is_none() {
            let limit = self.terms.map_or(0, |terms| terms.peer.message);
            if reply.payload_len() > limit as usize {
                let error = Error::new(
                    Code::TooLarge,
                    format!(
                        "the reply has {} bytes, the client accepts {limit}",
                        reply.payload_len()
                    ),
                );
                self.refuse(id, error.with_executed(Executed::Yes));
            } else {
                self.send_reply(id, reply);
            }
        }
    }

    /// The most bytes of a value in the first frame of a reply, where one byte says what kind of
    /// reply it is.
    pub(super) const REPLY_FIRST: usize = BODY_MAX - 1;

    pub(super) fn send_reply(&mut self, id: CallId, mut reply: Reply) {
        if reply.payload_len() <= Self::REPLY_FIRST {
            return self.outbox.response(id, &reply, reply.payload(), false);
        }
        let rest = reply
            .payload_mut()
            .map(|payload| payload.split_off(Self::REPLY_FIRST));
        self.outbox.response(id, &reply, reply.payload(), true);
        self.outbox.bulk(id, true, rest.unwrap_or_default());
    }
}

pub(super) fn late_arrival() -> Error {
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
