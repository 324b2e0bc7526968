//! Histories of a registry, told with a clock of their own.

use std::time::Duration;

use super::*;
use rpc_core::discovery::matchmaker::{Endpoint, Epoch, HostId, Offer};

const SECOND: Duration = Duration::from_secs(1);

/// A registry, and the time.
struct Desk {
    registry: Registry,
    now: Instant,
}

impl Desk {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            registry: Registry::new(Contents::empty(Epoch(1)), limits, 1, now),
            now,
        }
    }

    fn register(
        &mut self,
        caller: &Caller,
        registration: &Registration,
    ) -> Result<(Registered, Option<Change>), RegistryError> {
        self.registry.register(self.now, caller, registration)
    }

    fn registered(&mut self, caller: &Caller, registration: &Registration) -> Registered {
        self.register(caller, registration).unwrap().0
    }

    /// Lets time pass, with punctual ticks.
    fn pass(&mut self, time: Duration) -> Vec<Change> {
        let until = self.now + time;
        let mut changes = Vec::new();
        while let Some(at) = self.registry.poll_timeout().filter(|at| *at <= until) {
            changes.extend(self.registry.handle_timeout(at));
        }
        self.now = until;
        changes
    }

    /// The instances of a name.
    fn names(&self, name: &str) -> Vec<InstanceId> {
        let found = self.registry.answer(self.now, &Query::new(name)).unwrap();
        found
            .instances
            .iter()
            .map(|instance| instance.instance)
            .collect()
    }
}

fn alice(connection: u64) -> Caller {
    Caller::local(Principal::uid(1000), ConnectionKey(connection))
}

fn bob(connection: u64) -> Caller {
    Caller::remote(Principal::uid(2000), ConnectionKey(connection))
}

fn instance(n: u128) -> InstanceId {
    InstanceId::from_bytes(n.to_be_bytes())
}

fn offering(n: u128, services: &[(&str, &str)]) -> Registration {
    let mut registration = Registration::new(instance(n), HostId::new("here"), 42);
    registration
        .endpoints
        .push(Endpoint::new("tcp://10.0.0.7:7000"));
    registration.services = services
        .iter()
        .map(|(n, v)| Offer::new(*n, *v, 7))
        .collect();
    registration
}

#[test]
fn what_is_registered_is_found() {
    let mut desk = Desk::new();
    let (registered, change) = desk
        .register(&alice(1), &offering(1, &[("Calculator", "1.2.0")]))
        .unwrap();
    let change = change.unwrap();
    assert_eq!(change.names, ["Calculator"]);
    assert_eq!(change.revision, registered.revision);
    assert_eq!(registered.ttl, LEASE_TTL_DEFAULT);

    desk.pass(SECOND * 3);
    let found = desk
        .registry
        .lookup(desk.now, &Query::new("Calculator"))
        .unwrap();
    assert_eq!(found.position(), desk.registry.position());
    let found = &found.instances[0];
    assert_eq!(found.offer, Offer::new("Calculator", "1.2.0", 7));
    assert_eq!((found.instance, found.pid), (instance(1), 42));
    assert_eq!((found.age, found.expires_in), (SECOND * 3, SECOND * 12));
    assert_eq!(
        (found.revision, found.state),
        (registered.revision, State::Ready)
    );
}

#[test]
fn the_same_registration_again_is_a_renewal() {
    let mut desk = Desk::new();
    let registration = offering(1, &[("A", "1.0.0")]);
    let first = desk.registered(&alice(1), &registration);
    desk.pass(SECOND * 10);
    let (again, change) = desk.register(&alice(1), &registration).unwrap();
    assert_eq!((again, change), (first, None));
    assert_eq!(desk.pass(SECOND * 14), []);
    assert_eq!(desk.pass(SECOND).len(), 1);
}

