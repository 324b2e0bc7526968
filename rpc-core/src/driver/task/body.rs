//! Reads the bodies of chunks to where they belong, so that large messages are not copied on their
//! way in.

use std::future::Future;
use std::mem;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BufMut as _;
use tokio::io::AsyncReadExt as _;

use super::{Driver, Phase, lost};
use crate::driver::scratch::Scratch;
use crate::proto::Body;
use crate::wire::HEADER_LEN;

impl Driver {
    /// Bodies read in one turn: twice what a socket's buffer holds. What has arrived is taken in at
    /// once, and a peer that goes on sending does not keep this side from it.
    const BODIES: usize = 8;

    /// Reads bodies of chunks to where they belong, as long as nothing else is to come. Whether
    /// anything moved; `None` if what is to come must be read otherwise.
    pub(super) fn receive_body(
        &mut self,
        now: Instant,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Option<bool> {
        let mut moved = None;
        if !self.proto.awaits_body() {
            return None;
        }
        for _ in 0..Self::BODIES {
            if self.phase != Phase::Open || !self.inbound.is_empty() {
                break;
            }
            let Some(Body { mut buffer, left }) = self.proto.take_body() else {
                break;
            };
            let before = buffer.len();
            // The header behind the body comes along where there is room, so that it needs no read
            // of its own.
            let room = left
                .saturating_add(HEADER_LEN)
                .min(buffer.capacity() - before);
            let polled = {
                let mut place = (&mut buffer).limit(room);
                let read = pin!(self.io.read_buf(&mut place));
                read.poll(cx)
            };
            let end = buffer.len().min(before + left);
            self.inbound.extend(buffer.drain(end..));
            self.proto.handle_body(now, buffer, end - before);
            self.hand_out(now, cx, scratch);
            match polled {
                Poll::Ready(Ok(1..)) => moved = Some(true),
                Poll::Ready(Ok(0)) => {
                    self.peer_gone = true;
                    self.proto.handle_eof();
                }
                Poll::Ready(Err(error)) => {
                    self.peer_gone = true;
                    self.proto.handle_error(lost(error));
                }
                Poll::Pending => return moved.or(Some(false)),
            }
            if self.peer_gone {
                self.hand_out(now, cx, scratch);
                return moved.or(Some(false));
            }
            if self.inbound.len() == HEADER_LEN {
                let header = mem::take(&mut self.inbound);
                let mut unread = &header[..];
                self.take_in(&mut unread, 1, now, cx, scratch);
                let rest = unread.len();
                self.inbound = header;
                self.inbound.drain(..HEADER_LEN - rest);
            }
        }
        moved
    }
}
