//! The registry: who offers what, until when.
//!
//! Everything here is a function of its arguments, the time among them. There is no clock, no IO, no
//! task and no lock, so any history can be replayed; what waits, stores or serves stands around it.
//!
//! ```text
//!              caller, now                       Change (or nothing)
//!   service  ----------------->  Registry  ------------------------->  store, watches
//!                                 |  |  |
//!                 Leases (when) --+  |  +-- accounts (how much)
//!                                 Records (what)
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod account;
mod change;
mod check;
mod lease;
#[cfg(test)]
mod model;
mod recent;
mod record;
mod watch;

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Instant;

use rpc_core::discovery::matchmaker::{
    Cursor, Health, Instance, InstanceId, LeaseId, Position, Query, Registered, Registration,
    RegistryError, Revision, Snapshot, State,
};
use semver::VersionReq;

pub use self::account::Limits;
pub use self::change::{Action, Caller, Cause, Change, Contents, Principal, Record};
pub use self::check::{
    ENDPOINTS_MAX, HOST_BYTES_MAX, NAME_BYTES_MAX, REQUIREMENT_BYTES_MAX, VERSION_BYTES_MAX,
};
pub use self::lease::{
    ConnectionKey, EXPIRY_BATCH, EXPIRY_INTERVAL, LEASE_TTL_DEFAULT, LEASE_TTL_MAX, LEASE_TTL_MIN,
    Leases, PAUSE_MIN, TICK,
};
pub use self::watch::{WatchId, Watches};

use self::account::Accounts;
use self::recent::Recent;
use self::record::{Found, Records};

/// How much of an answer fits into one message: a quarter of the 4 MiB that a message may have,
/// because sizes are estimated.
pub const PAGE_BYTES_MAX: usize = 1024 * 1024;

/// What one instance in an answer is estimated at, beside its texts: ids, times, lengths.
const INSTANCE_BYTES: usize = 128;

/// How many instances that have gone are remembered, so that a registration that was delayed on its
/// way is recognised as older than their end.
const GRAVES_MAX: usize = 4_096;

/// How many versions on offer a refused lookup names.
const OFFERED_MAX: usize = 16;

/// All that is registered.
///
/// Its methods are of four kinds.
///
/// - **Commands** of a caller, [`register`](Self::register), [`renew`](Self::renew) and
///   [`deregister`](Self::deregister), and of the operator, [`evict`](Self::evict). They return the
///   [`Change`] they made, if they made one.
/// - **Events**, [`connection_closed`](Self::connection_closed) and
///   [`handle_timeout`](Self::handle_timeout), which return the changes that they caused.
/// - **Questions**: [`lookup`](Self::lookup), [`list`](Self::list), [`answer`](Self::answer),
///   [`health`](Self::health) and the rest. They change nothing.
/// - [`poll_timeout`](Self::poll_timeout): when `handle_timeout` wants to be called next. Whoever
///   calls it late by more than [`PAUSE_MIN`] is taken to have been stopped, and every lease is
///   extended by as much.
///
/// Whoever drives it hands every change, in order, to the store and to the watches, and asks
/// `poll_timeout` again after each command and each event. `now` must not go backwards; where it
/// does, time stands still.
#[derive(Debug)]
pub struct Registry {
    limits: Limits,
    position: Position,
    records: Records,
    leases: Leases,
    /// Instances that have gone, and what it takes to come back.
    graves: Recent<InstanceId, Grave>,
    /// What each principal occupies.
    accounts: Accounts,
    /// Draws lease ids. They are no secrets: a lease obeys its own principal only.
    rng: fastrand::Rng,
    started: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Grave {
    incarnation: u64,
    /// Whether the instance said goodbye itself, so that only a higher incarnation can be new.
    goodbye: bool,
}

impl Registry {
    /// The registry of a store's contents, each lease with its full time from `now` on. `seed`
    /// decides which lease ids are drawn.
    pub fn new(contents: Contents, limits: Limits, seed: u64, now: Instant) -> Self {
        let mut registry = Self {
            limits,
            position: Position::new(contents.epoch, contents.revision),
            records: Records::new(contents.revision),
            leases: Leases::new(now),
            graves: Recent::new(GRAVES_MAX),
            accounts: Accounts::default(),
            rng: fastrand::Rng::with_seed(seed),
            started: now,
        };
        for record in contents.records {
            let ttl = registry.limits.ttl(record.registration.ttl);
            registry
                .leases
                .grant(now, record.lease, record.registration.instance, ttl);
            registry
                .accounts
                .charge(&record.principal, 0, record.registration.services.len());
            registry.records.put(record, now);
        }
        registry
    }

