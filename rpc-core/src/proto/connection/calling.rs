//! The calls that this side of a [`Connection`] makes: sending them, and their replies.

use std::mem;
use std::time::Instant;

use super::Connection;
use crate::error::{Code, Error, Executed};
use crate::proto::assembly::Bounds;
use crate::proto::calls::{self, Call, Progress};
use crate::proto::event::Event;
use crate::proto::fault::Fault;
use crate::proto::handshake::{Handshake, MANDATORY_CODEC};
use crate::proto::id::CallId;
use crate::proto::taken::Taken;
use crate::split::Split;
use crate::wire::{
    BODY_MAX, Frame, HEADER_LEN, Header, Outcome, PREAMBLE_MAX, Reply, RequestHead, flag, kind,
};

/// The most calls that may travel with hello. They are run before the server knows that it can be
/// heard, so they are few.
const EARLY_CALLS_MAX: usize = 16;

impl Connection {
    /// The reply at the front of `input`, if it is whole and says what its method returned, as nearly all
    /// do. What is left for [`handle_response`](Self::handle_response), which knows all the rules, may
    /// be just as good.
    #[inline]
    pub(super) fn usual_response<'a>(
        &mut self,
        now: Instant,
        input: &mut &'a [u8],
    ) -> Option<Taken<'a>> {
        let (frame, behind) = self.decoder.peek(kind::RESPONSE, input)?;
        let (&byte, payload) = frame.body.split_first()?;
        let outcome = Outcome::parse(byte)?;
        if frame.id == 0 || self.handshaken().is_err() {
            return None;
        }
        let (id, length) = (CallId(frame.id), payload.len());
        let token = self.calls.usual_response(id, length, self.limits.message)?;
        *input = behind;
        self.call_is_over(now, id);
        Some(Taken::Reply {
            token,
            outcome,
            payload,
        })
    }

    /// The first frame of a reply.
    pub(super) fn handle_response<'a>(
        &mut self,
        now: Instant,
        header: Header,
        body: &'a [u8],
    ) -> Result<Taken<'a>, Fault> {
        header.check()?;
        self.handshaken()?;
        let id = CallId(header.id);
        let more = header.flags & flag::MORE != 0;
        let first = body.split_first();
        let ran = first.and_then(|(&byte, payload)| Some((Outcome::parse(byte)?, payload)));
        let Some((outcome, payload)) = ran else {
            return self
                .handle_failure(now, header, body)
                .map(|()| Taken::Frame);
        };
        let bounds = Bounds::new(&self.limits);
        match self.calls.response(id, outcome, payload, more, bounds) {
            calls::Arrival::Whole { token } => {
                self.call_is_over(now, id);
                Ok(Taken::Reply {
                    token,
                    outcome,
                    payload,
                })
            }
            arrival => self.handle_reply(now, id, arrival).map(|()| Taken::Frame),
        }
    }

    /// All of the reply is here: what is left of the request need not leave, and the next has a place.
    #[inline]
    fn call_is_over(&mut self, now: Instant, id: CallId) {
        self.outbox.forget(id, false);
        if self.calls.queued() > 0 {
            self.send_calls(now);
        }
    }

    #[cold]
    fn handle_failure(&mut self, now: Instant, header: Header, body: &[u8]) -> Result<(), Fault> {
        let Frame::Response { id, reply, .. } = Frame::parse(header, body)? else {
            return Ok(());
        };
        let id = CallId(id);
        match self.calls.failure(id) {
            calls::Arrival::Whole { token } => {
                self.outbox.forget(id, false);
                self.events.push_back(Event::Response { token, reply });
                self.send_calls(now);
                Ok(())
            }
            arrival => self.handle_reply(now, id, arrival),
        }
    }

    pub(super) fn handle_reply(
        &mut self,
        now: Instant,
        id: CallId,
        arrival: calls::Arrival,
    ) -> Result<(), Fault> {
        match arrival {
            calls::Arrival::Assembled { token, reply } => {
                self.outbox.forget(id, false);
                self.events.push_back(Event::Response { token, reply });
                self.send_calls(now);
            }
            calls::Arrival::Whole { .. } | calls::Arrival::Continues | calls::Arrival::Late => {}
            calls::Arrival::TooLarge { token, more } => {
                let limit = self.limits.message;
                let error = Error::new(
                    Code::TooLarge,
                    format!("the reply has more than {limit} bytes, this client's limit"),
                )
                .with_hint("raise the limit on messages, or ask for less at once");
                self.break_off(now, (id, token), error, more);
            }
            calls::Arrival::Crowded { token, more } => {
                let limit = Bounds::new(&self.limits).total;
                let error = Error::new(
                    Code::Overloaded,
                    format!("{limit} bytes of replies are arriving already, this client's limit"),
                )
                .with_hint("raise the limit on assembly, or make fewer large calls at once");
                self.break_off(now, (id, token), error, more);
            }
            calls::Arrival::Stray => return self.stray(),
        }
        Ok(())
    }

    /// Ends a call of ours in the middle of its reply.
    fn break_off(&mut self, now: Instant, (id, token): (CallId, usize), error: Error, more: bool) {
        self.outbox.forget(id, false);
        if more {
            self.outbox.frame(&Frame::Cancel { id: id.0 });
        }
        self.events.push_back(Event::Response {
            token,
            reply: Reply::Failure(error.with_executed(Executed::Yes)),
        });
        self.send_calls(now);
    }

    /// Sends what may be sent: all that the peer has room for, or the early calls before it said. To
    /// a peer that reads nothing no more is written than may wait for it, however much room it
    /// claims: a call that is given up in the queue is forgotten, one that was written stays.
    pub(super) fn send_calls(&mut self, now: Instant) {
        loop {
            self.calls.skip_ended();
            if !self.calls.next().is_some_and(|call| self.may_send(call)) {
                return;
            }
            let Some((id, mut call)) = self.calls.send_next() else {
                return;
            };
            self.send_call(now, id, &mut call);
        }
    }

    /// Whether the call may leave now, if no other waits before it.
    pub(super) fn may_send(&self, call: &Call) -> bool {
        match (self.handshake, &self.terms) {
            (Handshake::Established, Some(terms)) => {
                self.calls.in_flight() < terms.peer.calls.max(1) as usize
                    && self.outbox.frames_len() <= self.limits.out_queue
            }
            (Handshake::AwaitAnswer { .. }, _) => self.may_send_early(request_len(call)),
            _ => false,
        }
    }

    fn may_send_early(&self, length: usize) -> bool {
        let (calls, bytes) = self.early;
        self.opening.expected.is_none()
            && self.opening.credentials.is_empty()
            && self.opening.codecs.first() == Some(&MANDATORY_CODEC)
            && calls < EARLY_CALLS_MAX
            && bytes.saturating_add(length) <= PREAMBLE_MAX
    }

    pub(super) fn send_call(&mut self, now: Instant, id: CallId, call: &mut Call) {
        if self.terms.is_none() {
            let (calls, bytes) = self.early;
            let length = request_len(call);
            self.early = (calls.saturating_add(1), bytes.saturating_add(length));
        }
        let Some(timeout_ms) = self.left.until(now, call.deadline) else {
            self.calls.end(id);
            let error = Error::new(Code::DeadlineExceeded, "the call waited until its deadline");
            self.events.push_back(Event::Response {
                token: call.token,
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
                token: call.token,
                reply: Reply::Failure(error),
            });
            return;
        }
        let head = RequestHead {
            method: call.method,
            fingerprint: call.fingerprint,
            timeout_ms,
            metadata: mem::take(&mut call.metadata),
        };
        let first = BODY_MAX.saturating_sub(head.len());
        if call.payload.len() <= first {
            return self.outbox.request(id, &head, &call.payload, false);
        }
        let kept = call.payload.parts().and_then(Split::kept).cloned();
        let rest = call.payload.split_off(first);
        self.outbox.request(id, &head, &call.payload, true);
        if let Some(kept) = kept {
            self.calls.keep(id, kept);
        }
        self.outbox.bulk(id, false, rest);
    }

    /// Ends a call of ours with a failure of this side's making, and tells the peer if it was sent.
    pub(super) fn end(&mut self, id: CallId, code: Code, text: &'static str) {
        let unsent = self.outbox.has(id, false);
        let Some((token, progress)) = self.forget(id) else {
            return;
        };
        let executed = match progress {
            Progress::Sent if !unsent => Executed::Maybe,
            Progress::Receiving => Executed::Yes,
            Progress::Queued | Progress::Sent => Executed::No,
        };
        if executed != Executed::No || unsent {
            self.outbox.frame(&Frame::Cancel { id: id.0 });
        }
        let error = Error::new(code, text).with_executed(executed);
        self.events.push_back(Event::Response {
            token,
            reply: Reply::Failure(error),
        });
    }

    pub(super) fn forget(&mut self, id: CallId) -> Option<(usize, Progress)> {
        self.outbox.forget(id, false);
        self.calls.end(id)
    }
}

