//! What is compared. Each peer is a module that serves two methods, `add` and `echo`, and connects
//! to such a server; what is measured with them is not its business.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::mode::Mode;

#[cfg(test)]
mod check;

pub(crate) mod capnp;
pub(crate) mod ceiling;
pub(crate) mod ours;
pub(crate) mod raw;
pub(crate) mod tarpc;
pub(crate) mod tonic;
pub(crate) mod ttrpc;

/// Where a server listens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Place {
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// TCP; port 0 takes a free one.
    Tcp(SocketAddr),
}

/// A connected client; clones share the connection.
///
/// A call that fails panics: there is nothing to measure then.
pub(crate) trait Caller: Clone + Send + Sync + 'static {
    /// The sum of two numbers.
    fn add(&self, a: i64, b: i64) -> impl Future<Output = i64> + Send;

    /// The same bytes again.
    fn echo(&self, payload: Vec<u8>) -> impl Future<Output = Vec<u8>> + Send;
}

/// One of the peers, by the name it has on the command line.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Peer {
    /// This framework.
    Ours,
    /// A protocol written by hand, without codec and handlers, with a future for each call: the
    /// practical limit of whoever offers an `async fn`.
    Ceiling,
    /// The same protocol without tasks and futures: the limit of whoever offers none.
    Window,
    /// tokio alone: one message of fixed size forth and back.
    Raw,
    /// tarpc 0.38 over its own serde transport with bincode.
    Tarpc,
    /// tonic 0.14: gRPC over HTTP/2.
    Tonic,
    /// capnp-rpc 0.27: Cap'n Proto.
    Capnp,
    /// ttrpc 0.10: protobuf without HTTP/2, as containerd has it.
    Ttrpc,
}

impl Peer {
    /// All of them, in the order of the table.
    pub(crate) const ALL: &[Self] = &[
        Self::Ours,
        Self::Ceiling,
        Self::Window,
        Self::Raw,
        Self::Tarpc,
        Self::Tonic,
        Self::Capnp,
        Self::Ttrpc,
    ];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Ceiling => "ceiling",
            Self::Window => "window",
            Self::Raw => "raw",
            Self::Tarpc => "tarpc",
            Self::Tonic => "tonic",
            Self::Capnp => "capnp",
            Self::Ttrpc => "ttrpc",
        }
    }

    /// Whether it is a framework that somebody could use instead.
    pub(crate) fn is_rival(self) -> bool {
        !matches!(self, Self::Ours | Self::Ceiling | Self::Window | Self::Raw)
    }

    /// Whether it can be measured so.
    pub(crate) fn runs_in(self, mode: Mode) -> bool {
        match mode {
            Mode::One | Mode::TwoCt => true,
            // It is tied to one thread.
            Mode::TwoMt => self != Self::Capnp,
        }
    }
}

/// Runs an expression with the module that `$peer` names as `$module`. Those that take no callers
/// are dealt with before.
macro_rules! with_callers {
    ($peer:expr, $module:ident => $body:expr) => {
        match $peer {
            $crate::peers::Peer::Ours => {
                use $crate::peers::ours as $module;
                $body
            }
            $crate::peers::Peer::Ceiling => {
                use $crate::peers::ceiling::calls as $module;
                $body
            }
            $crate::peers::Peer::Tarpc => {
                use $crate::peers::tarpc as $module;
                $body
            }
            $crate::peers::Peer::Tonic => {
                use $crate::peers::tonic as $module;
                $body
            }
            $crate::peers::Peer::Capnp => {
                use $crate::peers::capnp as $module;
                $body
            }
            $crate::peers::Peer::Ttrpc => {
                use $crate::peers::ttrpc as $module;
                $body
            }
            peer @ ($crate::peers::Peer::Window | $crate::peers::Peer::Raw) => {
                unreachable!("{} takes no callers", peer.name())
            }
        }
    };
}

pub(crate) use with_callers;
