//! Cuts a stream of bytes into frames.

#[cfg(test)]
use super::Frame;
use super::header::{Header, flag, kind};
use super::{BODY_MAX, MAGIC, Malformed, PREAMBLE_MAX};

/// An incremental decoder: bytes go in as they arrive, frames come out as soon as they are whole, and
/// the body of a chunk in whatever pieces it arrives.
///
/// It owns no buffer and reserves nothing for a declared length; a header over the limit is refused
/// when it is seen, not when its body has arrived.
#[derive(Debug)]
pub(crate) struct Decoder {
    magic_seen: bool,
    body_max: usize,
    /// The chunk of which only a part has arrived.
    chunk: Option<Chunk>,
}

/// What was cut off the stream.
#[derive(Debug, PartialEq)]
pub(crate) enum Cut<'a> {
    /// A frame with its body where it was read.
    Whole { header: Header, body: &'a [u8] },
    /// Bytes of a message that travels in chunks: a chunk, or as much of one as has arrived. They
    /// are not copied here, because there are many of them.
    Piece {
        id: u64,
        bytes: &'a [u8],
        /// Whether the message goes on behind them.
        more: bool,
        callee: bool,
    },
}

/// A frame that bears no flag.
pub(crate) struct Plain<'a> {
    pub(crate) id: u64,
    pub(crate) body: &'a [u8],
}

/// A chunk of whose body something is still to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unfinished {
    pub(crate) id: u64,
    pub(crate) callee: bool,
    pub(crate) left: usize,
}

/// A chunk whose header was seen.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    header: Header,
    /// Bytes of its body that have not arrived.
    left: usize,
}

impl Decoder {
    /// A decoder for a connection of which nothing was read: it expects [`MAGIC`], then frames of
    /// handshake size until [`accept`](Self::accept).
    pub(crate) fn new() -> Self {
        Self {
            magic_seen: false,
            body_max: PREAMBLE_MAX,
            chunk: None,
        }
    }

    /// The handshake is over: frames may have their full size.
    pub(crate) fn accept(&mut self) {
        self.body_max = BODY_MAX;
    }

    /// The next frame off the front of `input`; `None` until more has arrived.
    #[inline]
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Cut<'a>>, Malformed> {
        if let Some(chunk) = self.chunk.take() {
            return Ok(self.piece(chunk, input));
        }
        if !self.magic_seen && !self.take_magic(input)? {
            return Ok(None);
        }
        let Some((header, behind)) = input.split_first_chunk() else {
            return Ok(None);
        };
        let header = Header::parse(header)?;
        // `u32` always fits: the crate does not build for 16-bit machines.
        let length = header.length as usize;
        if length > self.body_max {
            return Err(Malformed::TooLong {
                length: header.length,
                limit: self.body_max,
            });
        }
        if header.kind == kind::CHUNK {
            header.check()?;
            if length == 0 {
                // It would cost its sender no credit, however many there are.
                return Err(Malformed::Body {
                    kind: header.kind,
                    what: "a chunk without a byte",
                });
            }
            *input = behind;
            let left = length;
            return Ok(self.piece(Chunk { header, left }, input));
        }
        let Some((body, behind)) = behind.split_at_checked(length) else {
            return Ok(None);
        };
        *input = behind;
        Ok(Some(Cut::Whole { header, body }))
    }

    /// The frame at the front of `input`, if it is whole, of this kind and [plain](Header::parse_plain),
    /// and what comes behind it. Nothing is taken, and what is not found here may be there all the same,
    /// for [`next`](Self::next) to look at.
    #[inline]
    pub(crate) fn peek<'a>(&self, kind: u8, input: &'a [u8]) -> Option<(Plain<'a>, &'a [u8])> {
        let (header, behind) = input.split_first_chunk()?;
        let (length, id) = Header::parse_plain(header, kind)?;
        if length > self.body_max || self.chunk.is_some() || !self.magic_seen {
            return None;
        }
        let (body, behind) = behind.split_at_checked(length)?;
        Some((Plain { id, body }, behind))
    }

    /// The chunk whose body is to come next, as far as it has not arrived.
    #[inline]
    pub(crate) fn unfinished(&self) -> Option<Unfinished> {
        let Chunk { header, left } = self.chunk?;
        Some(Unfinished {
            id: header.id,
            callee: header.flags & flag::CALLEE != 0,
            left,
        })
    }

    /// So many bytes of the [unfinished](Self::unfinished) chunk have arrived elsewhere. Whether the
    /// message goes on behind them.
    pub(crate) fn pass(&mut self, bytes: usize) -> bool {
        let Some(chunk) = self.chunk.take() else {
            return false;
        };
        let left = chunk.left.saturating_sub(bytes);
        if left > 0 {
            self.chunk = Some(Chunk { left, ..chunk });
        }
        left > 0 || chunk.header.flags & flag::MORE != 0
    }

    /// As much of a chunk as has arrived.
    fn piece<'a>(&mut self, chunk: Chunk, input: &mut &'a [u8]) -> Option<Cut<'a>> {
        let (bytes, behind) = input.split_at_checked(chunk.left).unwrap_or((input, &[]));
        *input = behind;
        let left = chunk.left.saturating_sub(bytes.len());
        if left > 0 {
            self.chunk = Some(Chunk { left, ..chunk });
        }
        (!bytes.is_empty()).then_some(Cut::Piece {
            id: chunk.header.id,
            bytes,
            more: left > 0 || chunk.header.flags & flag::MORE != 0,
            callee: chunk.header.flags & flag::CALLEE != 0,
        })
    }

    /// Takes the magic off the front; `false` while it is incomplete. The first wrong byte is an
    /// error, so that a peer which speaks something else is told at once.
    fn take_magic(&mut self, input: &mut &[u8]) -> Result<bool, Malformed> {
        let seen = input.len().min(MAGIC.len());
        if input.get(..seen) != MAGIC.get(..seen) {
            // What it said first helps to recognise it: "HTTP/1.1 400 Bad Request".
            const QUOTE_MAX: usize = 32;
            let got = input.iter().copied().take(QUOTE_MAX).collect();
            return Err(Malformed::Magic { got });
        }
        if seen < MAGIC.len() {
            return Ok(false);
        }
        *input = input.get(MAGIC.len()..).unwrap_or_default();
        self.magic_seen = true;
        Ok(true)
    }
}

