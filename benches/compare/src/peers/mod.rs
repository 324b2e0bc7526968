//! What is compared. Each peer is a module that serves two methods, `add` and `echo`, and connects
//! to such a server; what is measured with them is not its business.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) mod ceiling;
pub(crate) mod ours;
pub(crate) mod raw;
pub(crate) mod tarpc;

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
    /// A hand-written pipelined protocol without codec and handlers: the practical limit.
    Ceiling,
    /// tokio alone: one message of fixed size forth and back.
    Raw,
    /// tarpc 0.38 over its own serde transport with bincode.
    Tarpc,
}

impl Peer {
    /// All of them, in the order of the table.
    pub(crate) const ALL: &[Self] = &[Self::Ours, Self::Ceiling, Self::Raw, Self::Tarpc];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Ceiling => "ceiling",
            Self::Raw => "raw",
            Self::Tarpc => "tarpc",
        }
    }

    /// Whether it is a framework that somebody could use instead.
    pub(crate) fn is_rival(self) -> bool {
        !matches!(self, Self::Ours | Self::Ceiling | Self::Raw)
    }
}

/// Runs an expression with the module of the framework that `$peer` names as `$module`. The
/// references, which are no frameworks, are dealt with before.
macro_rules! with_framework {
    ($peer:expr, $module:ident => $body:expr) => {
        match $peer {
            $crate::peers::Peer::Ours => {
                use $crate::peers::ours as $module;
                $body
            }
            $crate::peers::Peer::Tarpc => {
                use $crate::peers::tarpc as $module;
                $body
            }
            peer @ ($crate::peers::Peer::Ceiling | $crate::peers::Peer::Raw) => {
                unreachable!("{} is a reference", peer.name())
            }
        }
    };
}

pub(crate) use with_framework;