/// Bytes of the frame with all of the call in it.
fn request_len(call: &Call) -> usize {
    HEADER_LEN
        .saturating_add(RequestHead::FIXED)
        .saturating_add(call.metadata.wire_len())
        .saturating_add(call.payload.len())
}

/// What was left to the call that was sent last: calls that leave together are mostly allowed the same
/// time, and to work it out costs as much as to write the rest of a frame.
#[derive(Debug)]
pub(super) struct Left {
    now: Instant,
    deadline: Instant,
    millis: Option<u32>,
}

impl Left {
    /// As if a call had been sent that was late already.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            now,
            deadline: now,
            millis: None,
        }
    }

    /// [`milliseconds_until`] the deadline.
    #[inline]
    fn until(&mut self, now: Instant, deadline: Instant) -> Option<u32> {
        if self.deadline != deadline || self.now != now {
            *self = Self {
                now,
                deadline,
                millis: milliseconds_until(now, deadline),
            };
        }
        self.millis
    }
}

/// What is left until `deadline`, in whole milliseconds and at least one; `None` when it is over.
fn milliseconds_until(now: Instant, deadline: Instant) -> Option<u32> {
    let left = deadline
        .checked_duration_since(now)
        .filter(|left| !left.is_zero())?;
    // In 64 bits, because the division of 128 costs more than the rest of a call's sending.
    let seconds = left.as_secs().saturating_mul(1000);
    let millis = seconds.saturating_add(left.subsec_millis().into());
    Some(u32::try_from(millis).unwrap_or(u32::MAX).max(1))
}