    /// Registers an instance. The same registration again is a renewal and no change.
    pub fn register(
        &mut self,
        now: Instant,
        caller: &Caller,
        registration: &Registration,
    ) -> Result<(Registered, Option<Change>), RegistryError> {
        let registration = check::registration(registration, &self.limits)?;
        self.leases.observe(now);
        let instance = registration.instance;
        let ttl = self.limits.ttl(registration.ttl);
        let current = self.records.find(instance).map(Arc::clone);

        let mut lease = None;
        if let Some(current) = &current {
            Self::own(current, caller)?;
            let incarnation = current.registration.incarnation;
            match registration.incarnation.cmp(&incarnation) {
                Ordering::Less => {
                    return Err(RegistryError::StaleIncarnation {
                        current: incarnation,
                    });
                }
                Ordering::Equal => lease = Some(current.lease),
                Ordering::Greater => {}
            }
            if registration == current.registration {
                return self
                    .renew(now, caller, current.lease)
                    .map(|answer| (answer, None));
            }
        } else if let Some(grave) = self.graves.find(&instance) {
            let stale = match registration.incarnation.cmp(&grave.incarnation) {
                Ordering::Less => true,
                Ordering::Equal => grave.goodbye,
                Ordering::Greater => false,
            };
            if stale {
                return Err(RegistryError::StaleIncarnation {
                    current: grave.incarnation,
                });
            }
        }

        let before = current
            .as_ref()
            .map_or(0, |record| record.registration.services.len());
        let after = registration.services.len();
        self.accounts
            .afford(&self.limits, &caller.principal, before, after)?;

        // Nothing is refused from here on.
        self.accounts.charge(&caller.principal, before, after);
        let same_start = lease.is_some();
        let since = self
            .records
            .since(instance)
            .filter(|_| same_start)
            .unwrap_or(now);
        let lease = match lease {
            Some(lease) => {
                self.leases.renew(now, lease, ttl);
                lease
            }
            None => {
                if let Some(current) = &current {
                    self.leases.revoke(current.lease);
                }
                let lease = self.draw_lease();
                self.leases.grant(now, lease, instance, ttl);
                lease
            }
        };
        self.leases.bind(lease, caller.binding());
        let revision = self.advance();
        let principal = caller.principal.clone();
        let record = Arc::new(Record {
            registration,
            principal,
            lease,
            revision,
        });
        let names = self.records.put(Arc::clone(&record), since);
        let change = Change {
            revision,
            instance,
            action: Action::Put(record),
            names,
        };
        Ok((
            Registered::new(lease, revision, ttl, self.position.epoch),
            Some(change),
        ))
    }

    /// Gives a lease its full time again, and ties it to the caller's connection.
    pub fn renew(
        &mut self,
        now: Instant,
        caller: &Caller,
        lease: LeaseId,
    ) -> Result<Registered, RegistryError> {
        self.leases.observe(now);
        let record = self
            .record_of(lease)
            .ok_or(RegistryError::LeaseLost { lease })?;
        Self::own(record, caller)?;
        let (revision, ttl) = (record.revision, self.limits.ttl(record.registration.ttl));
        self.leases.renew(now, lease, ttl);
        self.leases.bind(lease, caller.binding());
        Ok(Registered::new(lease, revision, ttl, self.position.epoch))
    }

