//! Who dials, and what becomes of those who wait.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

use super::*;
use crate::transport::{Conduit, Peer};

fn dialer(connector: impl Connector) -> Dialer {
    Dialer::new(Box::new(connector), Arc::default(), None)
}

struct Panics;

#[async_trait]
impl Connector for Panics {
    async fn connect(&self) -> Result<Conduit, Error> {
        panic!("on purpose");
    }

    fn address(&self) -> &str {
        "panics"
    }
}

#[tokio::test]
async fn a_connector_that_panics_is_a_failure_of_its_dial() {
    let error = dialer(Panics).acquire().await.unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    assert!(error.to_string().contains("by a panic"), "{error}");
}

/// Connects as often as it is let, to somebody who says nothing.
struct Let {
    permits: Arc<Semaphore>,
    dials: Arc<AtomicUsize>,
}

#[async_trait]
impl Connector for Let {
    async fn connect(&self) -> Result<Conduit, Error> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        self.permits.acquire().await.unwrap().forget();
        let (ours, theirs) = tokio::io::duplex(4096);
        std::mem::forget(theirs);
        Ok(Conduit::new(ours, Peer::new("let")))
    }

    fn address(&self) -> &str {
        "let"
    }
}

#[tokio::test]
async fn who_asks_first_may_go_while_the_others_wait() {
    let permits = Arc::new(Semaphore::new(0));
    let dials = Arc::new(AtomicUsize::new(0));
    let dialer = dialer(Let {
        permits: Arc::clone(&permits),
        dials: Arc::clone(&dials),
    });
    let first = tokio::spawn(dialer.acquire());
    let second = tokio::spawn(dialer.acquire());
    yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    permits.add_permits(1);
    let link = second.await.unwrap().unwrap();
    assert!(dialer.owns(&link));
    assert_eq!(dials.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_dial_that_need_not_wait_is_over_at_once() {
    let dialer = dialer(Let {
        permits: Arc::new(Semaphore::new(1)),
        dials: Arc::default(),
    });
    let mut asking = dialer.acquire();
    let mut nobody = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(link)) = asking.as_mut().poll(&mut nobody) else {
        panic!("it waits");
    };
    assert!(dialer.owns(&link));
}

#[tokio::test]
async fn one_that_is_abandoned_keeps_no_connection() {
    let let_once = || {
        dialer(Let {
            permits: Arc::new(Semaphore::new(1)),
            dials: Arc::default(),
        })
    };
    let dialer = let_once();
    let link = dialer.acquire().await.unwrap();
    dialer.abandon();
    link.closed().cancelled().await;
    assert!(link.is_closed_here());
    // Who makes a call that was left unsent gets one all the same, which ends with that.
    let dialer = let_once();
    dialer.abandon();
    let link = dialer.acquire().await.unwrap();
    assert!(!dialer.owns(&link) && link.fault().is_none());
}

/// Connects to somebody who has gone.
struct Gone;

#[async_trait]
impl Connector for Gone {
    async fn connect(&self) -> Result<Conduit, Error> {
        let (ours, _) = tokio::io::duplex(4096);
        Ok(Conduit::new(ours, Peer::new("gone")))
    }

    fn address(&self) -> &str {
        "gone"
    }
}

/// On another thread the task of a connection may be over before its dial looks at it.
#[tokio::test]
async fn a_peer_that_goes_at_once_is_not_taken_for_a_runtime_that_ends() {
    let link = dialer(Gone).acquire().await.unwrap();
    link.closed().cancelled().await;
    assert!(link.is_draining() && !link.is_closed_here());
}

#[test]
fn a_runtime_that_ends_closes_its_connections_here() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let dialer = dialer(Let {
        permits: Arc::new(Semaphore::new(1)),
        dials: Arc::default(),
    });
    let link = runtime.block_on(dialer.acquire()).unwrap();
    assert!(!link.is_closed_here());
    drop(runtime);
    assert!(link.is_draining() && link.is_closed_here());
}

/// Connects to nobody.
struct Refuses;

#[async_trait]
impl Connector for Refuses {
    async fn connect(&self) -> Result<Conduit, Error> {
        Err(Error::new(Code::Refused, "nothing listens there"))
    }

    fn address(&self) -> &str {
        "refuses"
    }
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_for_long_is_told_that_the_failure_is_an_old_one() {
    let dialer = dialer(Refuses);
    let error = dialer.acquire().await.unwrap_err();
    assert_eq!(error.message(), "nothing listens there");
    dialer.inner.lock().backoff = Some((error, now() + Duration::from_secs(3)));
    let text = dialer.acquire().await.unwrap_err().to_string();
    assert!(
        text.contains("the last dial failed: nothing listens there (retry after 3s)"),
        "{text}"
    );
    // From then on it is tried again.
    tokio::time::advance(Duration::from_secs(3)).await;
    let error = dialer.acquire().await.unwrap_err();
    assert_eq!(error.message(), "nothing listens there");
}
