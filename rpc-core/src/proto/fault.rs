//! Why a connection ended, sorted by who is responsible.

use std::time::Duration;

use crate::error::{Code, Error};
use crate::wire::{Malformed, VERSIONS};

/// The end of a connection. Every variant has its own [`Code`], so that the calls that die with the
/// connection say what really happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The peer's bytes are not frames.
    Malformed(Malformed),
    /// The peer's frames are not allowed where they came.
    Violation(&'static str),
    /// The peer refused the handshake.
    Refused {
        code: u8,
        versions: (u16, u16),
        text: String,
    },
    /// We refused the peer's handshake.
    RefusedByUs(Code, String),
    /// The peer gave the connection up and said why.
    Dismissed { code: u8, text: String },
    /// Another instance answered than the one that discovery named.
    WrongInstance,
    /// The handshake took too long.
    HandshakeTimeout(Duration),
    /// The peer answered no ping.
    Silent(Duration),
    /// The peer took no bytes.
    Stalled(Duration),
    /// The peer, or the system on its behalf, closed the connection.
    Eof,
    /// The operating system, or the transport, reported an error.
    Io(Error),
    /// Nobody receives datagrams where ours were sent.
    Absent,
    /// The server does not know us any more: it was started anew, or has forgotten.
    Forgotten,
    /// This side closed the connection.
    Closed,
}

impl Fault {
    /// The code and the text that the peer is told in a go-away, where telling makes sense.
    pub(in crate::proto) fn verdict(&self) -> Option<(Code, String)> {
        match self {
            Self::Malformed(malformed) => Some((Code::Protocol, malformed.to_string())),
            Self::Violation(what) => Some((Code::Protocol, (*what).to_owned())),
            Self::HandshakeTimeout(limit) => {
                Some((Code::Protocol, format!("no handshake within {limit:?}")))
            }
            Self::Silent(limit) => Some((Code::Disconnected, format!("no pong within {limit:?}"))),
            _ => None,
        }
    }

    /// The failure of a call that ends with the connection.
    pub(crate) fn to_error(&self) -> Error {
        match self {
            Self::Malformed(malformed) if malformed.is_tls() => {
                Error::new(Code::Tls, malformed.to_string())
                    .with_hint("connect to it with tls:// instead")
            }
            Self::Malformed(malformed) => Error::new(Code::Protocol, malformed.to_string())
                .with_hint("check that the address belongs to a server of this framework"),
            Self::Violation(what) => Error::new(
                Code::Protocol,
                format!("the peer broke the protocol: {what}"),
            ),
            Self::Refused {
                code,
                versions,
                text,
            } => {
                let error = Error::new(Code::from_wire(*code), format!("the peer refused: {text}"));
                if Code::from_wire(*code) == Code::Version {
                    error.with_hint(format!(
                        "this side speaks protocol versions {} to {}, the peer {} to {}: upgrade \
                         the older one",
                        VERSIONS.0, VERSIONS.1, versions.0, versions.1
                    ))
                } else {
                    error
                }
            }
            Self::RefusedByUs(code, text) => Error::new(*code, text.clone()),
            Self::Dismissed { code, text } => Error::new(
                Code::from_wire(*code),
                format!("the peer ended the connection: {text}"),
            ),
            Self::WrongInstance => Error::new(
                Code::Unauthenticated,
                "another process answered than the one that was registered here",
            ),
            Self::HandshakeTimeout(limit) => Error::new(
                Code::Unreachable,
                format!("no answer to the handshake in {limit:?}"),
            )
            .with_hint("check that the address belongs to a server of this framework"),
            Self::Silent(limit) => Error::new(
                Code::Disconnected,
                format!("the peer answered no ping for {limit:?}"),
            ),
            Self::Stalled(limit) => Error::new(
                Code::Disconnected,
                format!("the peer took no bytes for {limit:?}"),
            ),
            Self::Eof => Error::new(Code::Disconnected, "the peer closed the connection"),
            Self::Io(error) => error.clone(),
            Self::Absent => Error::new(Code::Refused, "nothing listens there")
                .with_hint("start the service, or check host and port"),
            Self::Forgotten => Error::new(
                Code::Disconnected,
                "the server does not know this client any more: it was restarted, or has forgotten",
            ),
            Self::Closed => Error::new(Code::Disconnected, "this side closed the connection"),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
