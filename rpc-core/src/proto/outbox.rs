//! What waits to be sent, and in which order it goes.

use std::collections::VecDeque;

use bytes::Bytes;

use super::CallId;
use super::credit::Credit;
use super::transmit::Transmit;
use crate::wire::{
    BODY_MAX, Frame, Outcome, Reply, RequestHead, put_outcome, put_request, put_response,
};

/// Two lanes: small frames leave at once and in order; what is left of large messages takes turns,
/// one chunk each, under credit, a few messages at a time. A frame therefore never waits for more than the chunks of one
/// round, however large the messages beside it are, and cancels, pings and credit need no credit.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: Vec<u8>,
    bulk: VecDeque<Bulk>,
    /// Bytes of replies in both lanes: what a peer that does not read makes us hold.
    replies: usize,
    /// Bytes of refusals in `frames`. Unlike all else here nothing but the peer's greed bounds them.
    refusals: usize,
    /// How many of the messages in `bulk` are replies.
    bulk_replies: usize,
}

/// The rest of a large message.
#[derive(Debug)]
struct Bulk {
    id: CallId,
    /// Whether it is a reply of ours.
    callee: bool,
    rest: Bytes,
}

impl Outbox {
    /// Bytes handed out in one go: enough for a vectored write to be worth its system call, small
    /// enough for a frame that comes later to leave soon.
    const ROUND: usize = 256 * 1024;

    /// Messages that take turns; the others wait for one of them to end. The receiver assembles all
    /// of these at once, and eight of the largest are half of its default limit.
    const TURNS: usize = 8;

    pub(super) fn frame(&mut self, frame: &Frame) {
        let before = self.frames.len();
        frame.put(&mut self.frames);
        if matches!(frame, Frame::Response { .. }) {
            let added = self.frames.len().saturating_sub(before);
            self.replies = self.replies.saturating_add(added);
        }
    }

    /// The beginning of a call of ours.
    #[inline]
    pub(super) fn request(&mut self, id: CallId, head: &RequestHead, payload: &[u8], more: bool) {
        put_request(&mut self.frames, id.0, head, payload, more, false);
    }

    /// The end of a call of the peer's; `payload` is that of the reply, or the first part of it.
    pub(super) fn response(&mut self, id: CallId, reply: &Reply, payload: &[u8], more: bool) {
        let before = self.frames.len();
        put_response(&mut self.frames, id.0, reply, payload, more);
        let added = self.frames.len().saturating_sub(before);
        self.replies = self.replies.saturating_add(added);
    }

    /// The end of a call of the peer's whose method has run.
    #[inline]
    pub(super) fn returned(&mut self, id: CallId, outcome: Outcome, value: &[u8], more: bool) {
        let added = put_outcome(&mut self.frames, id.0, outcome, value, more);
        self.replies = self.replies.saturating_add(added);
    }

    /// A reply to a call that never had a place.
    pub(super) fn refusal(&mut self, frame: &Frame) {
        let before = self.frames.len();
        self.frame(frame);
        let added = self.frames.len().saturating_sub(before);
        self.refusals = self.refusals.saturating_add(added);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.frames.extend_from_slice(bytes);
    }

    /// The rest of a message whose first frame was just written.
    pub(super) fn bulk(&mut self, id: CallId, callee: bool, rest: Bytes) {
        if callee {
            self.replies = self.replies.saturating_add(rest.len());
            self.bulk_replies = self.bulk_replies.saturating_add(1);
        }
        self.bulk.push_back(Bulk { id, callee, rest });
    }

    /// Forgets the rest of a message that nobody wants any more.
    #[inline]
    pub(super) fn forget(&mut self, id: CallId, callee: bool) {
        if !self.bulk.is_empty() {
            self.forget_bulk(id, callee);
        }
    }

