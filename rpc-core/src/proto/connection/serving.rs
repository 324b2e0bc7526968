//! The calls of the peer of a [`Connection`]: their requests, and our replies.

use std::time::{Duration, Instant};

use super::Connection;
use crate::error::{Code, Error};
use crate::proto::assembly::Bounds;
use crate::proto::event::Event;
use crate::proto::fault::Fault;
use crate::proto::id::CallId;
use crate::proto::later;
use crate::proto::served::{self, Complete, Stopped};
use crate::proto::taken::Taken;
use crate::wire::{BODY_MAX, Frame, Header, Payload, Reader, Reply, RequestHead, flag};

impl Connection {
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
        let more = flags & flag::MORE != 0;
        let stream = flags & flag::STREAM != 0;
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
            if let served::Arrival::Crowded = self.served.begin(id, deadline, head, payload, bounds)
            {
                self.refuse(id, crowded(bounds));
            }
        } else if self.is_congested() {
            let payload = Payload::copy_from_slice(payload);
            self.served.hold(id, deadline, head, payload);
        } else {
            self.served.start();
            return Ok(Taken::Request {
                id,
                head,
                deadline,
                payload,
            });
        }
        Ok(Taken::Frame)
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
    pub(super) fn is_congested(&self) -> bool {
        self.outbox.frames_len() > self.limits.out_queue
            || (self.outbox.replies() > self.limits.out_queue && self.credit.is_exhausted())
    }

    pub(super) fn release_held(&mut self) {
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
