//! The table of records, found by instance and by service name.
//!
//! It keeps records and the revision of each name; it knows nothing about leases, quotas or callers.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

use rpc_core::discovery::matchmaker::{Cursor, InstanceId, Offer, Revision};
use semver::Version;

use super::change::Record;
use super::recent::Recent;

/// How many names that nobody offers any more keep their last revision. For a name beyond them a
/// watch may answer once without need.
const GONE_NAMES_MAX: usize = 4_096;

/// All records.
#[derive(Debug)]
pub(super) struct Records {
    by_instance: HashMap<InstanceId, Entry>,
    /// Ordered, because lists come in pages.
    by_name: BTreeMap<String, Name>,
    /// The last revision of names that nobody offers any more.
    gone: Recent<String, Revision>,
    /// No name outside `by_name` and `gone` has changed since.
    floor: Revision,
}

#[derive(Debug)]
struct Entry {
    record: Arc<Record>,
    since: Instant,
}

#[derive(Debug)]
struct Name {
    /// The last change among its instances.
    revision: Revision,
    members: BTreeMap<InstanceId, Member>,
}

#[derive(Debug)]
struct Member {
    /// Parsed once, because lookups compare it.
    version: Version,
    /// Where in the record's services the offer stands.
    offer: usize,
}

/// One service of one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) record: &'a Arc<Record>,
    pub(super) offer: &'a Offer,
    pub(super) version: &'a Version,
    pub(super) since: Instant,
}

impl Records {
    /// An empty table; names that it does not hold count as changed at `floor`.
    pub(super) fn new(floor: Revision) -> Self {
        Self {
            by_instance: HashMap::new(),
            by_name: BTreeMap::new(),
            gone: Recent::new(GONE_NAMES_MAX),
            floor,
        }
    }

    /// Sets the record of an instance, registered since `since`, and returns the names it touches.
    pub(super) fn put(&mut self, record: Arc<Record>, since: Instant) -> Vec<String> {
        let instance = record.registration.instance;
        let revision = record.revision;
        let mut names = self.detach(instance);
        for (offer, service) in record.registration.services.iter().enumerate() {
            // Checked before; a store that holds anything else has been written by something else.
            let Ok(version) = Version::parse(&service.version) else {
                continue;
            };
            let name = self
                .by_name
                .entry(service.name.clone())
                .or_insert_with(|| Name {
                    revision,
                    members: BTreeMap::new(),
                });
            name.members.insert(instance, Member { version, offer });
            names.insert(service.name.clone());
        }
        self.by_instance.insert(instance, Entry { record, since });
        self.touch(names, revision)
    }

    /// Removes the record of an instance at `revision`, and returns it with the names it touches.
    pub(super) fn remove(
        &mut self,
        instance: InstanceId,
        revision: Revision,
    ) -> Option<(Arc<Record>, Vec<String>)> {
        let names = self.detach(instance);
        let entry = self.by_instance.remove(&instance)?;
        Some((entry.record, self.touch(names, revision)))
    }

    pub(super) fn find(&self, instance: InstanceId) -> Option<&Arc<Record>> {
        self.by_instance.get(&instance).map(|entry| &entry.record)
    }

    /// Since when the instance has been registered.
    pub(super) fn since(&self, instance: InstanceId) -> Option<Instant> {
        self.by_instance.get(&instance).map(|entry| entry.since)
    }

