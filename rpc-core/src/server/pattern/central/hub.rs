//! The main server's end of the trunks: runs the calls that the subservers hand on, each under the
//! context of the client that made it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Instant;

use crate::driver::{Gauge, Handler, Link, Session, Started};
use crate::error::{Code, Error, Executed};
#[cfg(feature = "udp")]
use crate::proto::datagram::Memory;
use crate::proto::{Incoming, Terms};
use crate::server::Router;
use crate::server::connections::Membership;
use crate::server::dispatch::Dispatch;
use crate::transport::Peer;

/// The clients of one subserver, as the main server knows them.
pub(super) struct Clients(Mutex<HashMap<u64, Client>>);

struct Client {
    link: Link,
    /// It counts among the server's connections.
    _membership: Membership,
}

impl Clients {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// A client came to the subserver at the other end of `trunk`, or is on its way there; its
    /// number.
    pub(super) fn enter(&self, trunk: Link, peer: Peer, membership: Membership) -> u64 {
        let link = Link::beyond(trunk, peer);
        let number = link.id();
        let client = Client {
            link,
            _membership: membership,
        };
        self.lock().insert(number, client);
        number
    }

    /// It has gone.
    pub(super) fn leave(&self, client: u64) {
        let left = self.lock().remove(&client);
        if let Some(left) = left {
            left.link.end();
        }
    }

    /// The subserver has gone, and all with it.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.lock());
        for client in all.into_values() {
            client.link.end();
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn find(&self, client: u64) -> Option<Link> {
        self.lock().get(&client).map(|client| client.link.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what comes over the trunk of one subserver.
pub(super) struct Hub {
    /// The services. All trunks have the same.
    pub(super) router: Arc<Router>,
    /// What the subserver itself asks for.
    pub(super) office: Arc<Router>,
    pub(super) clients: Arc<Clients>,
}

impl Handler for Hub {
    fn session(self: Arc<Self>, link: Link) -> Box<dyn Session> {
        Box::new(Desk {
            calls: Dispatch::new(Arc::clone(&self.router), link.clone()),
            office: Dispatch::new(Arc::clone(&self.office), link),
            hub: self,
            caller: None,
        })
    }

    fn gauge(&self) -> &Gauge {
        self.router.gauge()
    }

    #[cfg(feature = "udp")]
    fn memory(&self) -> &Memory {
        self.router.memory()
    }
}

/// Sorts what comes over the trunk.
struct Desk {
    hub: Arc<Hub>,
    calls: Dispatch,
    office: Dispatch,
    /// Whose call came last.
    caller: Option<u64>,
}

impl Desk {
    /// The call is one of the client's whose number stands in the place of the fingerprint.
    fn look_up(&mut self, call: &mut Incoming<'_>) -> Result<(), Error> {
        let client = call.head.fingerprint;
        if self.caller != Some(client) {
            let link = self.hub.clients.find(client).ok_or_else(|| {
                // It was handed on before its client was seen to leave.
                Error::new(Code::Cancelled, "the client has gone")
            })?;
            self.calls.serve(link);
            self.caller = Some(client);
        }
        // Both sides have the same shapes: the subserver would not have begun otherwise, and it has
        // compared them with the client's.
        if let Some(fingerprint) = self.hub.router.fingerprint(call.head.method) {
            call.head.fingerprint = fingerprint;
        }
        Ok(())
    }
}

impl Session for Desk {
    fn start(
        &mut self,
        call: &mut Incoming<'_>,
        terms: &Terms,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Started<'_> {
        if self.hub.office.fingerprint(call.head.method).is_some() {
            return self.office.start(call, terms, now, cx);
        }
        match self.look_up(call) {
            Ok(()) => self.calls.start(call, terms, now, cx),
            Err(error) => Started::Answered(error.with_executed(Executed::No).into()),
        }
    }

    fn rest(&mut self) {
        self.calls.rest();
        self.office.rest();
        // The number of a client that leaves must not stand for its link any more.
        self.caller = None;
    }
}