#[test]
fn changed_offers_touch_the_names_that_come_go_and_stay() {
    let mut desk = Desk::new();
    let first = desk.registered(&alice(1), &offering(1, &[("A", "1.0.0"), ("B", "1.0.0")]));
    desk.pass(SECOND);
    let (second, change) = desk
        .register(&alice(1), &offering(1, &[("B", "1.0.0"), ("C", "1.0.0")]))
        .unwrap();
    assert_eq!(change.unwrap().names, ["A", "B", "C"]);
    assert_eq!(second.lease, first.lease);
    assert!(second.revision > first.revision);
    assert_eq!(desk.names("A"), []);
    // The instance is as old as it was; only its record is new.
    let found = desk.registry.lookup(desk.now, &Query::new("C")).unwrap();
    assert_eq!(found.instances[0].age, SECOND);
}

#[test]
fn several_instances_may_offer_one_service() {
    let mut desk = Desk::new();
    desk.registered(&alice(1), &offering(1, &[("A", "1.0.0")]));
    desk.registered(&bob(2), &offering(2, &[("A", "2.0.0")]));
    assert_eq!(desk.names("A"), [instance(2), instance(1)]);
}

#[test]
fn a_range_selects_versions_and_a_refusal_names_the_others() {
    let mut desk = Desk::new();
    for (n, version) in [(1, "1.2.0"), (2, "1.10.0"), (3, "2.0.0"), (4, "1.2.0")] {
        desk.registered(&alice(1), &offering(n, &[("A", version)]));
    }
    let query = Query::new("A").with_version("^1.2");
    let found = desk.registry.lookup(desk.now, &query).unwrap();
    let versions: Vec<_> = found
        .instances
        .iter()
        .map(|i| i.offer.version.as_str())
        .collect();
    assert_eq!(versions, ["1.10.0", "1.2.0", "1.2.0"]);

    let query = Query::new("A").with_version("^3");
    assert_eq!(
        desk.registry.lookup(desk.now, &query),
        Err(RegistryError::NotFound {
            query,
            offered: vec!["2.0.0".into(), "1.10.0".into(), "1.2.0".into()]
        })
    );
}

#[test]
fn a_record_belongs_to_its_principal() {
    let mut desk = Desk::new();
    let registered = desk.registered(&alice(1), &offering(1, &[("A", "1.0.0")]));
    let refused = RegistryError::NotOwner {
        instance: instance(1),
    };
    let mut stolen = offering(1, &[("A", "6.6.6")]);
    stolen.incarnation = 99;
    assert_eq!(desk.register(&bob(2), &stolen), Err(refused.clone()));
    let Desk { registry, now } = &mut desk;
    assert_eq!(
        registry.renew(*now, &bob(2), registered.lease),
        Err(refused.clone())
    );
    assert_eq!(
        registry.deregister(*now, &bob(2), registered.lease, registered.revision),
        Err(refused)
    );
}

#[test]
fn row_30_an_owner_that_slept_past_its_lease_has_lost_it() {
    let mut desk = Desk::new();
    let registration = offering(1, &[("A", "1.0.0")]);
    let old = desk.registered(&bob(1), &registration);
    let ended = desk.pass(SECOND * 30);
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].action, Action::Remove(Cause::Expired));

    assert_eq!(
        desk.registry.renew(desk.now, &bob(1), old.lease),
        Err(RegistryError::LeaseLost { lease: old.lease })
    );
    let new = desk.registered(&bob(1), &registration);
    assert!(new.revision > old.revision && new.lease != old.lease);
    // Its old goodbye does not reach the new record.
    assert_eq!(
        desk.registry
            .deregister(desk.now, &bob(1), old.lease, old.revision),
        Ok(None)
    );
    assert_eq!(desk.names("A"), [instance(1)]);
}

