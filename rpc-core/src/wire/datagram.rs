//! The datagrams of `udp://`: each is one message, whole, under a header of its own.
//!
//! ```text
//!  0        4         5      6       7       8           16       24
//!  +--------+---------+------+-------+-------+-----------+--------+----------
//!  | magic  | version | kind | flags | codec | client id | number | body
//!  +--------+---------+------+-------+-------+-----------+--------+----------
//! ```
//!
//! Kinds and bodies are those of frames wherever there is such a frame. What a client sends after
//! its hello shows the server's [`Cookie`] in front of the body.

use bytes::BufMut;

use super::frame::RequestHead;
use super::handshake::{Answer, Hello};
use super::header::{flag, kind};
use super::reply::Reply;
use super::text::put_text_within;
use super::{Malformed, Reader};
use crate::error::Error;

/// The longest datagram, header included: 1,200 bytes, as QUIC's smallest. It fits the packets that
/// every IPv6 path must carry (1,280) with room for a tunnel, so it is never cut into fragments.
pub(crate) const DATAGRAM_MAX: usize = 1200;

/// What a datagram begins with: told from the magic of a stream by its last byte.
const MAGIC: [u8; 4] = [0xf8, b'R', b'P', b'D'];

/// The version of the header, and of what this file knows.
const VERSION: u8 = 1;

/// Bytes before every body.
const HEADER_LEN: usize = 4 + 4 + 8 + 8;

/// The kinds that no frame has.
mod only {
    /// The call is known and has no reply yet.
    pub(super) const UNDERWAY: u8 = 0x30;
    /// The cookie is not one of this run of the server's, or its client is not remembered.
    pub(super) const STALE: u8 = 0x31;
}

/// What a server hands out to an address, and wants to see in everything that comes from there.
/// Only the server that made it can tell what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cookie(pub(crate) [u8; Self::LEN]);

impl Cookie {
    pub(crate) const LEN: usize = 16;

    /// Where there is none.
    pub(crate) const NONE: Self = Self([0; Self::LEN]);
}

/// A datagram on its way to a server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FromClient<'a> {
    /// Chosen by the client at random, so that nobody who does not see its datagrams can speak for
    /// the server.
    pub(crate) client: u64,
    pub(crate) body: ClientBody<'a>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ClientBody<'a> {
    /// First leg. It fills the datagram, so that no answer to it can be larger.
    Hello(Hello),
    /// Everything else shows the cookie.
    Shown {
        cookie: Cookie,
        /// What payloads are encoded in.
        codec: u8,
        message: Message<'a>,
    },
}

/// What a client has to say once it has its cookie.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message<'a> {
    /// Third leg: makes the server remember the client.
    Ready,
    Request {
        number: u64,
        /// The client has the replies of all calls below, or wants none.
        floor: u64,
        head: RequestHead,
        payload: &'a [u8],
    },
    /// The caller lost interest.
    Cancel { number: u64 },
    /// The client is done with everything and leaves.
    GoAway,
}

/// A datagram on its way to a client.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FromServer {
    pub(crate) client: u64,
    pub(crate) body: ServerBody,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ServerBody {
    /// Second leg. The cookie is zeros where the answer is a refusal.
    Answer {
        cookie: Cookie,
        answer: Answer,
    },
    /// The server remembers the client.
    Ready,
    Response {
        number: u64,
        reply: Reply,
    },
    Underway {
        number: u64,
    },
    Stale,
    /// The server takes no new calls, or with a code other than Draining none at all.
    GoAway {
        code: u8,
        text: String,
    },
}

