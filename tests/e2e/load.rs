//! Many calls at once: every answer is the right one, whatever happens to its neighbours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_core::{Code, Executed, Limits, Server, service};
use support::work::WorkClient;
use support::{LIMIT, eventually, within};
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

use crate::STAGE;
use crate::program::{Plan, Service};

/// Ten thousand calls take a debug build on a busy machine a while, and all are made at once.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_calls_at_once_on_one_connection_get_their_own_answers() {
    let _stage = STAGE.lock().await;
    let service = Service::start(Plan::default());
    let work = WorkClient::connect(service.address()).await.unwrap();
    let before = work.who().await.unwrap().connection;
    let work = work.with_deadline(PATIENCE);

    let mut calls = JoinSet::new();
    for value in 0..10_000 {
        let call = work.echo(value);
        calls.spawn(async move { (value, call.await) });
    }
    let answers = within("all calls end", PATIENCE, calls.join_all()).await;
    for (value, answer) in answers {
        assert_eq!(answer, Ok(value));
    }
    let after = work.who().await.unwrap().connection;
    assert_eq!(before, after, "it was one connection");
}

/// Waits until everybody is there.
#[service]
trait Meeting {
    async fn meet(&self, number: u64) -> u64;
}

struct Together(Barrier);

impl Meeting for Together {
    async fn meet(&self, number: u64) -> u64 {
        self.0.wait().await;
        number
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_handlers_of_one_connection_run_at_the_same_time() {
    const CALLS: u32 = 10_000;
    let _stage = STAGE.lock().await;
    let mut limits = Limits::default();
    limits.calls = CALLS;
    let server = Server::builder()
        .service(MeetingServer::new(Together(Barrier::new(CALLS as usize))))
        .limits(limits)
        .calls_max(CALLS as usize)
        .listen("tcp://127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let meeting = MeetingClient::connect(&server.addresses()[0])
        .await
        .unwrap();
    let meeting = meeting.with_deadline(PATIENCE);
    let mut calls = JoinSet::new();
    for number in 0..u64::from(CALLS) {
        let call = meeting.meet(number);
        calls.spawn(async move { assert_eq!(call.await, Ok(number)) });
    }
    within("all meet", PATIENCE, calls.join_all()).await;
    assert_eq!(server.connections(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_clients_with_a_hundred_calls_each_get_their_own_answers() {
    let _stage = STAGE.lock().await;
    let service = Service::start(Plan::default());
    let mut clients = JoinSet::new();
    for client in 0..100 {
        let address = service.address().to_owned();
        clients.spawn(async move {
            let work = WorkClient::connect(address).await.unwrap();
            let work = work.with_deadline(PATIENCE);
            let mut calls = JoinSet::new();
            for call in 0..100 {
                let value = client * 1_000 + call;
                let call = work.echo(value);
                calls.spawn(async move { (value, call.await) });
            }
            calls.join_all().await
        });
    }
    let answers = within("all calls end", PATIENCE, clients.join_all()).await;
    assert_eq!(answers.iter().map(Vec::len).sum::<usize>(), 10_000);
    for (value, answer) in answers.into_iter().flatten() {
        assert_eq!(answer, Ok(value));
    }
}

#[tokio::test]
async fn a_short_call_overtakes_a_long_one_that_was_made_before_it() {
    let service = Service::start(Plan::default());
    let work = WorkClient::connect(service.address()).await.unwrap();
    let mut calls = JoinSet::new();
    for (value, pause) in [(1, LIMIT * 2), (2, LIMIT * 2), (3, Duration::ZERO)] {
        let call = work.with_deadline(LIMIT * 2).pause(value, pause);
        calls.spawn(async move { call.await.unwrap() });
    }
    let first = within("a call ends", LIMIT, calls.join_next()).await;
    assert_eq!(first.unwrap().unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_panics_among_ten_thousand_calls_hurt_only_their_own_callers() {
    let _stage = STAGE.lock().await;
    let mut service = Service::start(Plan::default());
    let work = WorkClient::connect(service.address()).await.unwrap();
    let before = work.who().await.unwrap();
    let work = work.with_deadline(PATIENCE);

    let mut good = JoinSet::new();
    let mut bad = JoinSet::new();
    for value in 0..10_000 {
        let call = work.echo(value);
        good.spawn(async move { (value, call.await) });
        if value % 10 == 0 {
            bad.spawn(work.panic(&value.to_string()));
        }
    }
    let good = within("the good calls end", PATIENCE, good.join_all()).await;
    for (value, answer) in good {
        assert_eq!(answer, Ok(value));
    }
    let bad = within("the bad calls end", PATIENCE, bad.join_all()).await;
    assert_eq!(bad.len(), 1_000);
    for answer in bad {
        let error = answer.unwrap_err();
        assert_eq!(
            (error.code(), error.executed()),
            (Code::Internal, Executed::Maybe)
        );
        assert_eq!(
            (error.service(), error.method()),
            (Some("test.Work"), Some("panic"))
        );
        assert!(!error.to_string().contains("on purpose"), "{error}");
    }
    // The connection and the process are the ones from before.
    let after = work.who().await.unwrap();
    assert_eq!(
        (before.pid, before.connection),
        (after.pid, after.connection)
    );
    service.process.terminate();
    assert_eq!(service.process.wait(LIMIT).code(), Some(0));
}

#[tokio::test]
async fn a_deadline_ends_a_call_in_time_and_the_error_says_that_it_may_have_run() {
    let service = Service::start(Plan::default());
    let work = WorkClient::connect(service.address()).await.unwrap();
    let begin = Instant::now();
    let short = work.with_deadline(Duration::from_millis(100));
    let error = short.pause(1, LIMIT).await.unwrap_err();
    let elapsed = begin.elapsed();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_ne!(error.executed(), Executed::No);
    assert!(elapsed >= Duration::from_millis(99), "{elapsed:?}");
    assert!(elapsed < LIMIT / 2, "{elapsed:?}: it waited for the reply");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_calls_in_both_directions_do_not_stop_each_other_or_small_ones() {
    let _stage = STAGE.lock().await;
    let service = Service::start(Plan::default());
    let work = WorkClient::connect(service.address()).await.unwrap();
    let work = work.with_deadline(PATIENCE);
    // Many times what may be on the way on one connection, and ready before the first call is made.
    let bodies: Vec<Vec<u8>> = (0..16)
        .map(|number| vec![number; 2 * 1024 * 1024])
        .collect();
    let mut large = JoinSet::new();
    for body in bodies {
        let call = work.reverse(body.clone());
        large.spawn(async move { assert!(call.await.unwrap() == body) });
    }
    // A small call waits for a few chunks of the large ones, not for all of them.
    let small = within("a small call ends", LIMIT, work.echo(1)).await;
    assert_eq!(small, Ok(1));
    let mut ended = 0;
    while let Some(call) = large.try_join_next() {
        call.expect("its answer is the right one");
        ended += 1;
    }
    assert!(ended < 16, "the small call waited for all the large ones");
    within("the large calls end", LIMIT, large.join_all()).await;
}

#[tokio::test]
async fn a_call_that_is_too_large_fails_alone_and_before_it_is_sent() {
    let service = Service::start(Plan::default());
    let work = WorkClient::connect(service.address()).await.unwrap();
    let before = work.who().await.unwrap().connection;
    let error = work.reverse(vec![0; 5 * 1024 * 1024]).await.unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::TooLarge, Executed::No)
    );
    assert_eq!(work.who().await.unwrap().connection, before);
}

/// Keeps its requests until it is told to let go.
#[service]
trait Store {
    async fn keep(&self, body: &[u8]) -> u64;
}

struct Shelf(Arc<Semaphore>);

impl Store for Shelf {
    async fn keep(&self, body: &[u8]) -> u64 {
        let _go = self.0.acquire().await;
        body.len() as u64
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_holds_too_much_refuses_more_at_once_and_recovers() {
    const BODY: usize = 600 * 1024;
    let go = Arc::new(Semaphore::new(0));
    let server = Server::builder()
        .service(StoreServer::new(Shelf(Arc::clone(&go))))
        .buffers_max(2 * BODY + BODY / 2)
        .listen("tcp://127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let address = &server.addresses()[0];
    let body = vec![7; BODY];
    let mut kept = JoinSet::new();
    for number in 1..=3 {
        let store = StoreClient::connect(address).await.unwrap();
        let call = store.keep(&body);
        kept.spawn(async move { (store, call.await) });
        eventually("the call runs", LIMIT, || {
            (server.calls() == number).then_some(())
        });
    }
    // Three bodies are over the limit, whoever sent them.
    let other = StoreClient::connect(address).await.unwrap();
    let error = within("a refusal", LIMIT, other.keep(&[1]))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Overloaded, Executed::No)
    );
    go.add_permits(10);
    for (_, answer) in within("the kept calls end", LIMIT, kept.join_all()).await {
        assert_eq!(answer, Ok(BODY as u64));
    }
    assert_eq!(within("an answer", LIMIT, other.keep(&[1])).await, Ok(1));
}
