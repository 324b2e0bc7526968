//! The frames of an established connection, and the two halves of the handshake.

use bytes::{BufMut, Bytes};

use super::handshake::{Answer, Hello};
use super::header::{Header, flag, kind};
use super::metadata::Metadata;
use super::reply::{Outcome, Reply};
use super::text::put_text;
use super::{Malformed, Payload, Reader};

/// One frame. It owns its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// First leg: what the client can do and wants.
    Hello(Hello),
    /// Second leg: what the server chose, or why it refuses.
    Answer(Answer),
    /// Third leg: the client has heard the answer.
    Ready,
    /// A call begins.
    Request {
        id: u64,
        head: RequestHead,
        payload: Payload,
        more: bool,
        stream: bool,
    },
    /// A call ends.
    Response { id: u64, reply: Reply, more: bool },
    /// The next part of a request (from the caller) or of a response (from the callee). The decoder
    /// hands it out in pieces, and the protocol sends it from where its payload lies, so that it is
    /// written as a frame by tests alone.
    #[cfg_attr(not(test), expect(dead_code))]
    Chunk {
        id: u64,
        payload: Bytes,
        more: bool,
        callee: bool,
    },
    /// The caller lost interest.
    Cancel { id: u64 },
    /// An item of a stream.
    Item {
        id: u64,
        payload: Bytes,
        more: bool,
        callee: bool,
    },
    /// A stream ends.
    End { id: u64, reply: Reply, callee: bool },
    /// The sender can take so many bytes more: of the stream `id`, or of the connection where it
    /// is 0.
    Credit { id: u64, bytes: u32, callee: bool },
    /// Asks for a pong with the same number.
    Ping(u64),
    /// Answers a ping.
    Pong(u64),
    /// The sender takes no calls above `last_id` and will close once those below are done.
    GoAway {
        last_id: u64,
        code: u8,
        text: String,
    },
}

/// What stands before the arguments of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequestHead {
    /// [`MethodId`](crate::MethodId).
    pub(crate) method: u64,
    /// The hash of the shapes that the caller was built with.
    pub(crate) fingerprint: u64,
    /// What is left of the deadline, in milliseconds; 0 is a call that is late already.
    pub(crate) timeout_ms: u32,
    pub(crate) metadata: Metadata,
}

impl Frame {
    /// Reads the body that belongs to `header`; chunks are read by the decoder.
    pub(crate) fn parse(header: Header, body: &[u8]) -> Result<Self, Malformed> {
        header.check()?;
        let Header {
            kind, flags, id, ..
        } = header;
        let more = flags & flag::MORE != 0;
        let callee = flags & flag::CALLEE != 0;
        let mut body = Reader::new(kind, body);
        match kind {
            kind::HELLO => Hello::parse(body).map(Self::Hello),
            kind::ANSWER => Answer::parse(body).map(Self::Answer),
            kind::READY => body.end().map(|()| Self::Ready),
            kind::REQUEST => Ok(Self::Request {
                id,
                head: RequestHead::parse(&mut body, flags & flag::METADATA != 0)?,
                payload: body.payload(),
                more,
                stream: flags & flag::STREAM != 0,
            }),
            kind::RESPONSE => Ok(Self::Response {
                id,
                reply: Reply::parse(body)?,
                more,
            }),
            kind::CANCEL => body.end().map(|()| Self::Cancel { id }),
            kind::ITEM => Ok(Self::Item {
                id,
                payload: Bytes::copy_from_slice(body.rest()),
                more,
                callee,
            }),
            kind::END => Ok(Self::End {
                id,
                reply: Reply::parse(body)?,
                callee,
            }),
            kind::CREDIT => {
                let bytes = body.u32("no amount of credit")?;
                body.end().map(|()| Self::Credit { id, bytes, callee })
            }
            kind::PING => {
                let number = body.u64("no ping number")?;
                body.end().map(|()| Self::Ping(number))
            }
            kind::PONG => {
                let number = body.u64("no pong number")?;
                body.end().map(|()| Self::Pong(number))
            }
            kind::GO_AWAY => {
                let last_id = body.u64("no last call")?;
                let code = body.u8("no code")?;
                let text = body.text("no text")?;
                body.end().map(|()| Self::GoAway {
                    last_id,
                    code,
                    text,
                })
            }
            _ => Err(Malformed::Kind(kind)),
        }
    }

