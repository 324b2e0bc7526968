//! How a client is received: what it is told in the handshake, and whether there is room for it.

use std::sync::Arc;

use super::Router;
use super::connections::{Connections, Membership, Origin, Seat};
#[cfg(all(target_os = "linux", feature = "patterns"))]
use crate::cancellation::Cancellation;
use crate::driver::{Link, spawn};
use crate::error::Code;
use crate::limits::Limits;
use crate::proto::Opening;
use crate::transport::Conduit;

/// What every connection of a server has in common.
pub(super) struct Reception {
    pub(super) limits: Arc<Limits>,
    pub(super) opening: Arc<Opening>,
    pub(super) connections_max: usize,
    pub(super) connections_per_peer_max: usize,
    pub(super) router: Arc<Router>,
    pub(super) connections: Arc<Connections>,
}

impl Reception {
    /// Why there is no room for one more of this origin, if there is none.
    pub(super) fn full(&self, origin: &Origin) -> Option<Full> {
        if self.connections.len() >= self.connections_max {
            Some(Full::All)
        } else if self.connections.from(origin) >= self.connections_per_peer_max {
            Some(Full::Peer)
        } else {
            None
        }
    }

    /// Counts a client in. Who may not come, or comes when there is no room, is told so.
    pub(super) fn admit(self: &Arc<Self>, conduit: Conduit) -> Option<Guest> {
        match self.count_in(conduit)? {
            (guest, None) => Some(guest),
            (guest, Some(full)) => {
                guest.refuse(Code::Overloaded, full.text());
                None
            }
        }
    }

    /// Counts a client in, and says why there was no room for it, if there was none. Who may not
    /// come is told so.
    pub(super) fn count_in(self: &Arc<Self>, conduit: Conduit) -> Option<(Guest, Option<Full>)> {
        let origin = Origin::of(&conduit.peer);
        let full = self.full(&origin);
        let denial = conduit.refusal;
        let guest = Guest {
            conduit,
            membership: self.connections.enter(origin),
            reception: Arc::clone(self),
        };
        match denial {
            None => Some((guest, full)),
            Some(text) => {
                #[cfg(feature = "tracing")]
                tracing::info!(client = %guest.conduit.peer, "refused: {text}");
                guest.refuse(Code::Denied, text);
                None
            }
        }
    }
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "patterns", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Full {
    /// For anybody.
    All,
    /// For one peer more of this origin.
    Peer,
}

impl Full {
    /// What the client is told.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::All => "the server has all the connections that it allows",
            Self::Peer => "the server has all the connections that it allows to one peer",
        }
    }

    /// As a number, for another process of this program.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn to_wire(self) -> u64 {
        match self {
            Self::All => 0,
            Self::Peer => 1,
        }
    }

    /// What another process of this program meant.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn from_wire(number: u64) -> Self {
        match number {
            1 => Self::Peer,
            _ => Self::All,
        }
    }
}

/// A client that was let in and has not been spoken to.
pub(super) struct Guest {
    conduit: Conduit,
    membership: Membership,
    reception: Arc<Reception>,
}

impl Guest {
    /// Its connection, for a task of its own, and a handle to it.
    pub(super) fn serve(self) -> (Link, Seat) {
        let opening = Arc::clone(&self.reception.opening);
        self.open(opening, None)
    }

    /// As [`serve`](Self::serve), for a connection that another process has numbered.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn serve_as(self, number: u64) -> (Link, Seat) {
        let opening = Arc::clone(&self.reception.opening);
        self.open(opening, Some(number))
    }

    /// Tells it why it is not served. None of the calls that it sent runs.
    pub(super) fn refuse(self, code: Code, text: &'static str) {
        let mut opening = Arc::clone(&self.reception.opening);
        Arc::make_mut(&mut opening).refuse = Some((code, text));
        spawn(self.open(opening, None).1);
    }

    /// How it is connected.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn conduit(&self) -> &Conduit {
        &self.conduit
    }

    /// The client is about to be served by another process. What is returned fires when that is to
    /// end.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn elsewhere(&mut self) -> Cancellation {
        self.membership.elsewhere()
    }

    /// Another process has the connection; here it is only counted from now on.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn leave(self) -> Membership {
        self.membership
    }

    fn open(self, opening: Arc<Opening>, number: Option<u64>) -> (Link, Seat) {
        let Reception { limits, router, .. } = &*self.reception;
        let (limits, handler) = (Arc::clone(limits), Arc::clone(router) as _);
        let (link, driver) = match number {
            None => Link::server(self.conduit, limits, opening, handler),
            Some(id) => Link::server_with_id(id, self.conduit, limits, opening, handler),
        };
        let seat = self.membership.seat(link.clone(), driver);
        (link, seat)
    }
}
