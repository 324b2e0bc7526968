//! Calls, watches and stores on tokio's paused clock.

use super::*;
use crate::registry::{Contents, LEASE_TTL_DEFAULT, Principal};
use crate::store::MemoryStore;
use async_trait::async_trait;
use rpc_core::discovery::matchmaker::{Endpoint, HostId, Offer};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);

fn caller() -> Caller {
    Caller::local(Principal::uid(1000), ConnectionKey(1))
}

async fn open(store: impl Store) -> MatchmakerService {
    let service = MatchmakerService::open(store, Limits::default(), caller)
        .await
        .unwrap();
    let driven = service.clone();
    tokio::spawn(async move { driven.run().await });
    // It sleeps before the first call, as it does in a daemon.
    settle().await;
    service
}

fn offering(n: u128, name: &str, version: &str) -> Registration {
    let instance = InstanceId::from_bytes(n.to_be_bytes());
    let mut registration = Registration::new(instance, HostId::new("here"), 42);
    registration
        .endpoints
        .push(Endpoint::new("tcp://10.0.0.7:7000"));
    registration.services.push(Offer::new(name, version, 7));
    registration
}

/// Starts a watch and lets it begin to wait.
async fn watching(
    service: &MatchmakerService,
    query: Query,
    after: Position,
) -> JoinHandle<Result<Snapshot, RegistryError>> {
    let service = service.clone();
    let watch = tokio::spawn(async move { service.watch(&query, Some(after), SECOND * 30).await });
    settle().await;
    watch
}