impl FromClient<'_> {
    /// The shortest datagram that shows a cookie.
    pub(crate) const SHOWN_MIN: usize = HEADER_LEN + Cookie::LEN;

    /// Bytes that a request has for its arguments and metadata together.
    pub(crate) const ROOM: usize = DATAGRAM_MAX - Self::SHOWN_MIN - 8 - RequestHead::FIXED;

    /// Appends the datagram. The caller sees to it that it is not too long.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        match &self.body {
            ClientBody::Hello(hello) => {
                put_header(out, kind::HELLO, 0, 0, self.client, 0);
                hello.put(out);
                pad(out);
            }
            ClientBody::Shown {
                cookie,
                codec,
                message,
            } => {
                let (kind, flags, number) = match message {
                    Message::Ready => (kind::READY, 0, 0),
                    Message::Request { number, head, .. } => {
                        let flags = match head.metadata.is_empty() {
                            true => 0,
                            false => flag::METADATA,
                        };
                        (kind::REQUEST, flags, *number)
                    }
                    Message::Cancel { number } => (kind::CANCEL, 0, *number),
                    Message::GoAway => (kind::GO_AWAY, 0, 0),
                };
                put_header(out, kind, flags, *codec, self.client, number);
                out.put_slice(&cookie.0);
                if let Message::Request {
                    floor,
                    head,
                    payload,
                    ..
                } = message
                {
                    out.put_u64_le(*floor);
                    head.put(out);
                    out.put_slice(payload);
                }
            }
        }
    }
}

impl<'a> FromClient<'a> {
    /// Reads a datagram; it is to be passed over if that fails, because anybody may have sent it.
    pub(crate) fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let (header, mut body) = parse_header(datagram)?;
        let Header {
            kind,
            flags,
            codec,
            client,
            number,
        } = header;
        if kind == kind::HELLO {
            if datagram.len() != DATAGRAM_MAX {
                return Err(body.malformed("a hello that does not fill its datagram"));
            }
            header.check(0, false, &body)?;
            let body = ClientBody::Hello(Hello::parse(body)?);
            return Ok(Self { client, body });
        }
        let cookie = body.chunk().copied().map(Cookie);
        let cookie = cookie.ok_or_else(|| body.malformed("no cookie"))?;
        let message = match kind {
            kind::REQUEST => {
                header.check(flag::METADATA, true, &body)?;
                let floor = body.u64("no floor")?;
                let head = RequestHead::parse(&mut body, flags & flag::METADATA != 0)?;
                Message::Request {
                    number,
                    floor,
                    head,
                    payload: body.rest(),
                }
            }
            kind::READY | kind::GO_AWAY => {
                header.check(0, false, &body)?;
                body.end()?;
                match kind {
                    kind::READY => Message::Ready,
                    _ => Message::GoAway,
                }
            }
            kind::CANCEL => {
                header.check(0, true, &body)?;
                body.end()?;
                Message::Cancel { number }
            }
            _ => return Err(Malformed::Kind(kind)),
        };
        let body = ClientBody::Shown {
            cookie,
            codec,
            message,
        };
        Ok(Self { client, body })
    }
}

impl FromServer {
    /// Bytes that a value has in a response.
    pub(crate) const ROOM: usize = DATAGRAM_MAX - HEADER_LEN - 1;

    /// Appends the datagram. The caller sees to it that it is not too long.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let client = self.client;
        match &self.body {
            ServerBody::Answer { cookie, answer } => {
                put_header(out, kind::ANSWER, 0, 0, client, 0);
                out.put_slice(&cookie.0);
                answer.put(out);
            }
            ServerBody::Ready => put_header(out, kind::READY, 0, 0, client, 0),
            ServerBody::Response { number, reply } => put_response(out, client, *number, reply),
            ServerBody::Underway { number } => {
                put_header(out, only::UNDERWAY, 0, 0, client, *number);
            }
            ServerBody::Stale => put_header(out, only::STALE, 0, 0, client, 0),
            ServerBody::GoAway { code, text } => {
                put_header(out, kind::GO_AWAY, 0, 0, client, 0);
                out.put_u8(*code);
                put_text_within(out, text, TEXT_MAX);
            }
        }
    }

    /// Reads a datagram; it is to be passed over if that fails, because anybody may have sent it.
    pub(crate) fn parse(datagram: &[u8]) -> Result<Self, Malformed> {
        let (header, mut body) = parse_header(datagram)?;
        let Header {
            kind,
            client,
            number,
            ..
        } = header;
        let of_call = matches!(kind, kind::RESPONSE | only::UNDERWAY);
        header.check(0, of_call, &body)?;
        let body = match kind {
            kind::ANSWER => {
                let cookie = body.chunk().copied().map(Cookie);
                ServerBody::Answer {
                    cookie: cookie.ok_or_else(|| body.malformed("no cookie"))?,
                    answer: Answer::parse(body)?,
                }
            }
            kind::READY => body.end().map(|()| ServerBody::Ready)?,
            kind::RESPONSE => ServerBody::Response {
                number,
                reply: Reply::parse(body)?,
            },
            only::UNDERWAY => body.end().map(|()| ServerBody::Underway { number })?,
            only::STALE => body.end().map(|()| ServerBody::Stale)?,
            kind::GO_AWAY => {
                let code = body.u8("no code")?;
                let text = body.text("no text")?;
                body.end()?;
                ServerBody::GoAway { code, text }
            }
            _ => return Err(Malformed::Kind(kind)),
        };
        Ok(Self { client, body })
    }
}

