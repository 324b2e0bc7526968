//! Cuts a stream of bytes into frames.

use bytes::{Buf, BytesMut};

use super::header::Header;
use super::{BODY_MAX, Frame, MAGIC, Malformed, PREAMBLE_MAX};

/// An incremental decoder: bytes go into one buffer, frames come out as soon as they are whole.
///
/// It owns no buffer and reserves nothing for a declared length; a header over the limit is refused
/// when it is seen, not when its body has arrived.
#[derive(Debug)]
pub(crate) struct Decoder {
    magic_seen: bool,
    body_max: usize,
}

impl Decoder {
    /// A decoder for a connection of which nothing was read: it expects [`MAGIC`], then frames of
    /// handshake size until [`accept`](Self::accept).
    pub(crate) fn new() -> Self {
        Self {
            magic_seen: false,
            body_max: PREAMBLE_MAX,
        }
    }

    /// The handshake is over: frames may have their full size.
    pub(crate) fn accept(&mut self) {
        self.body_max = BODY_MAX;
    }

    /// The next frame off the front of `buffer`; `None` until it is whole.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
        if !self.magic_seen && !self.take_magic(buffer)? {
            return Ok(None);
        }
        let Some(header) = Header::peek(buffer).transpose()? else {
            return Ok(None);
        };
        // `u32` always fits: the crate does not build for 16-bit machines.
        let length = header.length as usize;
        if length > self.body_max {
            return Err(Malformed::TooLong {
                length: header.length,
                limit: self.body_max,
            });
        }
        if buffer.len() < Header::LEN.saturating_add(length) {
            return Ok(None);
        }
        buffer.advance(Header::LEN);
        let body = buffer.split_to(length).freeze();
        Frame::parse(header, body).map(Some)
    }

    /// Takes the magic off the front; `false` while it is incomplete. The first wrong byte is an
    /// error, so that a peer which speaks something else is told at once.
    fn take_magic(&mut self, buffer: &mut BytesMut) -> Result<bool, Malformed> {
        let seen = buffer.len().min(MAGIC.len());
        if buffer.get(..seen) != MAGIC.get(..seen) {
            // What it said first helps to recognise it: "HTTP/1.1 400 Bad Request".
            const QUOTE_MAX: usize = 32;
            let got = buffer.iter().copied().take(QUOTE_MAX).collect();
            return Err(Malformed::Magic { got });
        }
        if seen < MAGIC.len() {
            return Ok(false);
        }
        buffer.advance(MAGIC.len());
        self.magic_seen = true;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::header::kind;

    fn after_magic(bytes: &[u8]) -> BytesMut {
        let mut buffer = BytesMut::from(&MAGIC[..]);
        buffer.extend_from_slice(bytes);
        buffer
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_come_in() {
        let mut wire = BytesMut::from(&MAGIC[..]);
        Frame::Ping(7).put(&mut wire);
        Frame::Cancel { id: 3 }.put(&mut wire);
        let mut decoder = Decoder::new();
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for byte in wire {
            buffer.extend_from_slice(&[byte]);
            frames.extend(decoder.next(&mut buffer).unwrap());
        }
        assert_eq!(frames, [Frame::Ping(7), Frame::Cancel { id: 3 }]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn another_protocol_is_named_by_what_it_said() {
        let mut buffer = BytesMut::from(&b"HTTP/1.1 400 Bad Request\r\n"[..]);
        let error = Decoder::new().next(&mut buffer).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"the peer does not speak this protocol: it began with "HTTP/1.1 400 Bad Request\r\n""#
        );
    }

    #[test]
    fn row_01_a_declared_length_is_refused_before_its_body() {
        let header = Header {
            length: u32::MAX,
            kind: kind::REQUEST,
            flags: 0,
            id: 1,
        };
        let mut bytes = BytesMut::new();
        header.put(&mut bytes);
        let mut buffer = after_magic(&bytes);
        let mut decoder = Decoder::new();
        decoder.accept();
        assert_eq!(
            decoder.next(&mut buffer),
            Err(Malformed::TooLong {
                length: u32::MAX,
                limit: BODY_MAX
            })
        );
    }

    #[test]
    fn row_01_an_allowed_length_reserves_nothing_until_bytes_arrive() {
        let header = Header {
            length: BODY_MAX as u32,
            kind: kind::REQUEST,
            flags: 0,
            id: 1,
        };
        let mut bytes = BytesMut::new();
        header.put(&mut bytes);
        let mut buffer = after_magic(&bytes);
        let capacity = buffer.capacity();
        let mut decoder = Decoder::new();
        decoder.accept();
        assert_eq!(decoder.next(&mut buffer), Ok(None));
        assert!(buffer.capacity() <= capacity);
    }

    #[test]
    fn before_the_handshake_frames_are_small() {
        let header = Header {
            length: 4097,
            kind: kind::HELLO,
            flags: 0,
            id: 0,
        };
        let mut bytes = BytesMut::new();
        header.put(&mut bytes);
        let error = Decoder::new().next(&mut after_magic(&bytes)).unwrap_err();
        assert_eq!(
            error,
            Malformed::TooLong {
                length: 4097,
                limit: PREAMBLE_MAX
            }
        );
    }
}