/// Lets every task run that can, in no time.
async fn settle() {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_not_renewed_ends_and_its_watch_is_told_then() {
    let service = open(MemoryStore::new()).await;
    service.register(&offering(1, "A", "1.0.0")).await.unwrap();
    let found = service.watch(&Query::new("A"), None, SECOND).await.unwrap();
    assert_eq!(found.instances.len(), 1);

    let began = Instant::now();
    let gone = service
        .watch(&Query::new("A"), Some(found.position()), SECOND * 60)
        .await
        .unwrap();
    assert_eq!(gone.instances, []);
    let took = began.elapsed();
    assert!(
        took >= LEASE_TTL_DEFAULT && took < LEASE_TTL_DEFAULT + SECOND,
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_renewed_lease_does_not_end() {
    let service = open(MemoryStore::new()).await;
    let registered = service.register(&offering(1, "A", "1.0.0")).await.unwrap();
    for _ in 0..100 {
        tokio::time::sleep(registered.ttl / 3).await;
        assert_eq!(service.renew(registered.lease).await.unwrap(), registered);
    }
    assert_eq!(
        service
            .lookup(&Query::new("A"))
            .await
            .unwrap()
            .instances
            .len(),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_is_seen_at_once() {
    let service = open(MemoryStore::new()).await;
    service.register(&offering(1, "A", "1.0.0")).await.unwrap();
    let seen = service.list(None).await.position();
    let watch = watching(&service, Query::new("A"), seen).await;
    let began = Instant::now();
    service.connection_closed(ConnectionKey(1));
    assert_eq!(watch.await.unwrap().unwrap().instances, []);
    assert_eq!(began.elapsed(), Duration::ZERO);
    settle().await;
    assert_eq!(service.health().await.unconfirmed, 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_wakes_for_its_own_name_only() {
    let service = open(MemoryStore::new()).await;
    let start = service.list(None).await.position();
    // A name that nobody offers is watched like any other.
    let missing = watching(&service, Query::new("A"), start).await;
    service.register(&offering(1, "B", "1.0.0")).await.unwrap();
    settle().await;
    assert!(!missing.is_finished());
    service.register(&offering(2, "A", "1.0.0")).await.unwrap();
    assert_eq!(missing.await.unwrap().unwrap().instances[0].offer.name, "A");
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_a_range_sleeps_through_other_versions() {
    let service = open(MemoryStore::new()).await;
    service.register(&offering(1, "A", "1.0.0")).await.unwrap();
    let seen = service.list(None).await.position();
    let watch = watching(&service, Query::new("A").with_version("^1"), seen).await;
    service.register(&offering(2, "A", "2.0.0")).await.unwrap();
    settle().await;
    assert!(!watch.is_finished());
    service.register(&offering(3, "A", "1.1.0")).await.unwrap();
    let found = watch.await.unwrap().unwrap();
    let versions: Vec<_> = found
        .instances
        .iter()
        .map(|i| i.offer.version.as_str())
        .collect();
    assert_eq!(versions, ["1.1.0", "1.0.0"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_without_news_answers_when_its_wait_ends() {
    let service = open(MemoryStore::new()).await;
    let position = service.list(None).await.position();
    let began = Instant::now();
    let answer = service
        .watch(&Query::new("A"), Some(position), SECOND * 7)
        .await
        .unwrap();
    assert_eq!((answer.position(), began.elapsed()), (position, SECOND * 7));
    service
        .watch(&Query::new("A"), Some(position), Duration::MAX)
        .await
        .unwrap();
    assert_eq!(began.elapsed(), SECOND * 7 + WATCH_WAIT_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_before_a_restart_is_answered_at_once() {
    let before = open(MemoryStore::new()).await.list(None).await.position();
    let service = open(MemoryStore::new()).await;
    let began = Instant::now();
    let answer = service
        .watch(&Query::new("A"), Some(before), SECOND * 7)
        .await
        .unwrap();
    assert_ne!(answer.epoch, before.epoch);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn what_changed_between_two_watches_is_not_missed() {
    let service = open(MemoryStore::new()).await;
    service.register(&offering(1, "A", "1.0.0")).await.unwrap();
    let seen = service
        .watch(&Query::new("A"), None, SECOND)
        .await
        .unwrap()
        .position();
    assert!(service.evict(InstanceId::from_bytes(1_u128.to_be_bytes())));
    service.register(&offering(2, "B", "1.0.0")).await.unwrap();
    let began = Instant::now();
    let answer = service
        .watch(&Query::new("A"), Some(seen), SECOND * 7)
        .await
        .unwrap();
    assert_eq!(
        (answer.instances.len(), began.elapsed()),
        (0, Duration::ZERO)
    );
}

#[tokio::test(start_paused = true)]
async fn row_39_watches_are_bounded_and_a_dropped_one_is_given_back() {
    let service = open(MemoryStore::new()).await;
    let position = service.list(None).await.position();
    let mut watches = Vec::new();
    for _ in 0..Limits::default().watches_per_connection {
        watches.push(watching(&service, Query::new("A"), position).await);
    }
    let refused = service
        .watch(&Query::new("A"), Some(position), SECOND)
        .await;
    assert!(
        matches!(refused, Err(RegistryError::QuotaExceeded { .. })),
        "{refused:?}"
    );
    assert_eq!(service.health().await.watches, 256);
    watches.pop().unwrap().abort();
    settle().await;
    assert_eq!(service.health().await.watches, 255);
    service
        .watch(&Query::new("A"), Some(position), SECOND)
        .await
        .unwrap();
}

/// A store whose medium can fail and be slow.
#[derive(Clone, Default)]
struct Flaky(Arc<FlakyState>);

#[derive(Default)]
struct FlakyState {
    memory: MemoryStore,
    failing: AtomicBool,
    slow: AtomicBool,
    commits: AtomicU64,
}

#[async_trait]
impl Store for Flaky {
    async fn load(&self) -> Result<Contents, StoreError> {
        self.0.memory.load().await
    }

    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.0.commits.fetch_add(1, Ordering::Relaxed);
        if self.0.slow.load(Ordering::Relaxed) {
            tokio::time::sleep(SECOND / 10).await;
        }
        if self.0.failing.load(Ordering::Relaxed) {
            let source = "disk full".into();
            return Err(StoreError::Unavailable {
                doing: "committing",
                source,
            });
        }
        self.0.memory.commit(changes).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_is_acknowledged_when_the_store_has_it() {
    let store = Flaky::default();
    let service = open(store.clone()).await;
    store.0.failing.store(true, Ordering::Relaxed);
    let registration = offering(1, "A", "1.0.0");
    for _ in 0..2 {
        // The second attempt is no change, and yet no success.
        let refused = service.register(&registration).await.unwrap_err();
        assert!(refused.to_string().contains("disk full"), "{refused}");
    }
    // Readers are not kept waiting for it.
    assert_eq!(
        service
            .lookup(&Query::new("A"))
            .await
            .unwrap()
            .instances
            .len(),
        1
    );
    assert_eq!(service.health().await.unconfirmed, 1);

    store.0.failing.store(false, Ordering::Relaxed);
    let registered = service.register(&registration).await.unwrap();
    assert_eq!(
        store.load().await.unwrap().records[0].lease,
        registered.lease
    );
    assert_eq!(service.health().await.unconfirmed, 0);
}

#[tokio::test(start_paused = true)]
async fn changes_that_no_call_waits_for_reach_the_store_when_it_recovers() {
    let store = Flaky::default();
    let service = open(store.clone()).await;
    service.register(&offering(1, "A", "1.0.0")).await.unwrap();
    store.0.failing.store(true, Ordering::Relaxed);
    tokio::time::sleep(SECOND * 20).await;
    assert_eq!(store.load().await.unwrap().records.len(), 1);
    store.0.failing.store(false, Ordering::Relaxed);
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(store.load().await.unwrap().records.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_changes_during_a_commit_goes_into_the_next() {
    let store = Flaky::default();
    let service = open(store.clone()).await;
    store.0.slow.store(true, Ordering::Relaxed);
    let register = |n| {
        let service = service.clone();
        tokio::spawn(async move { service.register(&offering(n, "A", "1.0.0")).await })
    };
    let first = register(1);
    settle().await;
    let second = register(2);
    first.await.unwrap().unwrap();
    assert_eq!(store.load().await.unwrap().records.len(), 1);
    second.await.unwrap().unwrap();
    assert_eq!(store.load().await.unwrap().records.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn changes_share_a_commit_and_survive_a_dropped_call() {
    let store = Flaky::default();
    let service = open(store.clone()).await;
    store.0.slow.store(true, Ordering::Relaxed);
    let calls: Vec<_> = (0..100)
        .map(|n| {
            let service = service.clone();
            tokio::spawn(async move { service.register(&offering(n, "A", "1.0.0")).await })
        })
        .collect();
    settle().await;
    // The one that commits for the others is dropped in the middle of it.
    calls[0].abort();
    for call in calls.into_iter().skip(1) {
        call.await.unwrap().unwrap();
    }
    assert_eq!(store.load().await.unwrap().records.len(), 100);
    let commits = store.0.commits.load(Ordering::Relaxed);
    assert!(commits < 10, "{commits} commits");
}

#[tokio::test(start_paused = true)]
async fn row_32_a_restart_with_a_store_that_lasts_changes_nothing_for_registrants() {
    let store = Flaky::default();
    let registration = offering(1, "A", "1.0.0");
    let registered = open(store.clone())
        .await
        .register(&registration)
        .await
        .unwrap();
    tokio::time::sleep(SECOND * 10).await;
    let service = open(store).await;
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(service.renew(registered.lease).await.unwrap(), registered);
}

#[test]
fn the_futures_may_move_between_threads() {
    fn send<T: Send>(_: impl FnOnce(&'static MatchmakerService) -> T) {}
    send(|service| async {
        let query = Query::new("A");
        let _ = service.watch(&query, None, SECOND).await;
        let _ = service.register(&offering(1, "A", "1.0.0")).await;
        let _ = service.deregister(LeaseId(1), Revision(1)).await;
        service.run().await
    });
}
