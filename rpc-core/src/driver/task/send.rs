//! Writes what the protocol has to send.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::AsyncWrite as _;

use super::{Driver, lost};
use crate::driver::scratch::Scratch;
use crate::proto::Fault;

impl Driver {
    /// More is not taken from the protocol while so much is unsent: what comes later and is small
    /// must not wait behind it.
    const UNSENT_MAX: usize = 256 * 1024;

    /// Buffers handed to one vectored write: a round of chunks and their headers.
    const SLICES: usize = 16;

    /// Takes what the protocol has to send, and writes it.
    pub(super) fn send(&mut self, now: Instant, cx: &mut Context<'_>, scratch: &mut Scratch) {
        loop {
            while self.outbound.len() < Self::UNSENT_MAX {
                if !self.proto.poll_transmit(now, &mut self.outbound) {
                    break;
                }
                // Transmitting may let calls start that waited for it.
                self.hand_out(now, cx, scratch);
            }
            self.weigh();
            if self.outbound.is_empty() {
                break;
            }
            let moved = self.write(now, cx);
            if !self.outbound.is_empty() {
                self.stall = self.stall.or_else(|| self.stalled_at(now));
                break;
            }
            if !moved {
                break;
            }
        }
        self.flush(cx);
        // A peer that takes nothing any more has been given up.
        self.hand_out(now, cx, scratch);
        self.part(cx);
        self.arm(now, cx);
    }

    /// When writing counts as stalled if nothing moves from now on; `None` if never.
    pub(super) fn stalled_at(&self, now: Instant) -> Option<Instant> {
        now.checked_add(self.limits.write_stall)
    }

    pub(super) fn discard(&mut self) {
        self.outbound.clear();
        self.stall = None;
    }

    /// Writes what is unsent; whether any byte left.
    pub(super) fn write(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let mut moved = false;
        while !self.outbound.is_empty() {
            let io = Pin::new(&mut self.io);
            let polled = match self.outbound.contiguous() {
                Some(bytes) => io.poll_write(cx, bytes),
                None => {
                    let mut parts = [&[][..]; Self::SLICES];
                    let filled = self.outbound.slices(&mut parts);
                    let slices = parts.map(IoSlice::new);
                    io.poll_write_vectored(cx, slices.get(..filled).unwrap_or_default())
                }
            };
            match polled {
                Poll::Ready(Ok(written @ 1..)) => {
                    self.outbound.advance(written);
                    self.stall = match self.outbound.is_empty() {
                        true => None,
                        false => self.stalled_at(now),
                    };
                    moved = true;
                }
                Poll::Ready(result) => {
                    let error = result
                        .err()
                        .unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    // The peer may have said why before it went, so reading goes on for a moment.
                    let until = now + Self::FAREWELL;
                    self.broken.get_or_insert_with(|| (until, lost(error)));
                    self.discard();
                    return true;
                }
                Poll::Pending => {
                    // Only now: a process that was stopped itself finds the time over, and a peer
                    // that has been reading all the while.
                    if self.stall.take_if(|stall| now >= *stall).is_some() {
                        let fault = Fault::Stalled(self.limits.write_stall);
                        self.proto.close(fault);
                        return true;
                    }
                    break;
                }
            }
        }
        self.unflushed |= moved;
        moved
    }

    /// Sees to it that nothing waits in a buffer of the transport. Its error is told by the next read
    /// or write.
    fn flush(&mut self, cx: &mut Context<'_>) {
        if self.unflushed {
            self.unflushed = Pin::new(&mut self.io).poll_flush(cx).is_pending();
        }
    }
}
