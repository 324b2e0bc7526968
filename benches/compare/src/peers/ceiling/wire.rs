//! Frames over a socket, with as few system calls and copies as can be: one read for many frames,
//! one write for all answers to them. Knows nothing about requests and answers.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::socket::Socket;

/// Bytes of a header.
const HEADER: usize = 16;

/// Read at once: more than 1,024 requests to add, or 64 of 1 KiB.
const INPUT: usize = 128 * 1024;

/// A body up to this long is handled where it was read; a longer one gets a buffer of its own.
const SMALL: usize = 16 * 1024;

/// Unwritten bytes above which nothing more is read: what a window of the rows holds stays below.
const UNWRITTEN_MAX: usize = 64 * 1024 * 1024;

/// Buffers in one vectored write.
const SLICES: usize = 16;

/// What stands before each body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: u32,
    pub(super) len: u32,
    /// Names the slot that waits for the answer.
    pub(super) id: u64,
}

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Self {
        let [k0, k1, k2, k3, l0, l1, l2, l3, id @ ..] = *bytes;
        Self {
            kind: u32::from_le_bytes([k0, k1, k2, k3]),
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            id: u64::from_le_bytes(id),
        }
    }

    fn bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&self.kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..].copy_from_slice(&self.id.to_le_bytes());
        bytes
    }
}

/// A small frame, where it was read.
pub(super) struct Frame<'a> {
    pub(super) header: Header,
    pub(super) body: &'a [u8],
}

/// What is done with frames.
pub(super) trait Handler {
    /// A small frame came.
    fn frame(&mut self, frame: Frame<'_>, output: &mut Output);

    /// A large one came, in a buffer of its own.
    fn bulk(&mut self, header: Header, body: Vec<u8>, output: &mut Output);
}

/// One end of a connection.
pub(super) struct Wire {
    socket: Socket,
    input: Box<[u8]>,
    /// What is read and not handled lies from `start` to `end`.
    start: usize,
    end: usize,
    /// A large body that is being read, and how much of it is here.
    body: Option<(Header, Vec<u8>, usize)>,
    output: Output,
}

impl Wire {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            input: vec![0; INPUT].into(),
            start: 0,
            end: 0,
            body: None,
            output: Output::default(),
        }
    }

    /// What is to be written with the next step.
    pub(super) fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Writes what there is, reads once, handles all of it and writes the answers.
    ///
    /// # Errors
    /// The other end has closed, or the socket fails.
    pub(super) async fn step(&mut self, handler: &mut impl Handler) -> io::Result<()> {
        poll_fn(|cx| self.poll_step(cx, handler)).await
    }

    /// As [`step`](Self::step).
    pub(super) fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        handler: &mut impl Handler,
    ) -> Poll<io::Result<()>> {
        let flushed = self.output.poll_flush(&mut self.socket, cx)?;
        if self.output.unwritten > UNWRITTEN_MAX {
            return flushed.map(Ok);
        }
        ready!(self.poll_read(cx, handler))?;
        let _still_writing = self.output.poll_flush(&mut self.socket, cx)?;
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        handler: &mut impl Handler,
    ) -> Poll<io::Result<()>> {
        if let Some((header, mut body, filled)) = self.body.take() {
            let mut buffer = ReadBuf::new(&mut body[filled..]);
            let polled = Pin::new(&mut self.socket).poll_read(cx, &mut buffer);
            let read = buffer.filled().len();
            if polled.is_pending() || filled + read < body.len() {
                self.body = Some((header, body, filled + read));
            } else {
                handler.bulk(header, body, &mut self.output);
            }
            return polled.map(|done| done.and_then(|()| open(read)));
        }
        let mut buffer = ReadBuf::new(&mut self.input[self.end..]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        self.end += read;
        self.handle(handler);
        Poll::Ready(open(read))
    }

    fn handle(&mut self, handler: &mut impl Handler) {
        let mut unread = &self.input[self.start..self.end];
        while let Some((header, rest)) = unread.split_first_chunk() {
            let header = Header::parse(header);
            let len = header.len as usize;
            if len > SMALL {
                let mut body = self.output.buffer(len);
                let here = len.min(rest.len());
                body[..here].copy_from_slice(&rest[..here]);
                unread = &rest[here..];
                if here < len {
                    self.body = Some((header, body, here));
                    break;
                }
                handler.bulk(header, body, &mut self.output);
            } else if let Some((body, rest)) = rest.split_at_checked(len) {
                handler.frame(Frame { header, body }, &mut self.output);
                unread = rest;
            } else {
                break;
            }
        }
        let left = unread.len();
        self.start = self.end - left;
        if left == 0 {
            (self.start, self.end) = (0, 0);
        } else if self.input.len() - self.start < HEADER + SMALL {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, left);
        }
    }
}