    /// Removes the record of a lease, if it is still the one of `revision`. A lease that has ended
    /// is no error and no change.
    pub fn deregister(
        &mut self,
        now: Instant,
        caller: &Caller,
        lease: LeaseId,
        revision: Revision,
    ) -> Result<Option<Change>, RegistryError> {
        self.leases.observe(now);
        let Some(record) = self.record_of(lease) else {
            return Ok(None);
        };
        Self::own(record, caller)?;
        if record.revision != revision {
            return Err(RegistryError::Fenced {
                current: record.revision,
            });
        }
        let instance = record.registration.instance;
        Ok(self.remove(instance, Cause::Deregistered))
    }

    /// Removes an instance on behalf of an operator. A living one registers again by itself.
    pub fn evict(&mut self, instance: InstanceId) -> Option<Change> {
        self.remove(instance, Cause::Evicted)
    }

    /// Ties a lease to a connection of this host, so that both end together. Registering and
    /// renewing do so for a local caller.
    pub fn bind(&mut self, lease: LeaseId, connection: ConnectionKey) {
        self.leases.bind(lease, Some(connection));
    }

    /// Removes the instances whose leases are still tied to a connection that has closed.
    pub fn connection_closed(&mut self, now: Instant, connection: ConnectionKey) -> Vec<Change> {
        self.leases.observe(now);
        let instances = self.leases.closed(connection);
        self.remove_all(instances, Cause::ConnectionClosed)
    }

    /// Removes the instances whose leases have ended.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Change> {
        let instances = self.leases.expire(now);
        self.remove_all(instances, Cause::Expired)
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called next; `None` while nothing
    /// is registered.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.leases.poll_timeout()
    }

    /// What the registry can offer for a query; nothing is an error that names what is there.
    pub fn lookup(&self, now: Instant, query: &Query) -> Result<Snapshot, RegistryError> {
        let snapshot = self.answer(now, query)?;
        if !snapshot.instances.is_empty() {
            return Ok(snapshot);
        }
        let mut offered: Vec<_> = self.records.named(&query.name).map(|f| f.version).collect();
        offered.sort_unstable_by(|a, b| b.cmp(a));
        offered.dedup();
        let offered = offered
            .into_iter()
            .take(OFFERED_MAX)
            .map(ToString::to_string)
            .collect();
        Err(RegistryError::NotFound {
            query: query.clone(),
            offered,
        })
    }

    /// What the registry can offer for a query, highest version first; nothing is an answer too.
    pub fn answer(&self, now: Instant, query: &Query) -> Result<Snapshot, RegistryError> {
        let requirement = check::query(query)?;
        let mut found = self.matching(&query.name, requirement.as_ref());
        found.sort_by(|a, b| b.version.cmp(a.version));
        Ok(self.page(now, found.into_iter()))
    }

    /// One page of everything, from after `after` on.
    pub fn list(&self, now: Instant, after: Option<&Cursor>) -> Snapshot {
        self.page(now, self.records.after(after))
    }

    /// Which records a query finds, to compare with what it found before.
    pub fn revisions(&self, query: &Query) -> Result<Vec<(InstanceId, Revision)>, RegistryError> {
        let requirement = check::query(query)?;
        let found = self.matching(&query.name, requirement.as_ref());
        Ok(found
            .iter()
            .map(|f| (f.record.registration.instance, f.record.revision))
            .collect())
    }

    /// Whether the name has changed since `after`, or may have: in another epoch, or where `after`
    /// lies in the future.
    pub fn changed_since(&self, name: &str, after: Position) -> bool {
        after.epoch != self.position.epoch
            || after.revision > self.position.revision
            || after.revision < self.records.revision(name)
    }

    /// The last change of any name.
    pub fn position(&self) -> Position {
        self.position
    }

    /// What the registry holds, for a store.
    pub fn contents(&self) -> Contents {
        let mut records: Vec<_> = self.records.iter().map(Arc::clone).collect();
        records.sort_unstable_by_key(|record| record.registration.instance);
        Contents {
            epoch: self.position.epoch,
            revision: self.position.revision,
            records,
        }
    }