/// The longest text of a go-away, or of a failure whose own texts do not fit: two of them leave room
/// for everything else.
const TEXT_MAX: usize = 500;

/// Appends a response. A failure always fits: if need be without its details and with cut texts.
pub(crate) fn put_response(out: &mut Vec<u8>, client: u64, number: u64, reply: &Reply) {
    let start = out.len();
    put_header(out, kind::RESPONSE, 0, 0, client, number);
    reply.put(out);
    let length = out.len().saturating_sub(start);
    if length > DATAGRAM_MAX {
        if let Reply::Failure(error) = reply {
            out.truncate(start.saturating_add(HEADER_LEN));
            Reply::Failure(brief(error)).put(out);
        }
    }
}

/// The same failure in few words.
fn brief(error: &Error) -> Error {
    let cut = |text: &str| {
        let mut end = text.len().min(TEXT_MAX);
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        text.get(..end).unwrap_or_default().to_owned()
    };
    let mut brief = Error::new(error.code(), cut(error.message())).with_executed(error.executed());
    if let Some(hint) = error.hint() {
        brief = brief.with_hint(cut(hint));
    }
    match error.retry_after() {
        Some(wait) => brief.with_retry_after(wait),
        None => brief,
    }
}

/// What stands before every body, but for the magic and the version.
#[derive(Clone, Copy)]
struct Header {
    kind: u8,
    flags: u8,
    codec: u8,
    client: u64,
    number: u64,
}

impl Header {
    /// Whether the kind may bear these flags, and this number.
    fn check(self, allowed: u8, of_call: bool, body: &Reader<'_>) -> Result<(), Malformed> {
        let Self { kind, flags, .. } = self;
        if flags & !allowed != 0 {
            return Err(Malformed::Flags { kind, flags });
        }
        if (self.number != 0) != of_call {
            return Err(body.malformed("a number that the kind cannot have"));
        }
        Ok(())
    }
}

fn put_header(out: &mut Vec<u8>, kind: u8, flags: u8, codec: u8, client: u64, number: u64) {
    out.put_slice(&MAGIC);
    out.put_slice(&[VERSION, kind, flags, codec]);
    out.put_u64_le(client);
    out.put_u64_le(number);
}

fn parse_header(datagram: &[u8]) -> Result<(Header, Reader<'_>), Malformed> {
    let mut body = Reader::new(0, datagram);
    if datagram.len() > DATAGRAM_MAX {
        return Err(body.malformed("a datagram over the limit"));
    }
    if body.bytes(MAGIC.len(), "no magic")? != MAGIC {
        return Err(body.malformed("another magic"));
    }
    if body.u8("no version")? != VERSION {
        return Err(body.malformed("another version"));
    }
    let header = Header {
        kind: body.u8("no kind")?,
        flags: body.u8("no flags")?,
        codec: body.u8("no codec")?,
        client: body.u64("no client id")?,
        number: body.u64("no number")?,
    };
    let body = Reader::new(header.kind, body.rest());
    Ok((header, body))
}

/// Fills the datagram with an option that says nothing.
fn pad(out: &mut Vec<u8>) {
    const TAG: u8 = 0;
    let room = DATAGRAM_MAX.saturating_sub(out.len());
    if let Some(length) = room.checked_sub(3) {
        out.put_u8(TAG);
        out.put_u16_le(u16::try_from(length).unwrap_or(u16::MAX));
        out.resize(DATAGRAM_MAX, 0);
    }
}
