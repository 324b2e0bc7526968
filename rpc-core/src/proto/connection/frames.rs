//! What each frame means to a [`Connection`], by where the handshake stands.

use std::time::Instant;

use super::Connection;
use crate::error::{Code, Error, Executed};
use crate::proto::assembly::Bounds;
use crate::proto::calls::Progress;
use crate::proto::event::Event;
use crate::proto::fault::Fault;
use crate::proto::handshake::Handshake;
use crate::proto::id::CallId;
use crate::proto::taken::Taken;
use crate::wire::{Cut, Frame, Reply, kind};

const FIRST_IS_HELLO: &str = "the first frame of a client must be hello";
const FIRST_IS_ANSWER: &str = "the first frame of a server must be its answer";

impl Connection {
    /// Takes whatever comes next.
    #[inline(never)]
    pub(super) fn handle_next<'a>(&mut self, now: Instant, input: &mut &'a [u8]) -> Taken<'a> {
        let taken = match self.decoder.next(input) {
            Ok(Some(Cut::Whole { header, body })) => match header.kind {
                kind::REQUEST => self.handle_request(now, header, body),
                kind::RESPONSE => self.handle_response(now, header, body),
                _ => Frame::parse(header, body)
                    .map_err(Fault::from)
                    .and_then(|frame| self.handle_frame(now, frame))
                    .map(|()| Taken::Frame),
            },
            Ok(Some(Cut::Piece {
                id,
                bytes,
                more,
                callee,
            })) => self
                .handle_piece(now, CallId(id), bytes, more, callee)
                .map(|()| Taken::Frame),
            Ok(None) => return Taken::Nothing,
            Err(malformed) => Err(malformed.into()),
        };
        match taken {
            Ok(taken) => {
                self.release_held();
                taken
            }
            Err(fault) => {
                self.close(fault);
                Taken::Frame
            }
        }
    }

    pub(super) fn handle_frame(&mut self, now: Instant, frame: Frame) -> Result<(), Fault> {
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
            (Handshake::AwaitHello { .. }, _) => Err(Fault::Violation(FIRST_IS_HELLO)),
            (Handshake::AwaitAnswer { .. }, Frame::GoAway { code, text, .. }) => {
                Err(Fault::Dismissed { code, text })
            }
            (Handshake::AwaitAnswer { .. }, _) => Err(Fault::Violation(FIRST_IS_ANSWER)),
            (_, Frame::Hello(_) | Frame::Answer(_) | Frame::Ready) => Err(Fault::Violation(
                "a frame of the handshake after the handshake",
            )),
            (_, frame) => self.handle_established(frame),
        }
    }

    pub(super) fn handle_established(&mut self, frame: Frame) -> Result<(), Fault> {
        match frame {
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
            // These do not come here, and the handshake is over.
            Frame::Request { .. } | Frame::Response { .. } | Frame::Chunk { .. } => Ok(()),
            Frame::Hello(_) | Frame::Answer(_) | Frame::Ready => Ok(()),
        }
    }

    /// Frames of calls come after those of the handshake.
    #[inline]
    pub(super) fn handshaken(&self) -> Result<(), Fault> {
        match self.handshake {
            Handshake::AwaitHello { .. } => Err(Fault::Violation(FIRST_IS_HELLO)),
            Handshake::AwaitAnswer { .. } => Err(Fault::Violation(FIRST_IS_ANSWER)),
            Handshake::AwaitReady { .. } | Handshake::Established => Ok(()),
        }
    }

    /// A part of a message in chunks.
    pub(super) fn handle_piece(
        &mut self,
        now: Instant,
        id: CallId,
        bytes: &[u8],
        more: bool,
        callee: bool,
    ) -> Result<(), Fault> {
        self.handshaken()?;
        self.credit.receive(bytes.len())?;
        let bounds = Bounds::new(&self.limits);
        if callee {
            let arrival = self.calls.chunk(id, bytes, more, bounds);
            self.handle_reply(now, id, arrival)
        } else {
            self.handle_request_chunk(id, bytes, more, bounds)
        }
    }

    pub(super) fn handle_go_away(&mut self, last_id: u64, code: u8, text: String) {
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
            let Some((token, progress)) = self.forget(id) else {
                continue;
            };
            let executed = match progress {
                Progress::Receiving => Executed::Yes,
                _ => Executed::No,
            };
            let text = format!("the peer takes no new calls: {text}");
            let error = Error::new(Code::Draining, text).with_executed(executed);
            self.events.push_back(Event::Response {
                token,
                reply: Reply::Failure(error),
            });
        }
    }

    pub(super) fn stray(&mut self) -> Result<(), Fault> {
        self.strays = self.strays.saturating_add(1);
        if self.strays > self.limits.strays {
            return Err(Fault::Violation(
                "too many frames for calls that do not exist",
            ));
        }
        Ok(())
    }
}
