//! The open connections of a server.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::Notify;

use super::Router;
use crate::cancellation::Cancellation;
use crate::driver::{Drive, Link};
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
    /// The number of the next member.
    next: u64,
    /// How those that were spoken to are ended, in the order of their numbers. These only grow, so
    /// that each comes in at the end; a table would cost more code than all else that is done here.
    spoken_to: Vec<(u64, Ending)>,
    /// Connections of each origin that has any, in order.
    per_origin: Vec<(Origin, usize)>,
    /// Connections whose client has not said hello, the oldest first. `ready` is not waited for: an
    /// honest client may take a second for it, in which many others come.
    silent: Vec<u64>,
    /// No more connections are taken in.
    draining: bool,
}

impl Open {
    /// The client of this number has said hello, or is gone.
    fn speaks(&mut self, key: u64) {
        if let Ok(place) = self.silent.binary_search(&key) {
            self.silent.remove(place);
        }
    }

    /// Where the ending of this number stands, or belongs.
    fn ending(&self, key: u64) -> Result<usize, usize> {
        self.spoken_to.binary_search_by_key(&key, |(key, _)| *key)
    }

    /// Where the count of this origin stands, or belongs.
    fn origin(&self, origin: &Origin) -> Result<usize, usize> {
        self.per_origin
            .binary_search_by(|(other, _)| other.cmp(origin))
    }
}

/// How a connection is ended from here.
enum Ending {
    Link(Link),
    /// Another process speaks with the client. Firing this ends that.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    Elsewhere(Cancellation),
}

impl Ending {
    fn close(&self) {
        match self {
            Self::Link(link) => link.close(),
            Self::Elsewhere(cancellation) => cancellation.cancel(),
        }
    }

    /// Ends it unless its handshake is over. One that is elsewhere is struck off the silent as soon
    /// as it has said hello.
    fn evict(&self) {
        match self {
            Self::Link(link) => link.evict(),
            Self::Elsewhere(cancellation) => cancellation.cancel(),
        }
    }

    fn go_away(&self) {
        // Who has a client elsewhere looks at `leaving` by himself.
        if let Self::Link(link) = self {
            link.go_away(Code::Draining, SHUTTING_DOWN);
        }
    }
}

/// Whose connections are counted together: those of a user of this machine, or of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    /// The most connections whose client has not said hello.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn handshaking_max(&self) -> usize {
        self.handshaking_max
    }

    /// Counts a connection in, until what is returned is gone.
    pub(super) fn enter(self: &Arc<Self>, origin: Origin) -> Membership {
        let mut open = self.lock();
        open.members += 1;
        match open.origin(&origin) {
            Ok(place) => open.per_origin[place].1 += 1,
            Err(place) => open.per_origin.insert(place, (origin.clone(), 1)),
        }
        open.next += 1;
        let key = open.next;
        drop(open);
        Membership {
            connections: Arc::clone(self),
            key,
            origin,
            is_silent: false,
        }
    }

    /// Tells every client the last call that will run.
    pub(super) fn drain(&self) {
        self.leaving.cancel();
        let mut open = self.lock();
        open.draining = true;
        open.spoken_to.iter().for_each(|(_, it)| it.go_away());
    }

    /// Ends every connection at once.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.leaving.cancel();
        let mut open = self.lock();
        open.draining = true;
        open.spoken_to.iter().for_each(|(_, it)| it.close());
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
        let open = self.lock();
        open.origin(origin)
            .map_or(0, |place| open.per_origin[place].1)
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
    key: u64,
    origin: Origin,
    /// It may be among those whose client has not said hello.
    is_silent: bool,
}

impl Membership {
    /// The connection, for a task of its own.
    pub(super) fn seat(mut self, link: Link, driver: Drive) -> Seat {
        self.speak(Ending::Link(link));
        Seat {
            driver,
            membership: self,
        }
    }

    /// The client is spoken to in another process. What is returned fires when that is to end.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn elsewhere(&mut self) -> Cancellation {
        let ending = Cancellation::new();
        self.speak(Ending::Elsewhere(ending.clone()));
        ending
    }

    /// The client has said hello.
    pub(super) fn heard(&mut self) {
        if std::mem::take(&mut self.is_silent) {
            self.connections.lock().speaks(self.key);
        }
    }

    /// From now on it is among those whose client has not said hello, and has an ending.
    fn speak(&mut self, ending: Ending) {
        self.is_silent = true;
        let mut open = self.connections.lock();
        if open.draining {
            ending.go_away();
        }
        if let Err(place) = open.silent.binary_search(&self.key) {
            open.silent.insert(place, self.key);
        }
        if open.silent.len() > self.connections.handshaking_max {
            let oldest = open.silent.remove(0);
            if let Ok(place) = open.ending(oldest) {
                open.spoken_to[place].1.evict();
            }
        }
        match open.ending(self.key) {
            Ok(place) => open.spoken_to[place].1 = ending,
            Err(place) => open.spoken_to.insert(place, (self.key, ending)),
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if let Ok(place) = open.ending(self.key) {
            open.spoken_to.remove(place);
        }
        if self.is_silent {
            open.speaks(self.key);
        }
        if let Ok(place) = open.origin(&self.origin) {
            open.per_origin[place].1 -= 1;
            if open.per_origin[place].1 == 0 {
                open.per_origin.remove(place);
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
    driver: Drive,
    /// Stands last, because the connection counts until its driver is gone.
    membership: Membership,
}

impl Seat {
    /// Whether the client has said hello.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn is_heard(&self) -> bool {
        !self.membership.is_silent
    }
}

impl Future for Seat {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = Pin::new(&mut self.driver).poll(cx);
        if self.membership.is_silent && self.driver.has_agreed() {
            self.membership.heard();
        }
        polled
    }
}