    /// The header of a chunk whose payload is sent from where it lies.
    pub(crate) fn chunk_header(id: u64, length: usize, more: bool, callee: bool) -> Header {
        let flags = more_flag(more) | callee_flag(callee);
        header(length, kind::CHUNK, flags, id)
    }

    /// Appends the frame. The caller keeps the body within [`BODY_MAX`](super::BODY_MAX).
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => put(out, kind::HELLO, 0, 0, &|out| hello.put(out)),
            Self::Answer(answer) => put(out, kind::ANSWER, 0, 0, &|out| answer.put(out)),
            Self::Ready => put(out, kind::READY, 0, 0, &|_| ()),
            Self::Request {
                id,
                head,
                payload,
                more,
                stream,
            } => put_request(out, *id, head, payload, *more, *stream),
            Self::Response { id, reply, more } => {
                put_response(out, *id, reply, reply.payload(), *more);
            }
            Self::Chunk {
                id,
                payload,
                more,
                callee,
            } => {
                let flags = more_flag(*more) | callee_flag(*callee);
                put(out, kind::CHUNK, flags, *id, &|out| out.put_slice(payload));
            }
            Self::Cancel { id } => put(out, kind::CANCEL, 0, *id, &|_| ()),
            Self::Item {
                id,
                payload,
                more,
                callee,
            } => {
                let flags = more_flag(*more) | callee_flag(*callee);
                put(out, kind::ITEM, flags, *id, &|out| out.put_slice(payload));
            }
            Self::End { id, reply, callee } => {
                put(out, kind::END, callee_flag(*callee), *id, &|out| {
                    reply.put(out)
                });
            }
            Self::Credit { id, bytes, callee } => {
                put(out, kind::CREDIT, callee_flag(*callee), *id, &|out| {
                    out.put_u32_le(*bytes)
                });
            }
            Self::Ping(number) => put(out, kind::PING, 0, 0, &|out| out.put_u64_le(*number)),
            Self::Pong(number) => put(out, kind::PONG, 0, 0, &|out| out.put_u64_le(*number)),
            Self::GoAway {
                last_id,
                code,
                text,
            } => put(out, kind::GO_AWAY, 0, 0, &|out| {
                out.put_u64_le(*last_id);
                out.put_u8(*code);
                put_text(out, text);
            }),
        }
    }
}

impl RequestHead {
    /// Bytes before the metadata: method, fingerprint, timeout.
    pub(crate) const FIXED: usize = 8 + 8 + 4;

    /// Bytes before the payload.
    pub(crate) fn len(&self) -> usize {
        Self::FIXED.saturating_add(self.metadata.wire_len())
    }

    /// Reads it off the front of a body.
    #[inline]
    pub(crate) fn parse(body: &mut Reader<'_>, has_metadata: bool) -> Result<Self, Malformed> {
        let Some(fixed) = body.chunk() else {
            return Err(Self::cut_off(body));
        };
        let metadata = match has_metadata {
            true => Metadata::parse(body)?,
            false => Metadata::default(),
        };
        Ok(Self {
            metadata,
            ..Self::plain(fixed)
        })
    }

    /// The time left that a head says.
    #[inline]
    pub(crate) fn timeout_ms(fixed: &[u8; Self::FIXED]) -> u32 {
        let [.., t0, t1, t2, t3] = *fixed;
        u32::from_le_bytes([t0, t1, t2, t3])
    }

    /// That of a request without metadata.
    #[inline]
    pub(crate) fn plain(fixed: &[u8; Self::FIXED]) -> Self {
        let [m0, m1, m2, m3, m4, m5, m6, m7, rest @ ..] = *fixed;
        let [f0, f1, f2, f3, f4, f5, f6, f7, timeout @ ..] = rest;
        Self {
            method: u64::from_le_bytes([m0, m1, m2, m3, m4, m5, m6, m7]),
            fingerprint: u64::from_le_bytes([f0, f1, f2, f3, f4, f5, f6, f7]),
            timeout_ms: u32::from_le_bytes(timeout),
            metadata: Metadata::default(),
        }
    }