#[test]
fn a_lower_incarnation_is_refused_and_a_higher_one_replaces() {
    let mut desk = Desk::new();
    let mut registration = offering(1, &[("A", "1.0.0")]);
    registration.incarnation = 5;
    let old = desk.registered(&bob(1), &registration);
    desk.pass(SECOND);
    registration.incarnation = 4;
    let stale = RegistryError::StaleIncarnation { current: 5 };
    assert_eq!(desk.register(&bob(1), &registration), Err(stale.clone()));
    registration.incarnation = 6;
    let new = desk.registered(&bob(1), &registration);
    assert_ne!(new.lease, old.lease);
    assert!(new.revision > old.revision);
    let found = desk.registry.lookup(desk.now, &Query::new("A")).unwrap();
    assert_eq!(found.instances[0].age, Duration::ZERO);
    assert_eq!(
        desk.registry.renew(desk.now, &bob(1), old.lease),
        Err(RegistryError::LeaseLost { lease: old.lease })
    );
    // Nor does a lower one come back after the end.
    desk.pass(SECOND * 30);
    registration.incarnation = 5;
    assert!(desk.register(&bob(1), &registration).is_err());
}

#[test]
fn a_goodbye_is_final_for_its_incarnation() {
    let mut desk = Desk::new();
    let mut registration = offering(1, &[("A", "1.0.0")]);
    let registered = desk.registered(&bob(1), &registration);
    let change = desk
        .registry
        .deregister(desk.now, &bob(1), registered.lease, registered.revision)
        .unwrap()
        .unwrap();
    assert_eq!(change.action, Action::Remove(Cause::Deregistered));
    assert_eq!(
        desk.register(&bob(1), &registration),
        Err(RegistryError::StaleIncarnation { current: 1 })
    );
    registration.incarnation = 2;
    desk.registered(&bob(1), &registration);
}

#[test]
fn deregistration_is_fenced_by_the_revision() {
    let mut desk = Desk::new();
    let old = desk.registered(&bob(1), &offering(1, &[("A", "1.0.0")]));
    let new = desk.registered(&bob(1), &offering(1, &[("A", "1.1.0")]));
    assert_eq!(
        desk.registry
            .deregister(desk.now, &bob(1), old.lease, old.revision),
        Err(RegistryError::Fenced {
            current: new.revision
        })
    );
    assert_eq!(desk.names("A"), [instance(1)]);
}

#[test]
fn what_an_operator_evicts_may_come_back() {
    let mut desk = Desk::new();
    let registration = offering(1, &[("A", "1.0.0")]);
    let old = desk.registered(&bob(1), &registration);
    assert_eq!(
        desk.registry.evict(instance(1)).unwrap().action,
        Action::Remove(Cause::Evicted)
    );
    assert_eq!(desk.registry.evict(instance(1)), None);
    assert!(desk.registry.renew(desk.now, &bob(1), old.lease).is_err());
    desk.registered(&bob(1), &registration);
    assert_eq!(desk.names("A"), [instance(1)]);
}

#[test]
fn a_local_registrants_death_is_seen_at_once_and_a_remote_ones_at_lease_end() {
    let mut desk = Desk::new();
    desk.registered(&alice(1), &offering(1, &[("A", "1.0.0")]));
    desk.registered(&bob(2), &offering(2, &[("A", "1.0.0")]));
    let ended = desk.registry.connection_closed(desk.now, ConnectionKey(1));
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].action, Action::Remove(Cause::ConnectionClosed));
    assert_eq!(
        desk.registry.connection_closed(desk.now, ConnectionKey(2)),
        []
    );
    assert_eq!(desk.names("A"), [instance(2)]);
    assert_eq!(desk.pass(SECOND * 15).len(), 1);
}

#[test]
fn a_registrant_that_has_moved_to_another_connection_survives_the_first() {
    let mut desk = Desk::new();
    let registration = offering(1, &[("A", "1.0.0")]);
    let registered = desk.registered(&alice(1), &registration);
    desk.registry
        .renew(desk.now, &alice(2), registered.lease)
        .unwrap();
    assert_eq!(
        desk.registry.connection_closed(desk.now, ConnectionKey(1)),
        []
    );
    desk.registered(&alice(3), &registration);
    assert_eq!(
        desk.registry.connection_closed(desk.now, ConnectionKey(2)),
        []
    );
    desk.registry.bind(registered.lease, ConnectionKey(4));
    assert_eq!(
        desk.registry.connection_closed(desk.now, ConnectionKey(3)),
        []
    );
    assert_eq!(
        desk.registry
            .connection_closed(desk.now, ConnectionKey(4))
            .len(),
        1
    );
}

