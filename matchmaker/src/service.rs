//! The matchmaker's contract over a registry, a store and a clock.
//!
//! This is where the pure registry meets waiting: calls become commands, changes go to the store and
//! wake watches, and time that passes ends leases. It knows nothing about connections but their
//! keys, and nothing about the transport that carries its calls.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic
    )
)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rpc_core::discovery::matchmaker::{
    Cursor, Health, InstanceId, LeaseId, Matchmaker, Position, Query, Registered, Registration,
    RegistryError, Revision, Snapshot,
};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::registry::{Action, Caller, Change, ConnectionKey, Limits, Registry, WatchId, Watches};
use crate::store::{Store, StoreError};

/// The longest that one watch waits before it answers that nothing has changed. It bounds how long
/// a watch of a client that vanished without a word is kept.
pub const WATCH_WAIT_MAX: Duration = Duration::from_secs(5 * 60);

/// How many changes go to the store in one commit: enough to share its latency, and few enough for
/// one message or one transaction.
const COMMIT_MAX: usize = 512;

/// How many changes may wait for a store that fails before registrations are refused.
const UNCONFIRMED_MAX: usize = 10_000;

/// How long a failing store is left alone.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// The matchmaker as a service: a cloneable handle to one registry.
///
/// A change is made under a lock, without waiting, and its caller is answered when the store has
/// confirmed it. Readers and watches see it at once. Somebody has to drive [`run`](Self::run), which
/// ends leases, and to report closed connections by [`connection_closed`](Self::connection_closed).
#[derive(Clone)]
pub struct MatchmakerService {
    shared: Arc<Shared>,
}

/// A handle that keeps nothing alive: the service itself holds the function that says who calls.
#[derive(Clone)]
pub(crate) struct WeakService(Weak<Shared>);

impl WeakService {
    pub(crate) fn upgrade(&self) -> Option<MatchmakerService> {
        let shared = self.0.upgrade()?;
        Some(MatchmakerService { shared })
    }
}

struct Shared {
    desk: Mutex<Desk>,
    store: Box<dyn Store>,
    /// Held while committing, so that changes reach the store in order. Whoever gets it commits for
    /// everybody who has been waiting.
    lane: tokio::sync::Mutex<()>,
    /// Wakes `run`: the first lease was granted, or a change waits that nobody commits.
    wake: Notify,
    /// Whether watches no longer wait.
    winding_down: watch::Sender<bool>,
    /// Who makes the call that is being handled.
    caller: Box<dyn Fn() -> Caller + Send + Sync>,
}

/// What the lock protects.
struct Desk {
    registry: Registry,
    watches: Watches<Arc<Notify>>,
    /// Changes that the store has not confirmed, oldest first.
    unconfirmed: VecDeque<Change>,
}

impl MatchmakerService {
    /// Loads the store and opens the registry. `caller` is asked once at the beginning of each call
    /// who makes it.
    ///
    /// # Errors
    /// Whatever keeps the store from being loaded.
    pub async fn open(
        store: impl Store,
        limits: Limits,
        caller: impl Fn() -> Caller + Send + Sync + 'static,
    ) -> Result<Self, StoreError> {
        let contents = store.load().await?;
        let desk = Desk {
            watches: Watches::new(limits.watches_per_connection, limits.watches_total),
            registry: Registry::new(contents, limits, fastrand::u64(..), now()),
            unconfirmed: VecDeque::new(),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                desk: Mutex::new(desk),
                store: Box::new(store),
                lane: tokio::sync::Mutex::new(()),
                wake: Notify::new(),
                winding_down: watch::Sender::new(false),
                caller: Box::new(caller),
            }),
        })
    }

    /// Ends leases in time and commits what no call commits, for ever.
    ///
    /// It may be dropped at any time and called again; while nobody drives it, no lease ends.
    pub async fn run(&self) -> Infallible {
        let mut retry = None;
        loop {
            let timeout = self.desk().registry.poll_timeout().map(Instant::from_std);
            let next = [timeout, retry].into_iter().flatten().min();
            tokio::select! {
                () = until(next) => {}
                () = self.shared.wake.notified() => {}
            }
            let position = {
                let mut desk = self.desk();
                let ended = desk.registry.handle_timeout(now());
                desk.publish(ended);
                desk.registry.position()
            };
            retry = match self.confirm(position.revision).await {
                Ok(()) => None,
                Err(error) => {
                    tracing::warn!(%error, "changes wait for the store");
                    Some(Instant::now() + STORE_RETRY)
                }
            };
        }
    }

    /// Removes the local registrants whose connection has closed.
    pub fn connection_closed(&self, connection: ConnectionKey) {
        let mut desk = self.desk();
        let ended = desk.registry.connection_closed(now(), connection);
        if !ended.is_empty() {
            desk.publish(ended);
            self.shared.wake.notify_one();
        }
    }

    /// Answers every watch, and those that come later at once: nobody is to be waited for.
    pub fn wind_down(&self) {
        self.shared.winding_down.send_replace(true);
    }

    /// Removes an instance on behalf of an operator, and returns whether there was one. If it lives,
    /// it registers again by itself.
    pub fn evict(&self, instance: InstanceId) -> bool {
        let mut desk = self.desk();
        let ended = desk.registry.evict(instance);
        let found = ended.is_some();
        desk.publish(ended);
        self.shared.wake.notify_one();
        found
    }

    pub(crate) fn downgrade(&self) -> WeakService {
        WeakService(Arc::downgrade(&self.shared))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.shared
            .desk
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the store has confirmed every change up to `revision`.
    async fn confirm(&self, revision: Revision) -> Result<(), StoreError> {
        while !self.desk().confirmed(revision) {
            let _lane = self.shared.lane.lock().await;
            // Another may have committed for us meanwhile. The changes stay in the queue until they
            // are confirmed: this future may be dropped while the store works.
            let batch: Vec<Change> = match self.desk() {
                desk if desk.confirmed(revision) => break,
                desk => desk.unconfirmed.iter().take(COMMIT_MAX).cloned().collect(),
            };
            let Some(last) = batch.last().map(|change| change.revision) else {
                break;
            };
            self.shared.store.commit(&batch).await?;
            self.desk()
                .unconfirmed
                .retain(|change| change.revision > last);
        }
        Ok(())
    }
}