    /// Everything under one name, by instance.
    pub(super) fn named<'a>(&'a self, name: &str) -> impl Iterator<Item = Found<'a>> + use<'a> {
        let members = self.by_name.get(name).map(|name| &name.members);
        members
            .into_iter()
            .flatten()
            .filter_map(|(instance, member)| self.found(instance, member))
    }

    /// Everything, by name and instance, from after `after` on.
    pub(super) fn after(&self, after: Option<&Cursor>) -> impl Iterator<Item = Found<'_>> {
        let start = after.map_or(Bound::Unbounded, |c| Bound::Included(c.name.as_str()));
        let names = self.by_name.range::<str, _>((start, Bound::Unbounded));
        names.flat_map(move |(name, entry)| {
            let start = match after {
                Some(cursor) if cursor.name == *name => Bound::Excluded(cursor.instance),
                _ => Bound::Unbounded,
            };
            entry
                .members
                .range((start, Bound::Unbounded))
                .filter_map(|(instance, member)| self.found(instance, member))
        })
    }

    /// The last change of a name, whether or not anybody offers it.
    pub(super) fn revision(&self, name: &str) -> Revision {
        match self.by_name.get(name) {
            Some(name) => name.revision,
            None => self.gone.find(name).copied().unwrap_or(self.floor),
        }
    }

    pub(super) fn instances(&self) -> usize {
        self.by_instance.len()
    }

    pub(super) fn names(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.by_instance.values().map(|entry| &entry.record)
    }

    fn found<'a>(&'a self, instance: &InstanceId, member: &'a Member) -> Option<Found<'a>> {
        let entry = self.by_instance.get(instance)?;
        let offer = entry.record.registration.services.get(member.offer)?;
        Some(Found {
            record: &entry.record,
            offer,
            version: &member.version,
            since: entry.since,
        })
    }

    /// Takes an instance out of the names it has been under.
    fn detach(&mut self, instance: InstanceId) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let Some(entry) = self.by_instance.get(&instance) else {
            return names;
        };
        for service in &entry.record.registration.services {
            if let Some(name) = self.by_name.get_mut(&service.name) {
                name.members.remove(&instance);
                names.insert(service.name.clone());
            }
        }
        names
    }

    /// Stamps names with a revision; those that nobody offers any more leave a trace.
    fn touch(&mut self, names: BTreeSet<String>, revision: Revision) -> Vec<String> {
        for name in &names {
            match self.by_name.get_mut(name) {
                Some(entry) if !entry.members.is_empty() => {
                    entry.revision = revision;
                    self.gone.remove(name);
                }
                _ => {
                    self.by_name.remove(name);
                    if let Some((_, forgotten)) = self.gone.insert(name.clone(), revision) {
                        self.floor = self.floor.max(forgotten);
                    }
                }
            }
        }
        names.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::Principal;
    use super::*;
    use rpc_core::discovery::matchmaker::{HostId, LeaseId, Registration};

    fn record(n: u8, revision: u64, names: &[&str]) -> Arc<Record> {
        let instance = InstanceId::from_bytes([n; 16]);
        let mut registration = Registration::new(instance, HostId::new("here"), 1);
        registration.services = names.iter().map(|n| Offer::new(*n, "1.0.0", 0)).collect();
        Arc::new(Record {
            registration,
            principal: Principal::uid(1),
            lease: LeaseId(u64::from(n)),
            revision: Revision(revision),
        })
    }

    #[test]
    fn a_name_has_a_revision_of_its_own() {
        let mut records = Records::new(Revision(0));
        let now = Instant::now();
        assert_eq!(records.put(record(1, 1, &["A", "B"]), now), ["A", "B"]);
        assert_eq!(records.put(record(2, 2, &["B"]), now), ["B"]);
        assert_eq!(records.revision("A"), Revision(1));
        assert_eq!(records.revision("B"), Revision(2));
        // An offer that is withdrawn touches its name too.
        assert_eq!(records.put(record(1, 3, &["C"]), now), ["A", "B", "C"]);
        assert_eq!(records.revision("A"), Revision(3));
        assert_eq!(records.named("A").count(), 0);
        assert_eq!(records.names(), 2);
    }

    #[test]
    fn a_name_that_is_gone_remembers_when_it_went() {
        let mut records = Records::new(Revision(0));
        records.put(record(1, 1, &["A"]), Instant::now());
        records
            .remove(InstanceId::from_bytes([1; 16]), Revision(2))
            .unwrap();
        assert_eq!(records.revision("A"), Revision(2));
        assert_eq!(records.revision("never"), Revision(0));
        // Forgetting it raises the floor, so that no watch takes it for unchanged.
        for n in 0..GONE_NAMES_MAX as u64 {
            records.put(record(2, 3 + 2 * n, &[&format!("x{n}")]), Instant::now());
            records
                .remove(InstanceId::from_bytes([2; 16]), Revision(4 + 2 * n))
                .unwrap();
        }
        assert_eq!(records.revision("A"), Revision(2));
        assert_eq!(records.revision("never"), Revision(2));
    }

    #[test]
    fn pages_follow_each_other_without_gap_and_repetition() {
        let mut records = Records::new(Revision(0));
        for n in 0..9 {
            records.put(
                record(n, u64::from(n), &["A", "B", "C"][..1 + n as usize % 3]),
                Instant::now(),
            );
        }
        let place = |found: &Found<'_>| {
            Cursor::new(found.offer.name.clone(), found.record.registration.instance)
        };
        let all: Vec<Cursor> = records.after(None).map(|f| place(&f)).collect();
        assert_eq!(all.len(), 18);
        let mut paged: Vec<Cursor> = Vec::new();
        loop {
            let next = records.after(paged.last()).next().map(|f| place(&f));
            let Some(next) = next else { break };
            paged.push(next);
        }
        assert_eq!(paged, all);
        // The place of something that has gone meanwhile still leads on.
        let cursor = Cursor::new("Az", InstanceId::from_bytes([9; 16]));
        assert_eq!(records.after(Some(&cursor)).next().unwrap().offer.name, "B");
    }
}
