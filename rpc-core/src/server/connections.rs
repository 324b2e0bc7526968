//! The open connections of a server.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::Notify;

use super::Router;
use crate::cancellation::Cancellation;
use crate::driver::{Driver, Link};
use crate::error::Code;
use crate::transport::Peer;

/// Knows every connection from its acceptance until its driver is gone.
pub(super) struct Connections {
    open: Mutex<Open>,
    emptied: Notify,
    /// Connections whose client may not have said hello. One more ends the oldest of them: an honest
    /// hello takes one way through the network, so the oldest is the least likely to be one.
    handshaking_max: usize,
    /// Fires when the server begins to stop, for those who wait to be served.
    leaving: Cancellation,
    /// Fires when it stops at once.
    closed: Cancellation,
    router: Arc<Router>,
}

#[derive(Default)]
struct Open {
    /// Connections that were entered and not left.
    members: usize,
    /// Those that are served.
    links: HashMap<u64, Link>,
    per_origin: HashMap<Origin, usize>,
    /// Connections whose client has not said hello, the oldest first. `ready` is not waited for: an
    /// honest client may take a second for it, in which many others come.
    silent: BTreeSet<u64>,
    /// No more connections are taken in.
    draining: bool,
}

/// Whose connections are counted together: those of a user of this machine, or of a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    User(u32),
    Host(IpAddr),
    /// A transport that tells nobody apart.
    Unknown,
}

impl Origin {
    pub(super) fn of(peer: &Peer) -> Self {
        if let Some(uid) = peer.uid() {
            return Self::User(uid);
        }
        peer.ip().map_or(Self::Unknown, Self::Host)
    }
}

impl Connections {
    pub(super) fn new(router: Arc<Router>, handshaking_max: usize) -> Self {
        Self {
            open: Mutex::default(),
            emptied: Notify::new(),
            handshaking_max,
            leaving: Cancellation::new(),
            closed: Cancellation::new(),
            router,
        }
    }

    /// Counts a connection in, until what is returned is gone.
    pub(super) fn enter(self: &Arc<Self>, origin: Origin) -> Membership {
        let mut open = self.lock();
        open.members += 1;
        *open.per_origin.entry(origin.clone()).or_default() += 1;
        drop(open);
        Membership {
            connections: Arc::clone(self),
            origin,
        }
    }

    /// Tells every client the last call that will run.
    pub(super) fn drain(&self) {
        self.leaving.cancel();
        let mut open = self.lock();
        open.draining = true;
        for link in open.links.values() {
            link.go_away(Code::Draining, SHUTTING_DOWN);
        }
    }

    /// Ends every connection at once.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.leaving.cancel();
        let mut open = self.lock();
        open.draining = true;
        for link in open.links.values() {
            link.close();
        }
    }

    /// Fires when the server begins to stop, in order or at once.
    pub(super) fn leaving(&self) -> &Cancellation {
        &self.leaving
    }

    /// Fires when the server stops at once.
    pub(super) fn closed(&self) -> &Cancellation {
        &self.closed
    }

    /// Waits until none is open. Cancel safe.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.lock().members
    }

    /// Connections of one origin.
    pub(super) fn from(&self, origin: &Origin) -> usize {
        self.lock().per_origin.get(origin).copied().unwrap_or(0)
    }

    pub(super) fn calls(&self) -> usize {
        self.router.calls()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What clients are told while the server stops.
pub(super) const SHUTTING_DOWN: &str = "the server is shutting down";

/// A connection's being counted, however it ends.
pub(super) struct Membership {
    connections: Arc<Connections>,
    origin: Origin,
}

impl Membership {
    /// The connection, for a task of its own.
    pub(super) fn seat(self, link: Link, driver: Driver) -> Seat {
        let key = link.id();
        let mut open = self.connections.lock();
        if open.draining {
            link.go_away(Code::Draining, SHUTTING_DOWN);
        }
        open.silent.insert(key);
        if open.silent.len() > self.connections.handshaking_max {
            let oldest = open.silent.pop_first();
            if let Some(slow) = oldest.and_then(|oldest| open.links.get(&oldest)) {
                slow.evict();
            }
        }
        open.links.insert(key, link);
        drop(open);
        Seat {
            driver,
            key,
            is_silent: true,
            membership: self,
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if let Some(count) = open.per_origin.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                open.per_origin.remove(&self.origin);
            }
        }
        open.members -= 1;
        if open.members == 0 {
            self.connections.emptied.notify_waiters();
        }
    }
}

/// A connection that is served.
pub(super) struct Seat {
    driver: Driver,
    key: u64,
    /// It may be among those whose client has not said hello.
    is_silent: bool,
    /// Stands last, because the connection counts until its driver is gone.
    membership: Membership,
}

impl Future for Seat {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = Pin::new(&mut self.driver).poll(cx);
        if self.is_silent && self.driver.has_agreed() {
            self.is_silent = false;
            let key = self.key;
            self.membership.connections.lock().silent.remove(&key);
        }
        polled
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.membership.connections.lock();
        open.links.remove(&self.key);
        if self.is_silent {
            open.silent.remove(&self.key);
        }
    }
}