/// For tests: the frame, in which a piece stands as a chunk of its own.
#[cfg(test)]
impl Cut<'_> {
    pub(crate) fn into_frame(self) -> Frame {
        match self {
            Self::Whole { header, body } => Frame::parse(header, body).unwrap(),
            Self::Piece {
                id,
                bytes,
                more,
                callee,
            } => Frame::Chunk {
                id,
                payload: bytes::Bytes::copy_from_slice(bytes),
                more,
                callee,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn after_magic(bytes: &[u8]) -> Vec<u8> {
        [&MAGIC, bytes].concat()
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_come_in() {
        let mut wire = Vec::from(&MAGIC[..]);
        Frame::Ping(7).put(&mut wire);
        Frame::Cancel { id: 3 }.put(&mut wire);
        let mut decoder = Decoder::new();
        let mut buffer = Vec::new();
        let mut frames = Vec::new();
        for byte in wire {
            buffer.push(byte);
            let mut input = &buffer[..];
            while let Some(cut) = decoder.next(&mut input).unwrap() {
                frames.push(cut.into_frame());
            }
            buffer = input.to_vec();
        }
        assert_eq!(frames, [Frame::Ping(7), Frame::Cancel { id: 3 }]);
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_chunk_comes_out_as_it_comes_in() {
        let chunk = Frame::Chunk {
            id: 1,
            payload: Bytes::from_static(b"abc"),
            more: false,
            callee: true,
        };
        let mut wire = Vec::from(&MAGIC[..]);
        chunk.put(&mut wire);
        let mut decoder = Decoder::new();
        let at = wire.len() - 1;
        let (mut early, mut late) = wire.split_at(at);
        let piece = |bytes, more| {
            Some(Cut::Piece {
                id: 1,
                bytes,
                more,
                callee: true,
            })
        };
        assert_eq!(decoder.next(&mut early), Ok(piece(&b"ab"[..], true)));
        assert_eq!(decoder.next(&mut early), Ok(None));
        assert_eq!(decoder.next(&mut late), Ok(piece(&b"c"[..], false)));
        assert!(late.is_empty());
    }

    #[test]
    fn a_peek_sees_a_plain_frame_and_nothing_else() {
        let bytes = |kind, flags| {
            let header = Header {
                length: 3,
                kind,
                flags,
                id: 7,
            };
            [&header.to_bytes()[..], b"abcdef"].concat()
        };
        let plain = bytes(kind::REQUEST, 0);
        let mut decoder = Decoder::new();
        let seen = |decoder: &Decoder, bytes: &[u8]| {
            let (frame, behind) = decoder.peek(kind::REQUEST, bytes)?;
            assert_eq!(
                (frame.id, frame.body, behind),
                (7, &b"abc"[..], &b"def"[..])
            );
            Some(())
        };
        assert!(seen(&decoder, &plain).is_none(), "before the magic");
        assert_eq!(decoder.next(&mut &MAGIC[..]), Ok(None));
        assert!(seen(&decoder, &plain).is_some());
        let other = [bytes(kind::RESPONSE, 0), bytes(kind::REQUEST, flag::MORE)];
        let mut reserved = plain.clone();
        reserved[7] = 1;
        let mut long = plain.clone();
        long[3] = 1;
        for bytes in other.iter().chain([&reserved, &long]) {
            assert!(seen(&decoder, bytes).is_none(), "{bytes:?}");
        }
        for length in 0..Header::LEN + 3 {
            assert!(seen(&decoder, &plain[..length]).is_none(), "{length}");
        }
        assert_eq!(
            decoder.next(&mut &bytes(kind::CHUNK, 0)[..17]).unwrap(),
            Some(Cut::Piece {
                id: 7,
                bytes: b"a",
                more: true,
                callee: false,
            })
        );
        assert!(seen(&decoder, &plain).is_none(), "within a chunk");
    }

    #[test]
    fn another_protocol_is_named_by_what_it_said() {
        let mut input = &b"HTTP/1.1 400 Bad Request\r\n"[..];
        let error = Decoder::new().next(&mut input).unwrap_err();
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
        let buffer = after_magic(&header.to_bytes());
        let mut decoder = Decoder::new();
        decoder.accept();
        assert_eq!(
            decoder.next(&mut &buffer[..]),
            Err(Malformed::TooLong {
                length: u32::MAX,
                limit: BODY_MAX
            })
        );
    }

    #[test]
    fn before_the_handshake_frames_are_small() {
        let header = Header {
            length: 4097,
            kind: kind::HELLO,
            flags: 0,
            id: 0,
        };
        let error = Decoder::new()
            .next(&mut &after_magic(&header.to_bytes())[..])
            .unwrap_err();
        assert_eq!(
            error,
            Malformed::TooLong {
                length: 4097,
                limit: PREAMBLE_MAX
            }
        );
    }
}
