//! How a client is received: what it is told in the handshake, and whether there is room for it.

use std::sync::Arc;

use super::Router;
use super::connections::{Connections, Membership, Origin, Seat};
#[cfg(target_os = "linux")]
use crate::cancellation::Cancellation;
use crate::driver::Link;
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
    /// Counts a client in. Who may not come, or comes when there is no room, is told so.
    pub(super) fn admit(self: &Arc<Self>, conduit: Conduit) -> Option<Guest> {
        let origin = Origin::of(&conduit.peer);
        let refusal = if let Some(text) = conduit.refusal {
            tracing::info!(client = %conduit.peer, "refused: {text}");
            Some((Code::Denied, text))
        } else if self.connections.len() >= self.connections_max {
            Some((Code::Overloaded, FULL))
        } else if self.connections.from(&origin) >= self.connections_per_peer_max {
            Some((Code::Overloaded, FULL_FOR_ONE))
        } else {
            None
        };
        let guest = Guest {
            conduit,
            membership: self.connections.enter(origin),
            reception: Arc::clone(self),
        };
        match refusal {
            None => Some(guest),
            Some((code, text)) => {
                guest.refuse(code, text);
                None
            }
        }
    }
}

const FULL: &str = "the server has all the connections that it allows";
const FULL_FOR_ONE: &str = "the server has all the connections that it allows to one peer";

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
        self.open(opening)
    }

    /// Tells it why it is not served. None of the calls that it sent runs.
    pub(super) fn refuse(self, code: Code, text: &'static str) {
        let mut opening = Arc::clone(&self.reception.opening);
        Arc::make_mut(&mut opening).refuse = Some((code, text));
        tokio::spawn(self.open(opening).1);
    }

    /// How it is connected.
    #[cfg(target_os = "linux")]
    pub(super) fn conduit(&self) -> &Conduit {
        &self.conduit
    }

    /// The client is about to be served by another process. What is returned fires when that is to
    /// end.
    #[cfg(target_os = "linux")]
    pub(super) fn elsewhere(&mut self) -> Cancellation {
        self.membership.elsewhere()
    }

    /// Another process has the connection; here it is only counted from now on.
    #[cfg(target_os = "linux")]
    pub(super) fn leave(self) -> Membership {
        self.membership
    }

    fn open(self, opening: Arc<Opening>) -> (Link, Seat) {
        let Reception { limits, router, .. } = &*self.reception;
        let handler = Arc::clone(router) as _;
        let (link, driver) = Link::server(self.conduit, Arc::clone(limits), opening, handler);
        let seat = self.membership.seat(link.clone(), driver);
        (link, seat)
    }
}
