//! Calls that succeed, alone and many at once.

use std::time::Duration;

use rpc_core::{CallError, Executed, Limits, Server};
use tokio::task::JoinSet;

use super::service::{FormsClient, GATES, MathError, WorkClient, WorkServer, Worker, pattern};
use super::site::{Site, eventually};

pub(crate) async fn a_plain_call(site: Site) {
    let (_server, _) = site.serve().await;
    assert_eq!(site.client().await.add(2, 3).await, Ok(5));
}

pub(crate) async fn the_first_calls_go_right_behind_the_connection(site: Site) {
    let (server, _) = site.serve().await;
    for i in 0..20 {
        let client = site.client().await;
        assert_eq!(client.add(i, 1).await, Ok(i + 1));
    }
    eventually("the connections end", || server.connections() == 0).await;
}

pub(crate) async fn twenty_calls_at_once_on_a_connection_that_does_not_stand_yet(site: Site) {
    let (server, _) = site.serve().await;
    let client = WorkClient::new(site.channel().connect_lazy().unwrap());
    let mut calls = JoinSet::new();
    // More than may travel with the hello: the rest waits for the answer.
    for i in 0..20 {
        let client = client.clone();
        calls.spawn(async move { client.add(i, i).await == Ok(2 * i) });
    }
    assert!(calls.join_all().await.into_iter().all(|right| right));
    assert_eq!(server.connections(), 1, "who waits for a dial shares it");
}

pub(crate) async fn a_result_is_flat(site: Site) {
    let (_server, _) = site.serve().await;
    let answer: Result<i64, CallError<MathError>> = site.client().await.divide(7, 2).await;
    assert_eq!(answer, Ok(3));
}

pub(crate) async fn the_services_own_error_is_no_failure_of_the_call(site: Site) {
    let (_server, _) = site.serve().await;
    let error = site.client().await.divide(7, 0).await.unwrap_err();
    assert_eq!(error.executed(), Executed::Yes);
    assert_eq!(
        error,
        CallError::Service(MathError::DivisionByZero { dividend: 7 })
    );
}

pub(crate) async fn a_thousand_calls_in_flight(site: Site) {
    let (server, log) = site.serve().await;
    let client = site.client().await;
    let mut calls = JoinSet::new();
    for i in 0..1000 {
        let client = client.clone();
        calls.spawn(async move { client.pass_gate(i % GATES).await == Ok(i % GATES) });
    }
    // The connection takes 256 at a time; the rest waits at the client.
    eventually("256 handlers run", || log.begun() == 256).await;
    if site.counts_calls() {
        assert_eq!(server.calls(), 256);
    }
    for i in 0..1000 {
        log.open(i % GATES);
    }
    assert!(calls.join_all().await.into_iter().all(|right| right));
    assert_eq!(log.begun(), 1000, "every call ran once");
    eventually("no handler is left", || server.calls() == 0).await;
}

pub(crate) async fn calls_complete_out_of_order(site: Site) {
    let (_server, log) = site.serve().await;
    let client = site.client().await;
    let mut calls = JoinSet::new();
    for gate in 0..GATES {
        let client = client.clone();
        calls.spawn(async move { client.pass_gate(gate).await });
    }
    eventually("all handlers run", || log.begun() as usize == GATES).await;
    for gate in (0..GATES).rev() {
        log.open(gate);
        assert_eq!(calls.join_next().await.unwrap().unwrap(), Ok(gate));
    }
}

pub(crate) async fn several_services_on_one_connection(site: Site) {
    let (server, _) = site.serve().await;
    let channel = site.channel().connect().await.unwrap();
    let work = WorkClient::new(channel.clone());
    let forms = FormsClient::new(channel);
    let (sum, text) = tokio::join!(work.add(1, 2), forms.text("both"));
    assert_eq!((sum, text), (Ok(3), Ok("both".to_owned())));
    assert_eq!(server.connections(), 1);
}

pub(crate) async fn clones_share_one_connection(site: Site) {
    let (server, _) = site.serve().await;
    let client = site.client().await;
    for i in 0..10 {
        assert_eq!(client.clone().add(i, 0).await, Ok(i));
    }
    assert_eq!(server.connections(), 1);
}

pub(crate) async fn small_calls_beside_large_ones(site: Site) {
    const LARGE: u64 = 1 << 20;
    let (_server, _) = site.serve().await;
    let client = site.client().await;
    let mut large = JoinSet::new();
    for i in 0..8 {
        let client = client.clone();
        large.spawn(async move {
            if i % 2 == 0 {
                client
                    .make(LARGE)
                    .await
                    .map(|bytes| bytes == pattern(LARGE as usize))
            } else {
                let bytes = pattern(LARGE as usize);
                client.length(&bytes).await.map(|length| length == LARGE)
            }
        });
    }
    for i in 0..100 {
        assert_eq!(client.add(i, i).await, Ok(2 * i));
    }
    for right in large.join_all().await {
        assert_eq!(right, Ok(true));
    }
}

pub(crate) async fn a_hundred_clients(site: Site) {
    // A hundred handshakes at once may take longer than one may by default: those of TLS compute.
    let mut limits = Limits::default();
    limits.handshake = Duration::from_secs(60);
    let builder = Server::builder().limits(limits);
    let server = builder.service(WorkServer::new(Worker::new().0));
    let server = site.start(server).await;
    let mut clients = JoinSet::new();
    for i in 0..100 {
        let channel = site.channel().limits(limits);
        clients.spawn(async move {
            let client = WorkClient::new(channel.connect().await.unwrap());
            for j in 0..10 {
                assert_eq!(client.add(i, j).await, Ok(i + j));
            }
        });
    }
    clients.join_all().await;
    eventually("all have gone", || server.connections() == 0).await;
}
