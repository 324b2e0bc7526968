//! The three legs: hello, answer, ready.

use std::time::Instant;

use bytes::Bytes;

use crate::error::Code;
use crate::limits::Limits;
use crate::wire::{Answer, Codecs, Hello, Parameters, VERSIONS};

/// Where the handshake stands.
///
/// ```text
///   client   AwaitAnswer --answer--> Established      (ready leaves with the next write, or in 1 s)
///   server   AwaitHello --hello--> AwaitReady --ready--> Established
/// ```
///
/// A server runs calls from `AwaitReady` on, because the client may send them right behind its
/// hello; it makes calls of its own only once it knows that the client heard the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    AwaitAnswer { until: Instant },
    AwaitHello { until: Instant },
    AwaitReady { until: Instant },
    Established,
}

impl Handshake {
    pub(super) fn until(&self) -> Option<Instant> {
        match *self {
            Self::AwaitAnswer { until }
            | Self::AwaitHello { until }
            | Self::AwaitReady { until } => Some(until),
            Self::Established => None,
        }
    }
}

/// What a side brings to the handshake besides its limits.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    /// Codecs in order of preference (client), or those it can use (server).
    pub(crate) codecs: Codecs,
    /// Client: the instance that must answer. Early calls wait for the answer then.
    pub(crate) expected: Option<[u8; 16]>,
    /// Client: opaque credentials. Early calls wait for the answer then.
    pub(crate) credentials: Bytes,
    /// Server: who it is.
    pub(crate) instance: [u8; 16],
    /// Server: refuse whoever comes, and say why.
    pub(crate) refuse: Option<(Code, &'static str)>,
}

impl Opening {
    /// These codecs, and nothing else.
    pub(crate) fn offering(codecs: Codecs) -> Self {
        Self {
            codecs,
            expected: None,
            credentials: Bytes::new(),
            instance: [0; 16],
            refuse: None,
        }
    }
}

/// What both sides agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) codec: u8,
    /// What the peer accepts.
    pub(crate) peer: Parameters,
    /// Which process the peer is; zeros for a client.
    pub(crate) instance: [u8; 16],
}

/// The codec that every server can use, and early calls therefore may.
pub(super) const MANDATORY_CODEC: u8 = 1;

/// What this side accepts from its peer.
pub(super) fn parameters(limits: &Limits) -> Parameters {
    let message = limits.message.min(Limits::MESSAGE_MAX);
    Parameters {
        message: u32::try_from(message).unwrap_or(u32::MAX),
        calls: limits.calls,
        connection_window: limits.connection_window,
        stream_window: limits.stream_window,
    }
}

/// What a server makes of a hello: the answer it sends, and the terms if it accepts.
pub(super) fn answer(
    hello: &Hello,
    opening: &Opening,
    ours: Parameters,
) -> (Answer, Option<Terms>) {
    let refuse = |code: Code, text: String| {
        (
            Answer::Refused {
                code: code.to_wire(),
                versions: VERSIONS,
                text,
            },
            None,
        )
    };
    if let Some((code, text)) = opening.refuse {
        return refuse(code, text.to_owned());
    }
    let version = hello.versions.1.min(VERSIONS.1);
    if version < hello.versions.0 || version < VERSIONS.0 {
        let (low, high) = hello.versions;
        let text = format!(
            "this server speaks protocol versions {} to {}, the client {low} to {high}",
            VERSIONS.0, VERSIONS.1
        );
        return refuse(Code::Version, text);
    }
    if hello
        .expected
        .is_some_and(|expected| expected != opening.instance)
    {
        let text = "the instance you look for is not at this address any more".to_owned();
        return refuse(Code::Unauthenticated, text);
    }
    let Some(codec) = hello
        .codecs
        .iter()
        .find(|&codec| opening.codecs.contains(codec))
    else {
        let text = format!(
            "no common codec: this server has {:?}, the client offers {:?}",
            opening.codecs, hello.codecs
        );
        return refuse(Code::Version, text);
    };
    let answer = Answer::Accepted {
        version,
        codec: *codec,
        parameters: ours,
        instance: opening.instance,
    };
    (
        answer,
        Some(Terms {
            codec: *codec,
            peer: hello.parameters,
            instance: [0; 16],
        }),
    )
}
