//! The open connections of a server.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Router;
use crate::driver::{Driver, Link};
use crate::error::Code;
use crate::race::race;
use crate::transport::{Address, HostPort, Peer};

/// Knows every connection from its acceptance until its driver is gone.
pub(super) struct Connections {
    open: Mutex<Open>,
    emptied: Notify,
    /// Connections that may be in their handshake. One more ends the oldest of them: an honest
    /// handshake takes one round trip, so the oldest is the least likely to be one.
    handshaking_max: usize,
    router: Arc<Router>,
}

#[derive(Default)]
struct Open {
    links: HashMap<u64, Link>,
    per_origin: HashMap<Origin, usize>,
    /// Connections whose handshake is not over, the oldest first.
    handshaking: VecDeque<u64>,
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
        let address = peer.address().parse::<Address>().ok();
        let ip = address
            .as_ref()
            .and_then(Address::host_port)
            .and_then(HostPort::ip);
        ip.map_or(Self::Unknown, Self::Host)
    }
}

impl Connections {
    pub(super) fn new(router: Arc<Router>, handshaking_max: usize) -> Self {
        Self {
            open: Mutex::default(),
            emptied: Notify::new(),
            handshaking_max,
            router,
        }
    }

    /// Runs a connection in a task of its own.
    pub(super) fn run(self: &Arc<Self>, link: Link, driver: Driver, origin: Origin) {
        let key = link.id();
        let mut open = self.lock();
        if open.draining {
            link.go_away(Code::Draining, SHUTTING_DOWN);
        }
        open.handshaking.push_back(key);
        if open.handshaking.len() > self.handshaking_max {
            let oldest = open.handshaking.pop_front();
            if let Some(slow) = oldest.and_then(|oldest| open.links.get(&oldest)) {
                slow.close();
            }
        }
        *open.per_origin.entry(origin.clone()).or_default() += 1;
        open.links.insert(key, link.clone());
        drop(open);
        let membership = Membership {
            connections: Arc::clone(self),
            key,
            origin,
        };
        tokio::spawn(async move {
            let mut driver = pin!(driver);
            race(driver.as_mut(), link.established()).await;
            membership
                .connections
                .lock()
                .handshaking
                .retain(|&other| other != key);
            drop(link);
            driver.await;
            drop(membership);
        });
    }

    /// Tells every client the last call that will run.
    pub(super) fn drain(&self) {
        let mut open = self.lock();
        open.draining = true;
        for link in open.links.values() {
            link.go_away(Code::Draining, SHUTTING_DOWN);
        }
    }

    /// Ends every connection at once.
    pub(super) fn close(&self) {
        let mut open = self.lock();
        open.draining = true;
        for link in open.links.values() {
            link.close();
        }
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
        self.lock().links.len()
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

const SHUTTING_DOWN: &str = "the server is shutting down";

/// Takes a connection off the table when its task is gone, however it goes.
struct Membership {
    connections: Arc<Connections>,
    key: u64,
    origin: Origin,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.links.remove(&self.key);
        open.handshaking.retain(|&other| other != self.key);
        if let Some(count) = open.per_origin.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                open.per_origin.remove(&self.origin);
            }
        }
        if open.links.is_empty() {
            self.connections.emptied.notify_waiters();
        }
    }
}
