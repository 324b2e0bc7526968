//! The frames of an established connection, and the two halves of the handshake.

use bytes::{BufMut, Bytes, BytesMut};

use super::handshake::{Answer, Hello};
use super::header::{Header, flag, kind};
use super::metadata::Metadata;
use super::reply::Reply;
use super::text::put_text;
use super::{Malformed, Reader};

/// One frame. Payloads are slices of the buffer they arrived in.
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
        payload: Bytes,
        more: bool,
        stream: bool,
    },
    /// A call ends.
    Response { id: u64, reply: Reply, more: bool },
    /// The next part of a request (from the caller) or of a response (from the callee).
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
    /// Reads the body that belongs to `header`.
    pub(crate) fn parse(header: Header, body: Bytes) -> Result<Self, Malformed> {
        let Header {
            kind, flags, id, ..
        } = header;
        let allowed = match kind {
            kind::REQUEST => flag::MORE | flag::METADATA | flag::STREAM,
            kind::RESPONSE => flag::MORE,
            kind::CHUNK | kind::ITEM => flag::MORE | flag::CALLEE,
            kind::END | kind::CREDIT => flag::CALLEE,
            kind::HELLO | kind::ANSWER | kind::READY | kind::CANCEL => 0,
            kind::PING | kind::PONG | kind::GO_AWAY => 0,
            _ => return Err(Malformed::Kind(kind)),
        };
        if flags & !allowed != 0 {
            return Err(Malformed::Flags { kind, flags });
        }
        let of_call = (kind::REQUEST..=kind::END).contains(&kind);
        let of_connection = !of_call && kind != kind::CREDIT;
        if (of_call && id == 0) || (of_connection && id != 0) {
            return Err(Malformed::CallId { kind, id });
        }
        let more = flags & flag::MORE != 0;
        let callee = flags & flag::CALLEE != 0;
        let mut body = Reader::new(kind, body);
        match kind {
            kind::HELLO => Hello::parse(body).map(Self::Hello),
            kind::ANSWER => Answer::parse(body).map(Self::Answer),
            kind::READY => body.end().map(|()| Self::Ready),
            kind::REQUEST => {
                let method = body.u64("no method")?;
                let fingerprint = body.u64("no fingerprint")?;
                let timeout_ms = body.u32("no timeout")?;
                let metadata = if flags & flag::METADATA == 0 {
                    Metadata::default()
                } else {
                    Metadata::parse(&mut body)?
                };
                let head = RequestHead {
                    method,
                    fingerprint,
                    timeout_ms,
                    metadata,
                };
                let stream = flags & flag::STREAM != 0;
                Ok(Self::Request {
                    id,
                    head,
                    payload: body.rest(),
                    more,
                    stream,
                })
            }
            kind::RESPONSE => Ok(Self::Response {
                id,
                reply: Reply::parse(body)?,
                more,
            }),
            // It would cost its sender no credit, however many there are.
            kind::CHUNK if body.is_empty() => Err(body.malformed("a chunk without a byte")),
            kind::CHUNK => Ok(Self::Chunk {
                id,
                payload: body.rest(),
                more,
                callee,
            }),
            kind::CANCEL => body.end().map(|()| Self::Cancel { id }),
            kind::ITEM => Ok(Self::Item {
                id,
                payload: body.rest(),
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
        Header {
            length: u32::try_from(length).unwrap_or(u32::MAX),
            kind: kind::CHUNK,
            flags: more_flag(more) | callee_flag(callee),
            id,
        }
    }

    /// Appends the frame. The caller keeps the body within [`BODY_MAX`](super::BODY_MAX).
    pub(crate) fn put(&self, out: &mut BytesMut) {
        match self {
            Self::Hello(hello) => put(out, kind::HELLO, 0, 0, |out| hello.put(out)),
            Self::Answer(answer) => put(out, kind::ANSWER, 0, 0, |out| answer.put(out)),
            Self::Ready => put(out, kind::READY, 0, 0, |_| ()),
            Self::Request {
                id,
                head,
                payload,
                more,
                stream,
            } => {
                let mut flags = more_flag(*more);
                if !head.metadata.is_empty() {
                    flags |= flag::METADATA;
                }
                if *stream {
                    flags |= flag::STREAM;
                }
                put(out, kind::REQUEST, flags, *id, |out| {
                    head.put(out);
                    out.put_slice(payload);
                });
            }
            Self::Response { id, reply, more } => {
                put(out, kind::RESPONSE, more_flag(*more), *id, |out| {
                    reply.put(out)
                });
            }
            Self::Chunk {
                id,
                payload,
                more,
                callee,
            } => {
                let flags = more_flag(*more) | callee_flag(*callee);
                put(out, kind::CHUNK, flags, *id, |out| out.put_slice(payload));
            }
            Self::Cancel { id } => put(out, kind::CANCEL, 0, *id, |_| ()),
            Self::Item {
                id,
                payload,
                more,
                callee,
            } => {
                let flags = more_flag(*more) | callee_flag(*callee);
                put(out, kind::ITEM, flags, *id, |out| out.put_slice(payload));
            }
            Self::End { id, reply, callee } => {
                put(out, kind::END, callee_flag(*callee), *id, |out| {
                    reply.put(out)
                });
            }
            Self::Credit { id, bytes, callee } => {
                put(out, kind::CREDIT, callee_flag(*callee), *id, |out| {
                    out.put_u32_le(*bytes)
                });
            }
            Self::Ping(number) => put(out, kind::PING, 0, 0, |out| out.put_u64_le(*number)),
            Self::Pong(number) => put(out, kind::PONG, 0, 0, |out| out.put_u64_le(*number)),
            Self::GoAway {
                last_id,
                code,
                text,
            } => put(out, kind::GO_AWAY, 0, 0, |out| {
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

    fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(self.method);
        out.put_u64_le(self.fingerprint);
        out.put_u32_le(self.timeout_ms);
        if !self.metadata.is_empty() {
            self.metadata.put(out);
        }
    }
}

const fn more_flag(more: bool) -> u8 {
    if more { flag::MORE } else { 0 }
}

const fn callee_flag(callee: bool) -> u8 {
    if callee { flag::CALLEE } else { 0 }
}

/// Appends a header, the body that `fill` writes, and then the length into the header.
fn put(out: &mut BytesMut, kind: u8, flags: u8, id: u64, fill: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    Header {
        length: 0,
        kind,
        flags,
        id,
    }
    .put(out);
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
