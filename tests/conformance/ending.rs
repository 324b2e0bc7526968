//! Calls that end before their handler does: late or dropped.

use std::time::Duration;

use rpc_core::{Code, Executed, Limits, Server};
use tokio::task::JoinSet;

use super::service::{WorkClient, WorkServer, Worker};
use super::site::{Site, eventually};

/// A client whose calls are never late while a test lasts: only the drop can end them.
async fn patient(site: &Site) -> WorkClient {
    let client = site.client().await;
    client.with_deadline(Duration::from_secs(3000))
}

pub(crate) async fn the_client_gives_up_at_its_deadline(site: Site) {
    let (server, log) = site.serve().await;
    let client = site.client().await;
    let quick = client.with_deadline(Duration::from_millis(100));
    let error = quick.hang().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(error.executed(), Executed::Maybe);
    assert_eq!(
        (error.service(), error.method()),
        (Some("Work"), Some("hang"))
    );
    eventually("the handler is gone", || log.gone() == 1).await;
    eventually("its place is free", || server.calls() == 0).await;
    assert_eq!(client.add(1, 1).await, Ok(2), "the connection lives on");
}

pub(crate) async fn the_server_stops_a_handler_at_its_limit(site: Site) {
    let (worker, log) = Worker::new();
    let mut limits = Limits::default();
    limits.deadline_max = Duration::from_millis(50);
    let builder = Server::builder().limits(limits);
    let _server = site.start(builder.service(WorkServer::new(worker))).await;
    let client = site.client().await;
    let patient = client.with_deadline(Duration::from_secs(100));
    let error = patient.hang().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(error.executed(), Executed::Maybe);
    eventually("the handler is gone", || log.gone() == 1).await;
    assert_eq!(client.add(1, 1).await, Ok(2), "the connection lives on");
}

pub(crate) async fn a_call_without_time_does_not_run(site: Site) {
    let (_server, log) = site.serve().await;
    let client = site.client().await;
    let late = client.with_deadline(Duration::ZERO);
    let error = late.hang().await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(error.executed(), Executed::No);
    assert_eq!(client.add(1, 1).await, Ok(2));
    assert_eq!(log.begun(), 0);
}

pub(crate) async fn a_deadline_beyond_the_clock(site: Site) {
    let (_server, _) = site.serve().await;
    let client = site.client().await;
    for deadline in [Duration::MAX, Duration::from_secs(u64::MAX / 4)] {
        let patient = client.with_deadline(deadline);
        assert_eq!(patient.add(1, 1).await, Ok(2));
        // The server grants an hour at most.
        let left = patient.time_left().await.unwrap().unwrap();
        assert!((3_500_000..=3_600_000).contains(&left), "{left} ms");
    }
}

pub(crate) async fn a_dropped_call_stops_its_handler(site: Site) {
    let (server, log) = site.serve().await;
    let client = patient(&site).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.hang().await }
    });
    eventually("the handler runs", || log.begun() == 1).await;
    call.abort();
    eventually("the handler is gone", || log.gone() == 1).await;
    eventually("its place is free", || server.calls() == 0).await;
    assert_eq!(client.add(1, 1).await, Ok(2), "the connection lives on");
}

pub(crate) async fn a_dropped_call_stops_what_it_had_called(site: Site) {
    let far = site.another();
    let (_far_server, far_log) = far.serve().await;
    let (mut worker, log) = Worker::new();
    worker.next = Some(far.client().await);
    let _server = site
        .start(Server::builder().service(WorkServer::new(worker)))
        .await;
    let client = patient(&site).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.next_hang().await }
    });
    eventually("the nested handler runs", || far_log.begun() == 1).await;
    call.abort();
    eventually("the handler is gone", || log.gone() == 1).await;
    eventually("the nested handler is gone", || far_log.gone() == 1).await;
    assert_eq!(client.add(1, 1).await, Ok(2), "the connection lives on");
}

pub(crate) async fn a_dropped_call_stops_what_it_had_spawned(site: Site) {
    let (_server, log) = site.serve().await;
    let client = patient(&site).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.hang_with_a_task().await }
    });
    eventually("handler and task run", || log.begun() == 2).await;
    call.abort();
    eventually("both are gone", || log.gone() == 2).await;
    assert_eq!(client.add(1, 1).await, Ok(2), "the connection lives on");
}

pub(crate) async fn calls_that_were_dropped_leave_nothing(site: Site) {
    let (server, log) = site.serve().await;
    let client = patient(&site).await;
    let mut calls = JoinSet::new();
    // Fewer than the connection takes at a time: a dropped call keeps its place at the server until
    // its handler is gone.
    for i in 0..250_u64 {
        let client = client.clone();
        // Some are dropped before they are sent, some on the way, some while they run.
        calls.spawn(async move {
            let patience = Duration::from_micros(i * 20);
            tokio::time::timeout(patience, client.hang()).await
        });
    }
    for outcome in calls.join_all().await {
        assert!(
            outcome.is_err(),
            "a call that never returns gave {outcome:?}"
        );
    }
    eventually("all handlers are gone", || log.begun() == log.gone()).await;
    eventually("all places are free", || server.calls() == 0).await;
    assert_eq!(client.add(1, 1).await, Ok(2));
    // Calls that were still on their way have run, if at all, before that one.
    eventually("no handler is left", || log.begun() == log.gone()).await;
}
