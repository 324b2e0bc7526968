//! The registry against a naive model: a list of records and the rules in words of one line.
//!
//! `SEED=n cargo test -p matchmaker model` repeats a run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use rpc_core::discovery::matchmaker::{Endpoint, Epoch, HostId, Offer};

/// What the model knows of one instance.
#[derive(Clone, Debug)]
struct Entry {
    registration: Registration,
    principal: Principal,
    lease: LeaseId,
    revision: u64,
    ends: Instant,
    bound: Option<ConnectionKey>,
}

#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<InstanceId, Entry>,
    /// The last incarnation of what has gone, and whether it said goodbye.
    graves: BTreeMap<InstanceId, (u64, bool)>,
    /// The last change of every name there ever was.
    names: BTreeMap<String, u64>,
    revision: u64,
}

const NAMES_PER_PRINCIPAL: usize = 12;
const NAMES_TOTAL: usize = 30;
const TTL: Duration = Duration::from_secs(15);

impl Model {
    fn touch(&mut self, registration: &Registration) {
        for offer in &registration.services {
            self.names.insert(offer.name.clone(), self.revision);
        }
    }

    fn remove(&mut self, instance: InstanceId, goodbye: bool) {
        let entry = self.entries.remove(&instance).unwrap();
        self.revision += 1;
        self.graves
            .insert(instance, (entry.registration.incarnation, goodbye));
        self.touch(&entry.registration);
    }

    fn charged(&self, principal: Option<&Principal>) -> usize {
        let entries = self.entries.values();
        let charged =
            entries.filter(|e| principal.is_none_or(|principal| e.principal == *principal));
        charged.map(|e| e.registration.services.len()).sum()
    }

    /// Whether the registration is accepted, and whether it is a change.
    fn register(&mut self, now: Instant, caller: &Caller, new: &Registration) -> Option<bool> {
        let old = self.entries.get(&new.instance).cloned();
        if let Some(old) = &old {
            if old.principal != caller.principal || new.incarnation < old.registration.incarnation {
                return None;
            }
        } else if let Some((incarnation, goodbye)) = self.graves.get(&new.instance) {
            if new.incarnation < *incarnation || (new.incarnation == *incarnation && *goodbye) {
                return None;
            }
        }
        let bound = caller.local.then_some(caller.connection);
        if old.as_ref().is_some_and(|old| old.registration == *new) {
            let entry = self.entries.get_mut(&new.instance).unwrap();
            (entry.ends, entry.bound) = (now + TTL, bound);
            return Some(false);
        }
        let before = old
            .as_ref()
            .map_or(0, |old| old.registration.services.len());
        let more = new.services.len().saturating_sub(before);
        let full = self.charged(Some(&caller.principal)) + more > NAMES_PER_PRINCIPAL
            || self.charged(None) + more > NAMES_TOTAL;
        if more > 0 && full {
            return None;
        }
        self.revision += 1;
        if let Some(old) = &old {
            self.touch(&old.registration);
        }
        self.touch(new);
        self.graves.remove(&new.instance);
        let entry = Entry {
            registration: new.clone(),
            principal: caller.principal.clone(),
            lease: LeaseId(0),
            revision: self.revision,
            ends: now + TTL,
            bound,
        };
        self.entries.insert(new.instance, entry);
        Some(true)
    }
}

#[test]
fn the_registry_agrees_with_a_naive_model() {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..20 {
        history(&mut rng, 2_000);
    }
}