    /// How the registry is doing, as far as it can tell by itself.
    pub fn health(&self, now: Instant, version: &str) -> Health {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let mut health = Health::new(version, self.position);
        health.uptime = now.saturating_duration_since(self.started);
        health.instances = count(self.records.instances());
        health.services = count(self.records.names());
        health.paused = self.leases.paused();
        health
    }

    fn matching(&self, name: &str, requirement: Option<&VersionReq>) -> Vec<Found<'_>> {
        self.records
            .named(name)
            .filter(|found| requirement.is_none_or(|range| range.matches(found.version)))
            .collect()
    }

    /// As much of `found` as fits into one answer, and at least one of it.
    fn page<'a>(&'a self, now: Instant, found: impl Iterator<Item = Found<'a>>) -> Snapshot {
        let Position { epoch, revision } = self.position;
        let mut snapshot = Snapshot::new(epoch, revision, Vec::new());
        let mut bytes = 0_usize;
        for found in found {
            let instance = self.instance(now, found);
            bytes = bytes.saturating_add(size(&instance));
            if bytes > PAGE_BYTES_MAX && !snapshot.instances.is_empty() {
                snapshot.more = true;
                break;
            }
            snapshot.instances.push(instance);
        }
        snapshot
    }

    fn instance(&self, now: Instant, found: Found<'_>) -> Instance {
        let record = found.record;
        let mut instance =
            Instance::new(found.offer.clone(), &record.registration, record.revision);
        instance.age = now.saturating_duration_since(found.since);
        let (left, ttl) = self.leases.time_left(now, record.lease).unwrap_or_default();
        instance.expires_in = left;
        // Renewals come at a third of the time, so whoever is down to a quarter has missed two.
        instance.state = if left.saturating_mul(4) < ttl {
            State::Suspect
        } else {
            State::Ready
        };
        instance
    }

    fn record_of(&self, lease: LeaseId) -> Option<&Arc<Record>> {
        self.records.find(self.leases.instance(lease)?)
    }

    fn own(record: &Record, caller: &Caller) -> Result<(), RegistryError> {
        if record.principal == caller.principal {
            return Ok(());
        }
        Err(RegistryError::NotOwner {
            instance: record.registration.instance,
        })
    }

    fn remove_all(&mut self, instances: Vec<InstanceId>, cause: Cause) -> Vec<Change> {
        instances
            .into_iter()
            .filter_map(|instance| self.remove(instance, cause))
            .collect()
    }

    fn remove(&mut self, instance: InstanceId, cause: Cause) -> Option<Change> {
        self.records.find(instance)?;
        let revision = self.advance();
        let (record, names) = self.records.remove(instance, revision)?;
        self.leases.revoke(record.lease);
        self.accounts
            .charge(&record.principal, record.registration.services.len(), 0);
        let grave = Grave {
            incarnation: record.registration.incarnation,
            goodbye: cause == Cause::Deregistered,
        };
        self.graves.insert(instance, grave);
        Some(Change {
            revision,
            instance,
            action: Action::Remove(cause),
            names,
        })
    }

    fn advance(&mut self) -> Revision {
        self.position.revision = Revision(self.position.revision.0.saturating_add(1));
        self.position.revision
    }

    fn draw_lease(&mut self) -> LeaseId {
        loop {
            let lease = LeaseId(self.rng.u64(1..));
            if self.leases.instance(lease).is_none() {
                return lease;
            }
        }
    }
}

/// What an instance takes in a message, roughly and rather too much.
fn size(instance: &Instance) -> usize {
    let endpoints = instance.endpoints.iter().map(|endpoint| {
        let host = endpoint.host.as_ref().map_or(0, |host| host.as_str().len());
        endpoint
            .address
            .len()
            .saturating_add(host)
            .saturating_add(8)
    });
    let tags = instance
        .tags
        .iter()
        .map(|(key, value)| key.len().saturating_add(value.len()).saturating_add(8));
    let texts = [&instance.offer.name, &instance.offer.version].map(String::len);
    endpoints
        .chain(tags)
        .chain(texts)
        .chain([instance.host.as_str().len(), INSTANCE_BYTES])
        .fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests;