    fn forget_bulk(&mut self, id: CallId, callee: bool) {
        let mut freed = 0_usize;
        for _ in 0..self.bulk.len() {
            let Some(bulk) = self.bulk.pop_front() else {
                break;
            };
            if bulk.id != id || bulk.callee != callee {
                self.bulk.push_back(bulk);
            } else if callee {
                freed = freed.saturating_add(bulk.rest.len());
                self.bulk_replies = self.bulk_replies.saturating_sub(1);
            }
        }
        self.replies = self.replies.saturating_sub(freed);
    }

    /// Forgets what is left of all messages.
    pub(super) fn abandon(&mut self) {
        self.bulk.clear();
        self.replies = 0;
        self.bulk_replies = 0;
    }

    /// Whether part of a message has not been handed out, so that the peer cannot have all of it.
    pub(super) fn has(&self, id: CallId, callee: bool) -> bool {
        self.bulk
            .iter()
            .any(|bulk| bulk.id == id && bulk.callee == callee)
    }

    /// Bytes of replies that the peer has not taken.
    #[inline]
    pub(super) fn replies(&self) -> usize {
        self.replies
    }

    /// Replies of which chunks are left.
    #[inline]
    pub(super) fn bulk_replies(&self) -> usize {
        self.bulk_replies
    }

    /// Bytes of refusals that have not been handed out.
    pub(super) fn refusals(&self) -> usize {
        self.refusals
    }

    /// Bytes of small frames that have not been handed out.
    #[inline]
    pub(super) fn frames_len(&self) -> usize {
        self.frames.len()
    }

    /// Gives back the room that a crowd of messages took, if none is left of it.
    pub(super) fn tidy(&mut self) {
        if self.bulk.is_empty() {
            self.bulk = VecDeque::new();
        }
    }

    /// Takes the buffer of small frames out, if none waits in it.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        match self.frames.is_empty() {
            true => std::mem::take(&mut self.frames),
            false => Vec::new(),
        }
    }

    /// Puts a buffer in for the small frames to come.
    pub(super) fn put_buffer(&mut self, buffer: Vec<u8>) {
        if self.frames.is_empty() && self.frames.capacity() < buffer.capacity() {
            self.frames = buffer;
        }
    }

    #[cfg(test)]
    pub(super) fn bulk_len(&self) -> usize {
        self.bulk.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.bulk.is_empty()
    }

    /// Whether anything may be sent now.
    pub(super) fn is_ready(&self, credit: &Credit) -> bool {
        !self.frames.is_empty() || (!self.bulk.is_empty() && !credit.is_exhausted())
    }

    /// Hands out the small frames and one round of chunks.
    pub(super) fn transmit(&mut self, credit: &mut Credit, out: &mut Transmit) {
        let mut handed = self.frames.len();
        if !self.frames.is_empty() {
            out.frames(&mut self.frames);
            self.refusals = 0;
        }
        let turns = self.bulk.len().min(Self::TURNS);
        for _ in 0..turns {
            if handed >= Self::ROUND || credit.is_exhausted() {
                break;
            }
            let Some(mut bulk) = self.bulk.pop_front() else {
                break;
            };
            let length = credit.spend(bulk.rest.len().min(BODY_MAX));
            let payload = bulk.rest.split_to(length);
            let more = !bulk.rest.is_empty();
            let Bulk { id, callee, .. } = bulk;
            handed = handed.saturating_add(length);
            // The header travels in front of the payload's own bytes, which are not copied.
            let header = Frame::chunk_header(id.0, length, more, callee);
            out.block(&header.to_bytes(), payload);
            if more {
                let last = self.bulk.len().min(Self::TURNS.saturating_sub(1));
                self.bulk.insert(last, bulk);
            } else if callee {
                self.bulk_replies = self.bulk_replies.saturating_sub(1);
            }
        }
        if self.bulk.is_empty() {
            self.replies = 0;
            return;
        }
        self.replies = self
            .bulk
            .iter()
            .filter(|bulk| bulk.callee)
            .map(|bulk| bulk.rest.len())
            .sum();
    }
}