#[test]
fn times_to_live_are_bounded_and_told() {
    let mut desk = Desk::new();
    for (n, asked, granted) in [
        (1, None, LEASE_TTL_DEFAULT),
        (2, Some(Duration::ZERO), LEASE_TTL_MIN),
        (3, Some(Duration::MAX), LEASE_TTL_MAX),
        (4, Some(SECOND * 30), SECOND * 30),
    ] {
        let mut registration = offering(n, &[("A", "1.0.0")]);
        registration.ttl = asked;
        assert_eq!(desk.registered(&bob(1), &registration).ttl, granted);
    }
}

#[test]
fn who_misses_renewals_is_suspect_before_it_is_gone() {
    let mut desk = Desk::new();
    let registered = desk.registered(&bob(1), &offering(1, &[("A", "1.0.0")]));
    let state = |desk: &Desk| {
        desk.registry
            .lookup(desk.now, &Query::new("A"))
            .unwrap()
            .instances[0]
            .state
    };
    desk.pass(SECOND * 11);
    assert_eq!(state(&desk), State::Ready);
    desk.pass(SECOND);
    assert_eq!(state(&desk), State::Suspect);
    desk.registry
        .renew(desk.now, &bob(1), registered.lease)
        .unwrap();
    assert_eq!(state(&desk), State::Ready);
}

#[test]
fn row_29_time_that_goes_back_ends_nothing() {
    let mut desk = Desk::new();
    desk.now += SECOND * 100;
    desk.registered(&bob(1), &offering(1, &[("A", "1.0.0")]));
    let earlier = desk.now - SECOND * 50;
    assert_eq!(desk.registry.handle_timeout(earlier), []);
    let Desk { registry, .. } = &desk;
    assert_eq!(
        registry
            .answer(earlier, &Query::new("A"))
            .unwrap()
            .instances[0]
            .age,
        Duration::ZERO
    );
}

#[test]
fn row_31_a_registry_that_was_stopped_drops_nobody() {
    let mut desk = Desk::new();
    let leases: Vec<Registered> = (0..1_000)
        .map(|n| desk.registered(&bob(n as u64), &offering(n, &[(&format!("S{n}"), "1.0.0")])))
        .collect();
    desk.pass(SECOND * 5);
    desk.now += SECOND * 60;
    // The clock tells the truth to whoever asks first; renewals come in within their old time.
    assert_eq!(desk.registry.handle_timeout(desk.now), []);
    assert_eq!(desk.pass(SECOND * 5), []);
    for (n, registered) in leases.iter().enumerate() {
        assert!(
            desk.registry
                .renew(desk.now, &bob(n as u64), registered.lease)
                .is_ok()
        );
    }
    assert_eq!(desk.pass(SECOND * 14), []);
    assert_eq!(desk.registry.health(desk.now, "1").paused, SECOND * 60);
}

#[test]
fn row_31_a_renewal_that_comes_before_the_late_tick_counts_no_pause_twice() {
    let mut desk = Desk::new();
    let registered = desk.registered(&bob(1), &offering(1, &[("A", "1.0.0")]));
    desk.now += SECOND * 60;
    desk.registry
        .renew(desk.now, &bob(1), registered.lease)
        .unwrap();
    assert_eq!(desk.registry.handle_timeout(desk.now), []);
    let found = desk.registry.lookup(desk.now, &Query::new("A")).unwrap();
    assert_eq!(found.instances[0].expires_in, LEASE_TTL_DEFAULT);
}

#[test]
fn row_32_loaded_records_have_their_full_time() {
    let mut desk = Desk::new();
    let registration = offering(1, &[("A", "1.0.0"), ("B", "1.0.0")]);
    let registered = desk.registered(&bob(1), &registration);
    let contents = desk.registry.contents();
    desk.now += SECOND * 100;
    desk.registry = Registry::new(contents.clone(), Limits::default(), 2, desk.now);
    assert_eq!(desk.registry.contents(), contents);
    assert_eq!(desk.pass(SECOND * 14), []);
    // The registrant goes on as if nothing had happened.
    let (again, change) = desk.register(&bob(1), &registration).unwrap();
    assert_eq!((again, change), (registered, None));
    desk.pass(SECOND * 15);
    assert_eq!(desk.names("A"), []);
}

