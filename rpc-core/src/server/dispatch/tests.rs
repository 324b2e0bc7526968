//! Handlers that are polled in place: what they do to each other, and what they must not.

use std::hash::{Hash as _, Hasher as _};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, mpsc};

use rpc_macros::service;
use tokio::sync::mpsc as async_mpsc;

use super::*;
use crate::server::Server;
use crate::wire::Metadata;

/// How long anything may take. Far more than it takes, so that a busy machine fails no test.
const LIMIT: Duration = Duration::from_secs(20);

/// Far more than a handler may compute in place.
const LONG: Duration = Duration::from_millis(1);

#[service]
trait Work {
    async fn add(&self, a: i64, b: i64) -> i64;
    /// Computes for so long without waiting, in microseconds; the number of the task that it runs on.
    async fn spin(&self, micros: u64) -> u64;
    /// Computes for long without waiting: a moment, or until it is released. Whether
    /// it came to that end.
    async fn compute(&self, until_released: bool) -> bool;
    /// Keeps its context.
    async fn keep(&self);
    /// Keeps its context, too, and never returns.
    async fn hang(&self, number: usize);
    async fn panics(&self);
}

/// What the handlers leave behind.
#[derive(Default)]
struct Log {
    kept: Mutex<Vec<Context>>,
    /// Which calls of [`Work::hang`] run.
    hanging: [AtomicBool; 3],
}

impl Log {
    fn keep(&self) {
        self.kept.lock().unwrap().push(Context::current());
    }

    fn kept(&self) -> Vec<Context> {
        self.kept.lock().unwrap().clone()
    }

    fn hanging(&self) -> [bool; 3] {
        let load = |place: &AtomicBool| place.load(Ordering::SeqCst);
        self.hanging.each_ref().map(load)
    }
}

struct Worker {
    log: Arc<Log>,
    entered: async_mpsc::Sender<()>,
    release: Mutex<mpsc::Receiver<()>>,
}

impl Work for Worker {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }

    async fn spin(&self, micros: u64) -> u64 {
        spin(Duration::from_micros(micros));
        let mut hasher = std::hash::DefaultHasher::new();
        tokio::task::id().hash(&mut hasher);
        hasher.finish()
    }

    async fn compute(&self, until_released: bool) -> bool {
        if until_released {
            self.entered.try_send(()).unwrap();
            return self.release.lock().unwrap().recv_timeout(LIMIT).is_ok();
        }
        spin(LONG);
        true
    }

    async fn keep(&self) {
        self.log.keep();
    }

    async fn hang(&self, number: usize) {
        self.log.keep();
        let hanging = Hanging(Arc::clone(&self.log), number);
        hanging.set(true);
        std::future::pending().await
    }

    async fn panics(&self) {
        panic!("on purpose");
    }
}

fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// There while a handler hangs.
struct Hanging(Arc<Log>, usize);

