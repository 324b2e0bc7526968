//! Calls that nobody wants any more, through as many processes as they went.

use std::time::Duration;

use rpc_core::{Code, Context, Executed, Server};
use support::work::{Ledger, WorkClient, WorkServer, Worker, since_epoch};
use support::{LIMIT, TempDir, eventually, eventually_async, within};

use crate::STAGE;
use crate::program::{Plan, Service};

/// How soon a handler is gone after its caller has gone.
const PROMPT: Duration = Duration::from_millis(100);

/// How often a promise about time is measured.
const TIMES: u64 = 7;

/// Whether all but one were prompt: one may have met a pause of the machine.
fn nearly_all_prompt(times: &mut [Duration]) -> bool {
    times.sort_unstable();
    times.iter().rev().skip(1).all(|time| *time < PROMPT)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_a_call_stops_what_it_called_two_processes_away() {
    let _stage = STAGE.lock().await;
    let directory = TempDir::new();
    let ledger = directory.file("ledger");
    let last = Service::start(Plan {
        ledger: Some(ledger.clone()),
        ..Plan::default()
    });
    let middle = Service::start(Plan::default());
    let work = WorkClient::connect(middle.address()).await.unwrap();

    let mut times = Vec::new();
    for id in 0..TIMES {
        let call = tokio::spawn(work.hang(id, vec![last.address().to_owned()]));
        eventually("the last process has begun", LIMIT, || {
            Ledger::time(last.ledger(), "begun", id)
        });
        let cancelled = since_epoch();
        call.abort();
        let (dropped, _) = eventually("the last process has stopped", LIMIT, || {
            Ledger::time(last.ledger(), "dropped", id)
        });
        times.push(dropped.saturating_sub(cancelled));
    }
    assert!(nearly_all_prompt(&mut times), "{times:?}");
    // It was the call that ended, not a process or a connection.
    assert_eq!(work.echo(1).await, Ok(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_caller_stops_what_it_called_two_processes_away() {
    let directory = TempDir::new();
    let last = Service::start(Plan {
        ledger: Some(directory.file("ledger")),
        ..Plan::default()
    });
    let mut middle = Service::start(Plan::default());
    let work = WorkClient::connect(middle.address()).await.unwrap();
    let call = tokio::spawn(work.hang(1, vec![last.address().to_owned()]));
    eventually("the last process has begun", LIMIT, || {
        Ledger::time(last.ledger(), "begun", 1)
    });
    middle.process.kill();
    eventually("the last process has stopped", LIMIT, || {
        Ledger::time(last.ledger(), "dropped", 1)
    });
    let error = within("the call ends", LIMIT, call)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.executed(), Executed::Maybe, "{error}");
}

#[tokio::test]
async fn the_time_that_is_left_shrinks_by_what_each_process_used() {
    let first = Service::start(Plan::default());
    let second = Service::start(Plan::default());
    let third = Service::start(Plan::default());
    let (allowed, busy) = (Duration::from_secs(5), Duration::from_millis(200));
    let work = WorkClient::connect(first.address()).await.unwrap();
    let path = vec![second.address().to_owned(), third.address().to_owned()];
    let left = work.with_deadline(allowed).relay(path, busy).await.unwrap();

    assert_eq!(left.len(), 3);
    assert!(left[0] <= allowed, "{left:?}");
    for pair in left.windows(2) {
        assert!(pair[1] + busy <= pair[0], "{left:?}");
    }
    // Nothing but the work and a little time on the way was taken off.
    assert!(left[2] > allowed / 2, "{left:?}");
}

#[tokio::test]
async fn a_deadline_at_the_first_ends_the_work_of_the_last() {
    let directory = TempDir::new();
    let last = Service::start(Plan {
        ledger: Some(directory.file("ledger")),
        ..Plan::default()
    });
    let middle = Service::start(Plan::default());
    let work = WorkClient::connect(middle.address()).await.unwrap();
    // Several times, because the deadlines of the three race with each other: whoever is first, it
    // is told as what it is.
    for id in 0..8 {
        let short = work.with_deadline(Duration::from_millis(150 + id));
        let error = short.hang(id, vec![last.address().to_owned()]).await;
        let error = error.unwrap_err();
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        eventually("the last process has stopped", LIMIT, || {
            let begun = Ledger::time(last.ledger(), "begun", id);
            let dropped = Ledger::time(last.ledger(), "dropped", id);
            (begun.is_some() == dropped.is_some()).then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_call_frees_its_place_at_the_server() {
    let _stage = STAGE.lock().await;
    let server = server().await;
    let work = WorkClient::connect(&server.addresses()[0]).await.unwrap();
    let mut times = Vec::new();
    for id in 0..TIMES {
        let call = tokio::spawn(work.hang(id, Vec::new()));
        eventually("the call runs", LIMIT, || {
            (server.calls() == 1).then_some(())
        });
        call.abort();
        let ((), elapsed) = eventually("the call has stopped", LIMIT, || {
            (server.calls() == 0).then_some(())
        });
        times.push(elapsed);
    }
    assert!(nearly_all_prompt(&mut times), "{times:?}");
}

#[tokio::test]
async fn a_thousand_dropped_calls_leave_no_place_taken() {
    let server = server().await;
    let work = WorkClient::connect(&server.addresses()[0]).await.unwrap();
    // A deadline far beyond the test, so that it is not what ends them; and more calls than may run
    // at a time, so that some are dropped while they run and others before they were sent.
    let patient = work.with_deadline(LIMIT * 3);
    let calls: Vec<_> = (0..1_000)
        .map(|id| tokio::spawn(patient.hang(id, Vec::new())))
        .collect();
    eventually_async("all places are taken", LIMIT, async || {
        (server.calls() == 256).then_some(())
    })
    .await;
    for call in calls {
        call.abort();
    }
    eventually_async("no place is taken", LIMIT, async || {
        (server.calls() == 0).then_some(())
    })
    .await;
    assert_eq!(work.echo(7).await, Ok(7));
}

#[tokio::test]
async fn a_call_inside_a_scope_has_no_more_time_than_the_scope() {
    let server = server().await;
    let work = WorkClient::connect(&server.addresses()[0]).await.unwrap();
    let allowed = Duration::from_secs(2);
    let scope = Context::current().with_time_left(allowed);
    let call = scope.scope(async { work.relay(Vec::new(), Duration::ZERO).await });
    let left = within("the call ends", LIMIT, call).await.unwrap();
    assert!(left[0] <= allowed, "{left:?}");
}

async fn server() -> Server {
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tcp://127.0.0.1:0")
        .start();
    server.await.unwrap()
}