/// A read of nothing is the end.
fn open(read: usize) -> io::Result<()> {
    if read == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// What is to be written, in order.
#[derive(Default)]
pub(super) struct Output {
    /// Small frames that come after all segments.
    tail: Vec<u8>,
    /// Large bodies, and the small frames between them.
    segments: VecDeque<Vec<u8>>,
    /// Written of the first segment, or of the tail if there is none.
    written: usize,
    /// Bytes in all of it that are not written.
    unwritten: usize,
    /// Large buffers that are free.
    free: Vec<Vec<u8>>,
    /// Small buffers that are free.
    free_tails: Vec<Vec<u8>>,
}

impl Output {
    /// Sends a small frame.
    pub(super) fn small(&mut self, kind: u32, id: u64, body: &[u8]) {
        let len = body.len() as u32;
        self.tail
            .extend_from_slice(&Header { kind, len, id }.bytes());
        self.tail.extend_from_slice(body);
        self.unwritten += HEADER + body.len();
    }

    /// Sends a large one, whose buffer is free afterwards.
    pub(super) fn bulk(&mut self, kind: u32, id: u64, body: Vec<u8>) {
        self.unwritten += body.len();
        self.small(kind, id, &[]);
        let len = (body.len() as u32).to_le_bytes();
        let at = self.tail.len() - HEADER + 4;
        self.tail[at..at + 4].copy_from_slice(&len);
        let next = self.free_tails.pop().unwrap_or_default();
        self.segments.push_back(mem::replace(&mut self.tail, next));
        self.segments.push_back(body);
    }

    /// Whether all is written.
    pub(super) fn is_empty(&self) -> bool {
        self.unwritten == 0
    }

    /// Moves all of another one, of which nothing is written, behind what is here.
    pub(super) fn append(&mut self, other: &mut Self) {
        if other.is_empty() {
            return;
        }
        self.unwritten += mem::take(&mut other.unwritten);
        if !other.segments.is_empty() && !self.tail.is_empty() {
            let next = self.free_tails.pop().unwrap_or_default();
            self.segments.push_back(mem::replace(&mut self.tail, next));
        }
        self.segments.append(&mut other.segments);
        if self.tail.is_empty() {
            mem::swap(&mut self.tail, &mut other.tail);
        } else {
            self.tail.append(&mut other.tail);
        }
        // What was used up here is needed there.
        mem::swap(&mut self.free_tails, &mut other.free_tails);
    }

    /// A large buffer of exactly this length, used before if possible.
    pub(super) fn buffer(&mut self, len: usize) -> Vec<u8> {
        let mut buffer = self.free.pop().unwrap_or_default();
        buffer.resize(len, 0);
        buffer
    }

    fn poll_flush(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        while self.unwritten > 0 {
            let polled = if self.segments.is_empty() {
                Pin::new(&mut *socket).poll_write(cx, &self.tail[self.written..])
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let parts = self.segments.iter().chain([&self.tail]);
                let mut count = 0;
                for (slice, part) in slices.iter_mut().zip(parts) {
                    let skip = if count == 0 { self.written } else { 0 };
                    *slice = IoSlice::new(&part[skip..]);
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

    fn advance(&mut self, written: usize) {
        self.unwritten -= written;
        self.written += written;
        while let Some(first) = self.segments.front() {
            if self.written < first.len() {
                return;
            }
            self.written -= first.len();
            let Some(mut done) = self.segments.pop_front() else {
                return;
            };
            if done.len() > SMALL {
                self.free.push(done);
            } else {
                done.clear();
                self.free_tails.push(done);
            }
        }
        if self.written == self.tail.len() {
            self.tail.clear();
            self.written = 0;
        }
    }
}
