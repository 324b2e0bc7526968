//! What every store promises, as one test that each of them runs.

use std::future::Future;
use std::time::{Duration, Instant};

use rpc_core::discovery::matchmaker::{
    Endpoint, HostId, InstanceId, Offer, Registration, Revision,
};

use super::{Store, StoreError};
use crate::registry::{Caller, Change, ConnectionKey, Contents, Limits, Principal, Registry};

/// Holds an empty store to the contract. `reopen` closes and opens it, as far as it outlives that.
pub(crate) async fn check<S, F>(store: S, reopen: impl Fn(S) -> F)
where
    S: Store,
    F: Future<Output = S>,
{
    let empty = store.load().await.unwrap();
    assert_eq!((empty.revision, empty.records.len()), (Revision(0), 0));
    let mut history = History::new(empty.clone());

    // What is committed is loaded, with every field, and after every change.
    for change in [
        history.put(1, "1.0.0"),
        history.put(2, "1.0.0"),
        history.put(1, "1.1.0"),
        history.remove(2),
        history.put(2, "2.0.0"),
    ] {
        store.commit(&[change]).await.unwrap();
    }
    assert_eq!(store.load().await.unwrap(), history.contents());
    assert_eq!(store.load().await.unwrap().epoch, empty.epoch);

    // Several changes of one instance in one commit leave the last.
    let batch = [
        history.put(3, "1.0.0"),
        history.remove(3),
        history.put(3, "3.0.0"),
    ];
    store.commit(&batch).await.unwrap();
    assert_eq!(store.load().await.unwrap(), history.contents());

    // A commit may be repeated, in whole, in part and together with what follows.
    store.commit(&batch).await.unwrap();
    store.commit(&batch[..1]).await.unwrap();
    assert_eq!(store.load().await.unwrap(), history.contents());
    let [first, second, third] = batch;
    let next = history.put(4, "1.0.0");
    store.commit(&[first, second, third, next]).await.unwrap();
    assert_eq!(store.load().await.unwrap(), history.contents());

    // Nothing is nothing.
    store.commit(&[]).await.unwrap();

    // A gap is refused, and then nothing of the commit is there.
    let before = store.load().await.unwrap();
    let (follows, lost, gap) = (
        history.put(5, "1.0.0"),
        history.put(6, "1.0.0"),
        history.put(7, "1.0.0"),
    );
    let refused = store.commit(&[follows.clone(), gap.clone()]).await;
    assert!(
        matches!(refused, Err(StoreError::OutOfOrder { .. })),
        "{refused:?}"
    );
    assert_eq!(store.load().await.unwrap(), before);
    store.commit(&[follows, lost, gap]).await.unwrap();

    // A store that outlives its closing has everything afterwards.
    let store = reopen(store).await;
    let after = store.load().await.unwrap();
    assert_eq!(after.records, history.contents().records);
    store.commit(&[history.remove(1)]).await.unwrap();
    assert_eq!(
        store.load().await.unwrap().records,
        history.contents().records
    );
}

/// A registry that makes the changes to commit.
struct History {
    registry: Registry,
    now: Instant,
}

impl History {
    fn new(contents: Contents) -> Self {
        let now = Instant::now();
        Self {
            registry: Registry::new(contents, Limits::default(), 7, now),
            now,
        }
    }

    fn put(&mut self, n: u8, version: &str) -> Change {
        let instance = InstanceId::from_bytes([n; 16]);
        let host = HostId::new("here");
        let mut registration = Registration::new(instance, host.clone(), u32::MAX);
        registration.incarnation = u64::MAX;
        registration
            .services
            .push(Offer::new("math.Größe", version, u64::MAX));
        registration
            .services
            .push(Offer::new("B", "0.1.0-rc.1+build", 0));
        registration
            .endpoints
            .push(Endpoint::on_host("unix:@calc", host));
        registration
            .endpoints
            .push(Endpoint::new("tcp://10.0.0.7:7000"));
        registration.ttl = Some(Duration::new(3, 7));
        registration
            .tags
            .insert("zone".into(), "\u{0}\u{1f980}".into());
        let caller = Caller::local(Principal::uid(1000), ConnectionKey(1));
        self.registry
            .register(self.now, &caller, &registration)
            .unwrap()
            .1
            .unwrap()
    }

    fn remove(&mut self, n: u8) -> Change {
        self.registry
            .evict(InstanceId::from_bytes([n; 16]))
            .unwrap()
    }

    fn contents(&self) -> Contents {
        self.registry.contents()
    }
}
