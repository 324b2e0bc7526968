//! Bytes to frames and back. Pure: no clock, no socket, no state of a connection.
//!
//! PROTOCOL.md specifies every byte, and its vectors are this module's tests.
//!
//! ```text
//!  0        4      5       6          8           16
//!  +--------+------+-------+----------+-----------+----------------
//!  | length | kind | flags | reserved | call id   | body, `length` bytes
//!  +--------+------+-------+----------+-----------+----------------
//! ```
//!
//! Nothing here trusts a length that a peer declared: [`decoder`] looks at a header before it waits
//! for the body, refuses one that is over the limit, and never reserves memory on its behalf.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

#[cfg(feature = "udp")]
pub(crate) mod datagram;
pub(crate) mod decoder;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod header;
#[cfg(feature = "discovery")]
pub(crate) mod lan;
pub(crate) mod metadata;
mod payload;
mod reader;
pub(crate) mod reply;
mod text;

#[cfg(test)]
mod vectors;

pub(crate) use decoder::{Cut, Decoder};
pub(crate) use frame::{Frame, RequestHead, put_outcome, put_request, put_response};
/// Bytes before the body of every frame.
pub(crate) const HEADER_LEN: usize = Header::LEN;

pub(crate) use handshake::{Answer, Codecs, Hello, Parameters};
pub(crate) use header::{Header, flag, kind};
pub use metadata::Metadata;
pub use payload::Payload;
pub(crate) use reader::Reader;
pub(crate) use reply::Outcome;
pub use reply::Reply;

use std::fmt;

/// The protocol version that this crate speaks, lowest and highest.
pub(crate) const VERSIONS: (u16, u16) = (1, 1);

/// What a connection begins with, in both directions. The first byte occurs in no UTF-8 text, so a
/// peer that speaks a text protocol is recognised at once; the line ends and the control character
/// reveal a channel that rewrites bytes.
pub(crate) const MAGIC: [u8; 8] = [0xf8, b'R', b'P', b'C', b'\r', b'\n', 0x1a, b'\n'];

/// The longest body of a frame: 64 KiB, so that no frame delays another for long.
pub(crate) const BODY_MAX: usize = 64 * 1024;

/// The longest body of a handshake frame, and all that a peer may send before it is accepted: 4 KiB.
pub(crate) const PREAMBLE_MAX: usize = 4 * 1024;

/// How the peer's bytes broke the format. The connection cannot be continued after any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The first bytes are not [`MAGIC`].
    Magic { got: Vec<u8> },
    /// A header declares a body over the limit.
    TooLong { length: u32, limit: usize },
    /// No frame has this kind.
    Kind(u8),
    /// Flags that this kind does not have, or a reserved field that is not zero.
    Flags { kind: u8, flags: u8 },
    /// A call number of 0 where the kind concerns a call, or another where it does not.
    CallId { kind: u8, id: u64 },
    /// A body ends before its last field, or goes on after it.
    Body { kind: u8, what: &'static str },
}

impl Malformed {
    /// Whether the peer began as TLS does: with a record, of its handshake or an alert.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Magic { got } if matches!(got[..], [0x15 | 0x16, 0x03, ..]))
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic { .. } if self.is_tls() => {
                f.write_str("the peer speaks TLS, and this side clear text")
            }
            Self::Magic { got } => {
                write!(f, "the peer does not speak this protocol: it began with \"")?;
                fmt::Display::fmt(&got.escape_ascii(), f)?;
                f.write_str("\"")
            }
            Self::TooLong { length, limit } => {
                write!(f, "a frame declares {length} bytes, the limit is {limit}")
            }
            Self::Kind(kind) => write!(f, "unknown frame kind {kind:#04x}"),
            Self::Flags { kind, flags } => {
                write!(f, "frame kind {kind:#04x} with unknown flags {flags:#04x}")
            }
            Self::CallId { kind, id } => {
                write!(f, "frame kind {kind:#04x} cannot have the call number {id}")
            }
            Self::Body { kind, what } => write!(f, "frame kind {kind:#04x}: {what}"),
        }
    }
}

impl std::error::Error for Malformed {}
