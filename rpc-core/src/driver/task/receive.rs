//! Reads, and has the protocol take in what arrived.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead as _, ReadBuf};

use super::{Driver, Phase, lost};
use crate::driver::scratch::Scratch;
use crate::proto::Taken;
use crate::wire::{Outcome, Payload};

impl Driver {
    /// Frames taken in at once: a flood on one connection must not starve the rest.
    const FRAMES: usize = 1024;

    /// The same where calls may come, and other threads could be at work: their answers are written then, so
    /// that the peer has something to do while the next ones run. Fewer would be too many wake-ups: two
    /// processes on two processors take turns at those.
    const CALLS: usize = 256;

    /// The same where only replies can come: those who waited for them run then, so that the peer has their
    /// next calls while the others are woken.
    pub(super) const REPLIES: usize = 64;

    /// Reads, lets the protocol take it in, and runs the calls that came. Whether there may be more:
    /// the system wakes the task only once a read has brought nothing.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> bool {
        if self.phase == Phase::Done {
            return false;
        }
        if let Some(moved) = self.receive_body(now, cx, scratch) {
            return moved;
        }
        // The part of a frame that is there stands in front of what is read now.
        let mut input = mem::take(&mut scratch.input);
        let kept = self.inbound.len();
        input.resize((kept + Scratch::READ / 8).max(Scratch::READ), 0);
        if let Some(front) = input.get_mut(..kept) {
            front.copy_from_slice(&self.inbound);
        }
        self.inbound.clear();
        let mut buffer = ReadBuf::new(input.get_mut(kept..).unwrap_or_default());
        // What is here comes first: so there is never more of it than one read brings, and no reply is lost
        // to an error that comes after it.
        let was_behind = mem::take(&mut self.is_behind);
        let polled = match was_behind {
            true => Poll::Pending,
            false => Pin::new(&mut self.io).poll_read(cx, &mut buffer),
        };
        let read = buffer.filled().len();
        let mut unread = input.get(..kept + read).unwrap_or_default();
        let moved = match polled {
            // Only the end matters now.
            Poll::Ready(Ok(())) if read > 0 && self.phase != Phase::Open => {
                unread = &[];
                true
            }
            Poll::Ready(Ok(())) if read == 0 => {
                self.peer_gone = true;
                self.take_in(&mut unread, usize::MAX, now, cx, scratch);
                self.proto.handle_eof();
                false
            }
            Poll::Ready(Err(error)) => {
                self.peer_gone = true;
                self.proto.handle_error(lost(error));
                false
            }
            Poll::Pending if unread.is_empty() && !was_behind => false,
            Poll::Ready(Ok(())) | Poll::Pending => {
                let frames = match (self.gathers, self.handler.is_some()) {
                    (false, _) => Self::FRAMES,
                    (true, true) => Self::CALLS,
                    (true, false) => Self::REPLIES,
                };
                let taken = self.take_in(&mut unread, frames, now, cx, scratch);
                if taken > 0 {
                    self.alarm.note_read(now, cx);
                }
                self.is_behind = taken == frames && !unread.is_empty();
                taken > 0 || read > 0 || was_behind
            }
        };
        if !unread.is_empty() {
            self.inbound.extend_from_slice(unread);
        } else if self.inbound.capacity() > Self::INBOUND_IDLE {
            self.inbound = Vec::new();
        }
        scratch.input = input;
        self.hand_out(now, cx, scratch);
        moved
    }

    /// Bytes for the part of a frame that a connection keeps at rest.
    const INBOUND_IDLE: usize = 256;

    /// Takes up to `frames` frames off the front of `input`, and does what they ask for.
    pub(super) fn take_in(
        &mut self,
        input: &mut &[u8],
        frames: usize,
        now: Instant,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> usize {
        let mut taken = 0;
        while taken < frames && !input.is_empty() {
            // What was taken stays where it is: to move it takes as long as to take it.
            match &mut self.proto.handle_input(now, input) {
                Taken::Nothing => break,
                Taken::Frame => {}
                Taken::Request(call) => self.start(call, now, cx),
                &mut Taken::Reply {
                    token,
                    outcome,
                    payload,
                } => match self.conclude(token, scratch) {
                    reply if outcome == Outcome::Value => reply.put_value(payload),
                    reply => *reply = outcome.reply(Payload::copy_from_slice(payload)),
                },
            }
            taken += 1;
            self.hand_out(now, cx, scratch);
        }
        taken
    }
}
