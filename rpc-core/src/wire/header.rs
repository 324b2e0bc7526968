//! The sixteen bytes before every body.

use super::Malformed;

/// The kinds of frames. The numbers are the wire's.
pub(crate) mod kind {
    pub(crate) const HELLO: u8 = 0x01;
    pub(crate) const ANSWER: u8 = 0x02;
    pub(crate) const READY: u8 = 0x03;
    pub(crate) const REQUEST: u8 = 0x10;
    pub(crate) const RESPONSE: u8 = 0x11;
    pub(crate) const CHUNK: u8 = 0x12;
    pub(crate) const CANCEL: u8 = 0x13;
    pub(crate) const ITEM: u8 = 0x14;
    pub(crate) const END: u8 = 0x15;
    pub(crate) const CREDIT: u8 = 0x16;
    pub(crate) const PING: u8 = 0x20;
    pub(crate) const PONG: u8 = 0x21;
    pub(crate) const GO_AWAY: u8 = 0x22;
}

/// The flags of frames; which kind may bear which, PROTOCOL.md says.
pub(crate) mod flag {
    /// The message goes on in [`CHUNK`](super::kind::CHUNK) frames of the same call.
    pub(crate) const MORE: u8 = 0x01;
    /// A metadata block stands before the payload.
    pub(crate) const METADATA: u8 = 0x02;
    /// The request is followed by a stream of items.
    pub(crate) const STREAM: u8 = 0x04;
    /// The sender is the callee of the call; without it, its caller.
    pub(crate) const CALLEE: u8 = 0x80;
}

/// What stands before every body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of the body.
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    /// The call, numbered by its caller from 1; 0 where the frame concerns the connection.
    pub(crate) id: u64,
}

impl Header {
    pub(crate) const LEN: usize = 16;

    /// Reads a header.
    #[inline]
    pub(crate) fn parse(bytes: &[u8; Self::LEN]) -> Result<Self, Malformed> {
        let [l0, l1, l2, l3, kind, flags, r0, r1, id @ ..] = *bytes;
        if (r0, r1) != (0, 0) {
            return Err(Malformed::Body {
                kind,
                what: "the reserved field is not zero",
            });
        }
        Ok(Self {
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            kind,
            flags,
            id: u64::from_le_bytes(id),
        })
    }

    /// Reads a header that says nothing but a length and a call, the parts that differ from one small
    /// frame of a kind to the next; `None` if it says more, or another kind.
    #[inline]
    pub(crate) fn parse_plain(bytes: &[u8; Self::LEN], kind: u8) -> Option<(usize, u64)> {
        let [l0, l1, l2, l3, rest @ ..] = *bytes;
        let [k0, k1, k2, k3, id @ ..] = rest;
        // The kind, the flags and the reserved field at once.
        let is_plain = u32::from_le_bytes([k0, k1, k2, k3]) == u32::from(kind);
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        is_plain.then_some((length, u64::from_le_bytes(id)))
    }

    /// Whether a frame of this kind may bear these flags and this call.
    #[inline]
    pub(crate) fn check(self) -> Result<(), Malformed> {
        let Self {
            kind, flags, id, ..
        } = self;
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
        Ok(())
    }

    /// The header as it stands on the wire.
    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        let [i0, i1, i2, i3, i4, i5, i6, i7] = self.id.to_le_bytes();
        [
            l0, l1, l2, l3, self.kind, self.flags, 0, 0, i0, i1, i2, i3, i4, i5, i6, i7,
        ]
    }
}