impl Matchmaker for MatchmakerService {
    async fn register(&self, registration: &Registration) -> Result<Registered, RegistryError> {
        let caller = (self.shared.caller)();
        let registered = {
            let mut desk = self.desk();
            if desk.unconfirmed.len() >= UNCONFIRMED_MAX {
                return Err(unavailable(&"too many changes wait for it"));
            }
            let idle = desk.registry.poll_timeout().is_none();
            let (registered, change) = desk.registry.register(now(), &caller, registration)?;
            desk.publish(change);
            if idle {
                self.shared.wake.notify_one();
            }
            registered
        };
        self.confirm(registered.revision)
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(registered)
    }

    async fn renew(&self, lease: LeaseId) -> Result<Registered, RegistryError> {
        let caller = (self.shared.caller)();
        self.desk().registry.renew(now(), &caller, lease)
    }

    async fn deregister(&self, lease: LeaseId, revision: Revision) -> Result<(), RegistryError> {
        let caller = (self.shared.caller)();
        let position = {
            let mut desk = self.desk();
            let change = desk.registry.deregister(now(), &caller, lease, revision)?;
            desk.publish(change);
            // If this call is dropped, somebody else has to commit.
            self.shared.wake.notify_one();
            desk.registry.position()
        };
        // All of it, because the change may be that of an earlier attempt.
        self.confirm(position.revision)
            .await
            .map_err(|error| unavailable(&error))
    }

    async fn lookup(&self, query: &Query) -> Result<Snapshot, RegistryError> {
        self.desk().registry.lookup(now(), query)
    }

    async fn list(&self, after: Option<Cursor>) -> Snapshot {
        self.desk().registry.list(now(), after.as_ref())
    }

    async fn watch(
        &self,
        query: &Query,
        after: Option<Position>,
        wait: Duration,
    ) -> Result<Snapshot, RegistryError> {
        let caller = (self.shared.caller)();
        let end = until(Some(Instant::now() + wait.min(WATCH_WAIT_MAX)));
        tokio::pin!(end);
        let waker = Arc::new(Notify::new());
        let mut winding_down = self.shared.winding_down.subscribe();
        // Looked at and opened under one lock, so that no change falls in between.
        let (_open, seen) = {
            let mut desk = self.desk();
            let seen = desk.registry.revisions(query)?;
            match after {
                Some(after) if !desk.registry.changed_since(&query.name, after) => {}
                _ => return desk.registry.answer(now(), query),
            }
            let id = desk
                .watches
                .open(caller.connection, &query.name, Arc::clone(&waker))?;
            (OpenWatch { service: self, id }, seen)
        };
        loop {
            let over = tokio::select! {
                () = waker.notified() => false,
                () = &mut end => true,
                _ = winding_down.wait_for(|over| *over) => true,
            };
            let desk = self.desk();
            // The name has changed, which need not concern the versions that are asked for.
            if over || desk.registry.revisions(query)? != seen {
                return desk.registry.answer(now(), query);
            }
        }
    }

    async fn health(&self) -> Health {
        let desk = self.desk();
        let mut health = desk.registry.health(now(), env!("CARGO_PKG_VERSION"));
        health.watches = u64::try_from(desk.watches.len()).unwrap_or(u64::MAX);
        health.unconfirmed = u64::try_from(desk.unconfirmed.len()).unwrap_or(u64::MAX);
        health
    }
}

impl fmt::Debug for MatchmakerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let position = self.desk().registry.position();
        f.debug_struct("MatchmakerService")
            .field("position", &position)
            .finish_non_exhaustive()
    }
}

impl Desk {
    /// Queues changes for the store and wakes the watches that they concern.
    fn publish(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            // First of all: whatever a log does, the store must not miss a change.
            self.unconfirmed.push_back(change.clone());
            let (instance, revision) = (change.instance, change.revision);
            match &change.action {
                Action::Put(record) => tracing::info!(
                    %instance, %revision, pid = record.registration.pid,
                    host = %record.registration.host, principal = %record.principal,
                    services = ?change.names, "registered"
                ),
                Action::Remove(cause) => {
                    tracing::info!(%instance, %revision, %cause, services = ?change.names, "removed");
                }
            }
            for waker in self.watches.woken(&change) {
                waker.notify_one();
            }
        }
    }

    /// Whether the store has confirmed every change up to `revision`.
    fn confirmed(&self, revision: Revision) -> bool {
        self.unconfirmed
            .front()
            .is_none_or(|change| change.revision > revision)
    }
}

/// Closes its watch when the call that waits is answered or dropped.
struct OpenWatch<'a> {
    service: &'a MatchmakerService,
    id: WatchId,
}

impl Drop for OpenWatch<'_> {
    fn drop(&mut self) {
        self.service.desk().watches.close(self.id);
    }
}

/// The one place that reads the clock: tokio's, which tests can stop.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn unavailable(problem: &dyn fmt::Display) -> RegistryError {
    RegistryError::Unavailable {
        problem: problem.to_string(),
    }
}

#[cfg(test)]
mod tests;
