//! Frames over a socket, with as few system calls and copies as can be: one read for many frames,
//! one write for all answers to them. Knows nothing about requests and answers.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, ReadBuf};

use super::output::Output;
use crate::socket::Socket;

/// Bytes of a header.
pub(super) const HEADER: usize = 16;

/// Set in the kind of a frame that brings a part of a large body. The upper half of its `id` is the
/// length of the whole.
pub(super) const PART: u32 = 1 << 31;

/// Read at once by a connection that has not seen more: an idle one holds no more than this.
const INPUT_FIRST: usize = 512;

/// Read at once by a busy one: more than 1,024 requests to add, or 64 of 1 KiB.
const INPUT_MAX: usize = 128 * 1024;

/// A body up to this long is handled where it was read; a longer one gets a buffer of its own.
const SMALL: usize = 16 * 1024;

/// Unwritten bytes above which nothing more is read: what a window of the rows holds stays below.
const UNWRITTEN_MAX: usize = 64 * 1024 * 1024;

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

    pub(super) fn bytes(self) -> [u8; HEADER] {
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

    /// A large one came, in a buffer of its own. If it came in parts, the answer has to travel so.
    fn bulk(&mut self, header: Header, body: Vec<u8>, output: &mut Output);
}

/// A large body that is not complete.
struct Body {
    /// Of the whole body.
    header: Header,
    bytes: Vec<u8>,
    /// So much of it is here.
    filled: usize,
    /// Up to here it is read without another header.
    end: usize,
}

/// One end of a connection.
pub(super) struct Wire {
    socket: Socket,
    input: Vec<u8>,
    /// What is read and not handled lies from `start` to `end`.
    start: usize,
    end: usize,
    /// A large body that is being read.
    body: Option<Body>,
    /// Bodies of which more parts will come.
    parts: Vec<Body>,
    output: Output,
}

impl Wire {
    pub(super) fn new(socket: Socket) -> Self {
        Self {
            socket,
            input: vec![0; INPUT_FIRST],
            start: 0,
            end: 0,
            body: None,
            parts: Vec::new(),
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
        if self.output.unwritten() > UNWRITTEN_MAX {
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
        if let Some(mut body) = self.body.take() {
            let mut buffer = ReadBuf::new(&mut body.bytes[body.filled..body.end]);
            let polled = Pin::new(&mut self.socket).poll_read(cx, &mut buffer);
            let read = buffer.filled().len();
            body.filled += read;
            if body.filled < body.end {
                self.body = Some(body);
            } else {
                self.read(body, handler);
            }
            return polled.map(|done| done.and_then(|()| open(read)));
        }
        let room = self.input.len() - self.end;
        let mut buffer = ReadBuf::new(&mut self.input[self.end..]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        self.end += read;
        self.handle(handler);
        if read == room && self.input.len() < INPUT_MAX {
            self.input.resize(4 * self.input.len(), 0);
        }
        Poll::Ready(open(read))
    }

    fn handle(&mut self, handler: &mut impl Handler) {
        let mut at = self.start;
        while let Some((header, rest)) = self.input[at..self.end].split_first_chunk() {
            let header = Header::parse(header);
            let len = header.len as usize;
            if len > SMALL || header.kind & PART != 0 {
                let mut body = self.body(header);
                let rest = &self.input[at + HEADER..self.end];
                let here = len.min(rest.len());
                body.bytes[body.filled..][..here].copy_from_slice(&rest[..here]);
                body.filled += here;
                at += HEADER + here;
                if body.filled < body.end {
                    self.body = Some(body);
                    break;
                }
                self.read(body, handler);
            } else if let Some(body) = rest.get(..len) {
                handler.frame(Frame { header, body }, &mut self.output);
                at += HEADER + len;
            } else {
                break;
            }
        }
        let left = self.end - at;
        self.start = at;
        if left == 0 {
            (self.start, self.end) = (0, 0);
        } else if self.input.len() - self.start < HEADER + SMALL {
            self.input.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, left);
        }
    }

    /// Where what comes after this header belongs.
    fn body(&mut self, header: Header) -> Body {
        let len = header.len as usize;
        if header.kind & PART == 0 {
            return Body {
                header,
                bytes: self.output.buffer(len),
                filled: 0,
                end: len,
            };
        }
        let (id, whole) = (header.id & u64::from(u32::MAX), (header.id >> 32) as usize);
        let known = self.parts.iter().position(|body| body.header.id == id);
        let mut body = match known {
            Some(at) => self.parts.swap_remove(at),
            None => Body {
                header: Header { id, ..header },
                bytes: self.output.buffer(whole),
                filled: 0,
                end: 0,
            },
        };
        body.end = (body.filled + len).min(whole);
        body
    }

    /// All that was announced for a body is here.
    fn read(&mut self, body: Body, handler: &mut impl Handler) {
        if body.filled < body.bytes.len() {
            self.parts.push(body);
        } else {
            handler.bulk(body.header, body.bytes, &mut self.output);
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
