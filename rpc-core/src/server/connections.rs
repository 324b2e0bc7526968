//! The open connections of a server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::Router;
use crate::driver::{Driver, Link};
use crate::error::Code;

/// Knows every connection from its acceptance until its driver is gone.
pub(super) struct Connections {
    open: Mutex<Open>,
    next: AtomicU64,
    emptied: Notify,
    router: Arc<Router>,
}

#[derive(Default)]
struct Open {
    links: HashMap<u64, Link>,
    /// No more connections are taken in.
    draining: bool,
}

impl Connections {
    pub(super) fn new(router: Arc<Router>) -> Self {
        Self {
            open: Mutex::default(),
            next: AtomicU64::new(0),
            emptied: Notify::new(),
            router,
        }
    }

    /// Runs a connection in a task of its own.
    pub(super) fn run(self: &Arc<Self>, link: Link, driver: Driver) {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let mut open = self.lock();
        if open.draining {
            link.go_away(Code::Draining, SHUTTING_DOWN);
        }
        open.links.insert(key, link);
        drop(open);
        let membership = Membership {
            connections: Arc::clone(self),
            key,
        };
        tokio::spawn(async move {
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
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.links.remove(&self.key);
        if open.links.is_empty() {
            self.connections.emptied.notify_waiters();
        }
    }
}