    /// Which field is missing.
    #[cold]
    fn cut_off(body: &mut Reader<'_>) -> Malformed {
        let method = body.u64("no method");
        let fields = method.and_then(|_| body.u64("no fingerprint"));
        match fields.and_then(|_| body.u32("no timeout")) {
            Err(malformed) => malformed,
            Ok(_) => body.malformed("no timeout"),
        }
    }

    /// Appends all of it.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_slice(&self.fixed());
        if !self.metadata.is_empty() {
            self.metadata.put(out);
        }
    }

    /// The fields before the metadata, as they stand on the wire.
    #[inline]
    fn fixed(&self) -> [u8; Self::FIXED] {
        let [m0, m1, m2, m3, m4, m5, m6, m7] = self.method.to_le_bytes();
        let [f0, f1, f2, f3, f4, f5, f6, f7] = self.fingerprint.to_le_bytes();
        let [t0, t1, t2, t3] = self.timeout_ms.to_le_bytes();
        [
            m0, m1, m2, m3, m4, m5, m6, m7, f0, f1, f2, f3, f4, f5, f6, f7, t0, t1, t2, t3,
        ]
    }
}

const fn more_flag(more: bool) -> u8 {
    if more { flag::MORE } else { 0 }
}

const fn callee_flag(callee: bool) -> u8 {
    if callee { flag::CALLEE } else { 0 }
}

/// Appends the beginning of a call, of whose payload this is all or the first part.
#[inline]
pub(crate) fn put_request(
    out: &mut Vec<u8>,
    id: u64,
    head: &RequestHead,
    payload: &[u8],
    more: bool,
    stream: bool,
) {
    let mut flags = more_flag(more);
    if !head.metadata.is_empty() {
        flags |= flag::METADATA;
    }
    if stream {
        flags |= flag::STREAM;
    }
    let length = head.len().saturating_add(payload.len());
    out.reserve(length.saturating_add(Header::LEN));
    out.put_slice(&header(length, kind::REQUEST, flags, id).to_bytes());
    out.put_slice(&head.fixed());
    if !head.metadata.is_empty() {
        head.metadata.put(out);
    }
    out.put_slice(payload);
}

/// Appends the end of a call, of whose payload this is all or the first part.
pub(crate) fn put_response(out: &mut Vec<u8>, id: u64, reply: &Reply, payload: &[u8], more: bool) {
    match reply.outcome() {
        Some(outcome) => {
            put_outcome(out, id, outcome, payload, more);
        }
        None => put(out, kind::RESPONSE, more_flag(more), id, &|out| {
            reply.put(out)
        }),
    }
}

/// Appends the end of a call whose method has run, and of whose payload this is all or the first
/// part. How many bytes that were.
#[inline]
pub(crate) fn put_outcome(
    out: &mut Vec<u8>,
    id: u64,
    outcome: Outcome,
    payload: &[u8],
    more: bool,
) -> usize {
    const FRONT: usize = Header::LEN + 1;
    let length = payload.len().saturating_add(1);
    let mut front = [outcome.to_wire(); FRONT];
    if let Some(place) = front.first_chunk_mut() {
        *place = header(length, kind::RESPONSE, more_flag(more), id).to_bytes();
    }
    let added = payload.len().saturating_add(FRONT);
    out.reserve(added);
    out.extend_from_slice(&front);
    out.extend_from_slice(payload);
    added
}

#[inline]
fn header(length: usize, kind: u8, flags: u8, id: u64) -> Header {
    Header {
        length: u32::try_from(length).unwrap_or(u32::MAX),
        kind,
        flags,
        id,
    }
}

/// Appends a header, the body that `fill` writes, and then the length into the header.
#[inline(never)]
fn put(out: &mut Vec<u8>, kind: u8, flags: u8, id: u64, fill: &dyn Fn(&mut Vec<u8>)) {
    let start = out.len();
    out.put_slice(&header(0, kind, flags, id).to_bytes());
    fill(out);
    let length = out.len().saturating_sub(start).saturating_sub(Header::LEN);
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if let Some(field) = out
        .get_mut(start..)
        .and_then(|frame| frame.first_chunk_mut())
    {
        *field = length.to_le_bytes();
    }
}
