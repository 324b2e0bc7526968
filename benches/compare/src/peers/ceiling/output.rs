//! What one end of a connection has to write: small frames, and large bodies either whole, in order,
//! or in parts that take turns with the small frames.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite as _;

use super::wire::{HEADER, Header, PART};
use crate::socket::Socket;

/// Buffers in one vectored write.
const SLICES: usize = 16;

/// Bytes of a part: what a small frame may have to wait for.
const PART_LEN: usize = 64 * 1024;

/// What is to be written, in order.
#[derive(Default)]
pub(super) struct Output {
    /// Small frames that come after all segments.
    tail: Vec<u8>,
    /// What comes before.
    segments: VecDeque<Segment>,
    /// Written of the first segment, or of the tail if there is none.
    written: usize,
    /// Bytes in all of it that are not written.
    unwritten: usize,
    /// Large bodies that travel in parts, one after the other.
    parted: VecDeque<Parted>,
    /// Large buffers that are free.
    free: Vec<Vec<u8>>,
    /// Small buffers that are free.
    free_tails: Vec<Vec<u8>>,
}

enum Segment {
    /// Small frames.
    Frames(Vec<u8>),
    /// A large body.
    Body(Vec<u8>),
    /// A part of the first body that travels in parts.
    Part { from: usize, to: usize },
}

struct Parted {
    header: Header,
    body: Vec<u8>,
    /// Up to here it is in segments.
    staged: usize,
}

impl Output {
    /// Sends a small frame.
    pub(super) fn small(&mut self, kind: u32, id: u64, body: &[u8]) {
        let len = body.len() as u32;
        self.frame(Header { kind, len, id }, body);
    }

    /// Sends a large one, whose buffer is free afterwards. In parts, if its kind says so.
    pub(super) fn bulk(&mut self, kind: u32, id: u64, body: Vec<u8>) {
        let len = body.len() as u32;
        let header = Header { kind, len, id };
        self.unwritten += body.len();
        if kind & PART != 0 {
            self.parted.push_back(Parted {
                header,
                body,
                staged: 0,
            });
            return;
        }
        self.frame(header, &[]);
        self.cut();
        self.segments.push_back(Segment::Body(body));
    }

    /// Bytes that are not written.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten
    }

    /// A large buffer of exactly this length, used before if possible.
    pub(super) fn buffer(&mut self, len: usize) -> Vec<u8> {
        let mut buffer = self.free.pop().unwrap_or_default();
        buffer.resize(len, 0);
        buffer
    }

    /// Moves all of another one, of which nothing is written, behind what is here.
    pub(super) fn append(&mut self, other: &mut Self) {
        if other.unwritten == 0 {
            return;
        }
        self.unwritten += mem::take(&mut other.unwritten);
        if !other.segments.is_empty() {
            self.cut();
            self.segments.append(&mut other.segments);
        }
        if self.tail.is_empty() {
            mem::swap(&mut self.tail, &mut other.tail);
        } else {
            self.tail.append(&mut other.tail);
        }
        self.parted.append(&mut other.parted);
        // What was used up here is needed there.
        mem::swap(&mut self.free_tails, &mut other.free_tails);
    }

    /// Writes until nothing is left or the socket takes no more.
    pub(super) fn poll_flush(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> io::Result<Poll<()>> {
        while self.unwritten > 0 {
            self.stage(socket)?;
            let polled = if self.segments.is_empty() {
                Pin::new(&mut *socket).poll_write(cx, &self.tail[self.written..])
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let segments = self.segments.iter().map(|segment| self.bytes(segment));
                let mut count = 0;
                for (slice, bytes) in slices.iter_mut().zip(segments.chain([&self.tail[..]])) {
                    let skip = if count == 0 { self.written } else { 0 };
                    *slice = IoSlice::new(&bytes[skip..]);
                    count += 1;
                }
                Pin::new(&mut *socket).poll_write_vectored(cx, &slices[..count])
            };
            let Poll::Ready(written) = polled else {
                return Ok(Poll::Pending);
            };
            self.advance(written?);
        }
        Ok(Poll::Ready(()))
    }

    fn frame(&mut self, header: Header, body: &[u8]) {
        self.tail.extend_from_slice(&header.bytes());
        self.tail.extend_from_slice(body);
        self.unwritten += HEADER + body.len();
    }

    /// Makes the tail a segment, so that something can come after it.
    fn cut(&mut self) {
        if !self.tail.is_empty() {
            let next = self.free_tails.pop().unwrap_or_default();
            let frames = mem::replace(&mut self.tail, next);
            self.segments.push_back(Segment::Frames(frames));
        }
    }

    /// Puts the next part behind the small frames, once the one before is written. What becomes
    /// small frames meanwhile goes before the part after it.
    fn stage(&mut self, socket: &Socket) -> io::Result<()> {
        if !self.segments.is_empty() {
            return Ok(());
        }
        let Some(parted) = self.parted.front_mut() else {
            return Ok(());
        };
        if parted.staged == 0 {
            // What the kernel holds cannot take turns any more.
            socket.bound()?;
        }
        let whole = parted.body.len();
        let (from, to) = (parted.staged, whole.min(parted.staged + PART_LEN));
        parted.staged = to;
        let header = Header {
            len: (to - from) as u32,
            id: parted.header.id | (whole as u64) << 32,
            ..parted.header
        };
        self.frame(header, &[]);
        self.cut();
        self.segments.push_back(Segment::Part { from, to });
        Ok(())
    }

    fn bytes<'a>(&'a self, segment: &'a Segment) -> &'a [u8] {
        match segment {
            Segment::Frames(bytes) | Segment::Body(bytes) => bytes,
            Segment::Part { from, to } => {
                let first = self.parted.front();
                first.map_or(&[], |parted| &parted.body[*from..*to])
            }
        }
    }

    fn advance(&mut self, written: usize) {
        self.unwritten -= written;
        self.written += written;
        while let Some(first) = self.segments.front() {
            let len = self.bytes(first).len();
            if self.written < len {
                return;
            }
            self.written -= len;
            match self.segments.pop_front() {
                Some(Segment::Frames(mut frames)) => {
                    frames.clear();
                    self.free_tails.push(frames);
                }
                Some(Segment::Body(body)) => self.free.push(body),
                Some(Segment::Part { to, .. }) => {
                    let done = |parted: &Parted| to == parted.body.len();
                    if self.parted.front().is_some_and(done) {
                        let parted = self.parted.pop_front();
                        self.free.extend(parted.map(|parted| parted.body));
                    }
                }
                None => return,
            }
        }
        if self.written == self.tail.len() {
            self.tail.clear();
            self.written = 0;
        }
    }
}