fn history(rng: &mut fastrand::Rng, operations: usize) {
    let limits = Limits {
        names_per_principal: NAMES_PER_PRINCIPAL,
        names_total: NAMES_TOTAL,
        ..Limits::default()
    };
    let mut now = Instant::now();
    let mut registry = Registry::new(Contents::empty(Epoch(1)), limits.clone(), rng.u64(..), now);
    let mut model = Model::default();
    // A store that follows by changes alone.
    let mut replica: BTreeMap<InstanceId, Arc<Record>> = BTreeMap::new();
    // Every lease and revision ever granted, for late words of old owners.
    let mut granted: Vec<(LeaseId, Revision)> = vec![(LeaseId(1), Revision(1))];

    for step in 0..operations {
        let caller = Caller {
            principal: Principal::uid(rng.u32(0..4)),
            connection: ConnectionKey(rng.u64(0..6)),
            local: rng.bool(),
        };
        let before = registry.position();
        let mut changes = Vec::new();
        match rng.u32(0..100) {
            0..45 => {
                let new = registration(rng);
                let expected = model.register(now, &caller, &new);
                let result = registry.register(now, &caller, &new);
                assert_eq!(
                    result.is_ok(),
                    expected.is_some(),
                    "step {step}: {result:?}"
                );
                if let Ok((registered, change)) = result {
                    assert_eq!(Some(change.is_some()), expected, "step {step}");
                    let entry = model.entries.get_mut(&new.instance).unwrap();
                    if change.is_none() {
                        assert_eq!(entry.lease, registered.lease, "step {step}");
                    }
                    entry.lease = registered.lease;
                    assert_eq!(registered.revision.0, entry.revision, "step {step}");
                    granted.push((registered.lease, registered.revision));
                    changes.extend(change);
                }
            }
            45..65 => {
                let (lease, _) = granted[rng.usize(..granted.len())];
                let result = registry.renew(now, &caller, lease);
                let entry = model
                    .entries
                    .values_mut()
                    .find(|entry| entry.lease == lease);
                let entry = entry.filter(|entry| entry.principal == caller.principal);
                assert_eq!(result.is_ok(), entry.is_some(), "step {step}: {result:?}");
                if let Some(entry) = entry {
                    entry.ends = now + TTL;
                    entry.bound = caller.local.then_some(caller.connection);
                }
            }
            65..75 => {
                let (lease, revision) = granted[rng.usize(..granted.len())];
                let result = registry.deregister(now, &caller, lease, revision);
                let entry = model.entries.values().find(|entry| entry.lease == lease);
                let expected = match entry {
                    None => Some(None),
                    Some(entry) if entry.principal != caller.principal => None,
                    Some(entry) if entry.revision != revision.0 => None,
                    Some(entry) => Some(Some(entry.registration.instance)),
                };
                assert_eq!(
                    result.is_ok(),
                    expected.is_some(),
                    "step {step}: {result:?}"
                );
                if let Some(Some(instance)) = expected {
                    model.remove(instance, true);
                }
                changes.extend(result.ok().flatten());
            }
            75..80 => {
                changes = registry.connection_closed(now, caller.connection);
                // The order of several removals is the registry's own.
                for change in &changes {
                    let entry = &model.entries[&change.instance];
                    assert_eq!(entry.bound, Some(caller.connection), "step {step}");
                    model.remove(change.instance, false);
                }
                assert!(
                    model
                        .entries
                        .values()
                        .all(|e| e.bound != Some(caller.connection))
                );
            }
            80..82 => {
                let instance = instance(rng);
                if model.entries.contains_key(&instance) {
                    model.remove(instance, false);
                }
                changes.extend(registry.evict(instance));
            }
            82..84 => {
                // A restart with the same store: all leases are whole, and no connection is left.
                registry = Registry::new(registry.contents(), limits.clone(), rng.u64(..), now);
                for entry in model.entries.values_mut() {
                    (entry.ends, entry.bound) = (now + TTL, None);
                }
                model.graves.clear();
            }
            _ => {
                let until = now + Duration::from_millis(rng.u64(0..6_000));
                while let Some(at) = registry.poll_timeout().filter(|at| *at <= until) {
                    for change in registry.handle_timeout(at) {
                        let entry = &model.entries[&change.instance];
                        assert!(entry.ends <= at, "step {step}: ended too soon");
                        assert!(
                            at - entry.ends <= EXPIRY_INTERVAL,
                            "step {step}: ended late"
                        );
                        model.remove(change.instance, false);
                        changes.push(change);
                    }
                }
                now = until;
                assert!(
                    model.entries.values().all(|e| e.ends > now),
                    "step {step}: not ended"
                );
            }
        }

        // Changes are numbered without gaps, and are all there is.
        for (n, change) in changes.iter().enumerate() {
            assert_eq!(
                change.revision.0,
                before.revision.0 + 1 + n as u64,
                "step {step}"
            );
            match &change.action {
                Action::Put(record) => replica.insert(change.instance, Arc::clone(record)),
                Action::Remove(_) => replica.remove(&change.instance),
            };
        }
        assert_eq!(
            registry.position().revision.0,
            model.revision,
            "step {step}"
        );
        assert_eq!(
            registry.contents().records,
            replica.values().cloned().collect::<Vec<_>>()
        );
        compare(&registry, &model, now, rng, step, &changes, before);
    }
}

fn compare(
    registry: &Registry,
    model: &Model,
    now: Instant,
    rng: &mut fastrand::Rng,
    step: usize,
    changes: &[Change],
    before: Position,
) {
    let listed = registry.list(now, None);
    assert_eq!(listed.instances.len(), model.charged(None), "step {step}");
    for listed in &listed.instances {
        let entry = &model.entries[&listed.instance];
        assert!(
            entry.registration.services.contains(&listed.offer),
            "step {step}"
        );
        assert_eq!(listed.revision.0, entry.revision, "step {step}");
        assert_eq!(listed.expires_in, entry.ends - now, "step {step}");
    }
    let query = Query::new(name(rng)).with_version("^1");
    let mut found: Vec<InstanceId> = registry
        .answer(now, &query)
        .unwrap()
        .instances
        .iter()
        .map(|instance| instance.instance)
        .collect();
    found.sort_unstable();
    let offers = |entry: &Entry| {
        let services = &entry.registration.services;
        services
            .iter()
            .any(|o| o.name == query.name && o.version.starts_with("1."))
    };
    let expected: Vec<InstanceId> = model
        .entries
        .iter()
        .filter(|(_, entry)| offers(entry))
        .map(|(id, _)| *id)
        .collect();
    assert_eq!(found, expected, "step {step}");
    // A watch that was up to date before this step is told exactly of the names that changed.
    for n in 0..NAMES {
        let name = format!("S{n}");
        let touched = changes.iter().any(|change| change.names.contains(&name));
        assert_eq!(
            registry.changed_since(&name, before),
            touched,
            "step {step}: {name}"
        );
        let last = model.names.get(&name).copied().unwrap_or(0);
        assert_eq!(touched, last > before.revision.0, "step {step}: {name}");
    }
}

const NAMES: u32 = 8;

fn name(rng: &mut fastrand::Rng) -> String {
    format!("S{}", rng.u32(..NAMES))
}

fn instance(rng: &mut fastrand::Rng) -> InstanceId {
    InstanceId::from_bytes(rng.u128(0..12).to_be_bytes())
}

fn registration(rng: &mut fastrand::Rng) -> Registration {
    let mut registration = Registration::new(instance(rng), HostId::new("here"), 1);
    registration.incarnation = rng.u64(1..4);
    registration.ttl = Some(TTL);
    registration
        .endpoints
        .push(Endpoint::new("tcp://10.0.0.7:7000"));
    let first = rng.u32(..NAMES);
    for n in 0..rng.u32(1..5) {
        let version = if rng.bool() { "1.0.0" } else { "2.0.0" };
        registration
            .services
            .push(Offer::new(format!("S{}", (first + n) % NAMES), version, 0));
    }
    registration
}