impl Hanging {
    fn set(&self, hangs: bool) {
        self.0.hanging[self.1].store(hangs, Ordering::SeqCst);
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// A server, and one connection to it.
struct Site {
    server: Server,
    work: WorkClient,
    log: Arc<Log>,
    /// Hears of each call of [`Work::compute`] that waits to be released.
    entered: async_mpsc::Receiver<()>,
    release: mpsc::Sender<()>,
}

impl Site {
    async fn at(address: &str) -> Self {
        let log = Arc::new(Log::default());
        let (entering, entered) = async_mpsc::channel(1);
        let (release, released) = mpsc::channel();
        let worker = Worker {
            log: Arc::clone(&log),
            entered: entering,
            release: Mutex::new(released),
        };
        let server = Server::builder()
            .service(WorkServer::new(worker))
            .listen(address)
            .start();
        let server = server.await.unwrap();
        let work = WorkClient::connect(address).await.unwrap();
        Self {
            server,
            // Nothing ends because it is late.
            work: work.with_deadline(LIMIT * 3),
            log,
            entered,
            release,
        }
    }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_computes_long_keeps_nothing_from_its_connection() {
    let mut site = Site::at("memory:dispatch-slow").await;
    // The first makes the clock be looked at, the second is measured.
    for _ in 0..2 {
        assert_eq!(site.work.compute(false).await, Ok(true));
    }
    for round in 0..3 {
        let computes = tokio::spawn(site.work.compute(true));
        site.entered.recv().await.unwrap();
        // It computes until this has been answered. Polled in place it would never be released.
        assert_eq!(site.work.add(round, 2).await, Ok(round + 2));
        site.release.send(()).unwrap();
        let was_released = computes.await.unwrap();
        assert_eq!(was_released, Ok(true), "the addition waited for it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_that_was_found_to_be_long_is_trusted_again() {
    let site = Site::at("memory:dispatch-trusted").await;
    let long = LONG.as_micros() as u64;
    let spin = async |micros| site.work.spin(micros).await.unwrap();
    let connection = spin(0).await;
    // A quick call counts as long when the system took the processor away from it. So what is bounded
    // here is bounded widely, and nothing is expected of the time before.
    for _ in 0..2 {
        let mut found = 0;
        while spin(long).await == connection {
            found += 1;
            assert!(found < 100, "it is never found");
        }
        let mut quick = 0;
        while spin(0).await != connection {
            quick += 1;
            assert!(quick < 100 * Route::PROBATION, "it is never trusted again");
        }
        assert!(quick >= Route::PROBATION, "after {quick} quick calls");
    }
    // One that is long starts the count again.
    while spin(long).await == connection {}
    spin(0).await;
    assert_ne!(spin(long).await, connection);
    for _ in 0..Route::PROBATION {
        assert_ne!(spin(0).await, connection);
    }
}

#[tokio::test]
async fn a_panic_in_place_leaves_the_slot_fit_for_the_next_call() {
    let site = Site::at("memory:dispatch-panic").await;
    for round in 0..10 {
        // They arrive together and run one after the other in one slot.
        let (before, panicked, after) = tokio::join!(
            site.work.add(round, 1),
            site.work.panics(),
            site.work.add(round, 2)
        );
        assert_eq!((before, after), (Ok(round + 1), Ok(round + 2)));
        let error = panicked.unwrap_err();
        assert_eq!(
            (error.code(), error.executed()),
            (Code::Internal, Executed::Maybe)
        );
    }
    assert_eq!(site.server.connections(), 1, "it is the same connection");
    assert_eq!(site.server.calls(), 0);
}

#[tokio::test]
async fn a_context_that_a_handler_kept_stays_that_of_its_call() {
    let site = Site::at("memory:dispatch-kept").await;
    let mut metadata = Metadata::new();
    metadata.insert("number", "1").unwrap();
    let marked = Context::current().with_metadata(&metadata).unwrap();
    let long = site.work.with_deadline(LIMIT * 10);
    marked.scope(async { long.keep().await.unwrap() }).await;
    let [first] = &site.log.kept()[..] else {
        panic!("one call was made");
    };
    let deadline = first.deadline();

    // Plain calls over the same connection, each of which keeps its context as well.
    site.work.keep().await.unwrap();
    site.work.keep().await.unwrap();
    let hanging = tokio::spawn(site.work.hang(0));
    eventually("it hangs", || site.log.hanging()[0]).await;
    hanging.abort();
    eventually("it is gone", || !site.log.hanging()[0]).await;

    let kept = site.log.kept();
    let number = |context: &Context| context.metadata().value("number").cloned();
    assert_eq!(number(first).as_deref(), Some(&b"1"[..]));
    assert_eq!(first.deadline(), deadline);
    for plain in &kept[1..] {
        assert_eq!(number(plain), None);
        assert!(plain.deadline() < deadline, "its own, which is earlier");
    }
    let cancelled: Vec<bool> = kept.iter().map(Context::is_cancelled).collect();
    assert_eq!(
        cancelled,
        [false, false, false, true],
        "only the one that was"
    );
}

#[tokio::test]
async fn a_handler_that_was_polled_in_place_ends_with_its_caller_and_alone() {
    let site = Site::at("memory:dispatch-dropped").await;
    let mut calls = Vec::new();
    for number in 0..3 {
        calls.push(tokio::spawn(site.work.hang(number)));
        // Uses what the handlers that went on did not take along.
        assert_eq!(site.work.add(1, 2).await, Ok(3));
    }
    eventually("all hang", || site.log.hanging() == [true; 3]).await;
    calls[1].abort();
    eventually("it is gone", || site.log.hanging() == [true, false, true]).await;
    eventually("its place is free", || site.server.calls() == 2).await;
    assert_eq!(site.work.add(1, 2).await, Ok(3));
    assert_eq!(site.log.hanging(), [true, false, true]);
    calls[0].abort();
    calls[2].abort();
    eventually("all are gone", || site.server.calls() == 0).await;
    assert_eq!(site.log.hanging(), [false; 3]);
}

/// A call that takes so long, on the clock that stands still meanwhile; whether it was measured, and
/// found to be long.
async fn call(pace: &mut Pace, arrived: Instant, takes: Duration) -> (bool, bool) {
    let began = pace.begin(arrived);
    tokio::time::advance(takes).await;
    (began.is_some(), pace.end(began))
}

#[tokio::test(start_paused = true)]
async fn quick_calls_are_not_measured_one_by_one() {
    let mut pace = Pace::new();
    for _ in 0..100 {
        let arrived = now();
        for _ in 0..50 {
            let quick = Pace::LONG / Pace::CALLS / 2;
            assert_eq!(call(&mut pace, arrived, quick).await, (false, false));
        }
        pace.rest();
        // A connection that has nothing to do computes nothing.
        tokio::time::advance(LIMIT).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_call_is_found_the_second_time() {
    let mut pace = Pace::new();
    let long = Pace::LONG * 2;
    assert_eq!(call(&mut pace, now(), long).await, (false, false));
    pace.rest();
    assert_eq!(call(&mut pace, now(), Duration::ZERO).await, (true, false));
    assert_eq!(call(&mut pace, now(), Pace::LONG).await, (true, false));
    assert_eq!(call(&mut pace, now(), long).await, (true, true));
}

#[tokio::test(start_paused = true)]
async fn a_long_call_is_found_in_a_crowd() {
    let mut pace = Pace::new();
    let arrived = now();
    // What has arrived together is not over before the next look at the clock.
    for number in 0..Pace::CALLS * 2 {
        let takes = Pace::LONG * u32::from(number == Pace::CALLS + 3) * 2;
        assert_eq!(call(&mut pace, arrived, takes).await, (false, false));
    }
    assert_eq!(call(&mut pace, arrived, Pace::LONG * 2).await, (true, true));
}

#[tokio::test(start_paused = true)]
async fn suspicion_ends_after_so_many_quick_calls() {
    let mut pace = Pace::new();
    call(&mut pace, now(), Pace::LONG * 2).await;
    pace.rest();
    for _ in 0..Pace::SUSPICION {
        assert_eq!(call(&mut pace, now(), Duration::ZERO).await, (true, false));
    }
    assert_eq!(call(&mut pace, now(), Duration::ZERO).await, (false, false));
}