#[test]
fn row_39_one_principal_cannot_fill_the_registry() {
    let limits = Limits {
        names_per_principal: 4,
        names_total: 6,
        ..Limits::default()
    };
    let mut desk = Desk::with_limits(limits);
    let refused = |result: Result<(Registered, Option<Change>), RegistryError>| match result {
        Err(RegistryError::QuotaExceeded { what, limit }) => (what, limit),
        other => panic!("{other:?}"),
    };
    desk.registered(
        &bob(1),
        &offering(1, &[("A", "1.0.0"), ("B", "1.0.0"), ("C", "1.0.0")]),
    );
    let two = [("D", "1.0.0"), ("E", "1.0.0")];
    let (what, limit) = refused(desk.register(&bob(1), &offering(2, &two)));
    assert_eq!((what.as_str(), limit), ("services of one principal", 4));
    // Others still have room, down to the last entry.
    desk.registered(&alice(2), &offering(3, &two));
    desk.registered(&bob(1), &offering(2, &[("D", "1.0.0")]));
    let (what, limit) = refused(desk.register(&alice(2), &offering(4, &[("F", "1.0.0")])));
    assert_eq!((what.as_str(), limit), ("services in all", 6));
    // What is released can be used again, and an update that does not grow always passes.
    desk.registered(
        &bob(1),
        &offering(1, &[("A", "1.1.0"), ("B", "1.0.0"), ("C", "1.0.0")]),
    );
    desk.registry.evict(instance(1)).unwrap();
    desk.registered(&alice(2), &offering(4, &[("F", "1.0.0"), ("G", "1.0.0")]));
}

#[test]
fn a_watcher_of_one_name_is_not_told_of_another() {
    let mut desk = Desk::new();
    desk.registered(&bob(1), &offering(1, &[("A", "1.0.0")]));
    let seen = desk.registry.position();
    desk.registered(&bob(1), &offering(2, &[("B", "1.0.0")]));
    assert!(!desk.registry.changed_since("A", seen));
    assert!(desk.registry.changed_since("B", seen));
    assert!(!desk.registry.changed_since("missing", seen));
    // Another life of the store, or a position from the future, is answered at once.
    assert!(
        desk.registry
            .changed_since("A", Position::new(Epoch(2), seen.revision))
    );
    assert!(
        desk.registry
            .changed_since("A", Position::new(Epoch(1), Revision(99)))
    );
    // So is a name that went in between.
    let seen = desk.registry.position();
    desk.registry.evict(instance(1)).unwrap();
    assert!(desk.registry.changed_since("A", seen));
}

#[test]
fn a_long_list_comes_in_pages() {
    let mut desk = Desk::new();
    for n in 0..1_000_u128 {
        let mut registration = offering(n, &[("A", "1.0.0"), ("B", "1.0.0")]);
        registration.tags.insert("text".into(), "x".repeat(4_000));
        let caller = Caller::remote(Principal::uid(n as u32), ConnectionKey(1));
        desk.registered(&caller, &registration);
    }
    let mut seen = Vec::new();
    let mut page = desk.registry.list(desk.now, None);
    let mut pages = 1;
    loop {
        let bytes: usize = page.instances.iter().map(size).sum();
        assert!(bytes <= PAGE_BYTES_MAX);
        seen.extend(
            page.instances
                .iter()
                .map(|i| (i.offer.name.clone(), i.instance)),
        );
        let Some(cursor) = page.cursor() else { break };
        page = desk.registry.list(desk.now, Some(&cursor));
        pages += 1;
    }
    assert_eq!((seen.len(), pages), (2_000, 8));
    assert!(seen.is_sorted());
    // A lookup is one answer and says that there is more.
    assert!(
        desk.registry
            .lookup(desk.now, &Query::new("A"))
            .unwrap()
            .more
    );
}
