//! Many clients at once.

use std::time::{Duration, Instant};

use rpc_core::{Channel, Limits, Server};
use support::work::WorkClient;
use support::{LIMIT, eventually_async, within};
use tokio::task::JoinSet;

use super::site::{Site, call};

/// The most sessions of one user.
const SESSIONS: usize = 400;

/// Of all who come at once the last is served when all others have been, which on a busy machine
/// takes longer than a handshake may by default.
fn patient() -> Limits {
    let mut limits = Limits::default();
    limits.handshake = LIMIT;
    limits
}

async fn serve(site: &Site) -> Server {
    let server = site.builder().limits(patient()).start();
    server.await.expect("the server starts")
}

async fn connect_all(site: &Site, count: usize) -> Vec<WorkClient> {
    let mut dials = JoinSet::new();
    for _ in 0..count {
        let dial = Channel::builder(site.address()).limits(patient()).connect();
        dials.spawn(async move {
            let client = WorkClient::new(dial.await.expect("a place for all"));
            assert_eq!(client.echo(7).await, Ok(7));
            client
        });
    }
    within("all are connected", LIMIT, dials.join_all()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn row_51_four_hundred_clients_at_once() {
    let site = Site::new();
    let _server = serve(&site).await;
    let idle = site.open_pipes();
    let begin = Instant::now();
    let clients = connect_all(&site, SESSIONS).await;
    println!(
        "{SESSIONS} clients, connected and served in {:?}",
        begin.elapsed()
    );
    // Two pipes for each, and both ends of them are here.
    assert_eq!(site.open_pipes() - idle, 4 * SESSIONS);
    let mut calls = JoinSet::new();
    for (number, client) in clients.iter().cloned().enumerate() {
        calls.spawn(async move { client.echo(number as u64).await });
    }
    assert!(calls.join_all().await.iter().all(Result::is_ok));
    assert!(site.names().is_empty(), "the names go at once");
    drop(clients);
    site.has_closed_all_but(idle).await;
}

/// Who comes when all places are taken waits for one, and loses nothing but time.
#[tokio::test(flavor = "multi_thread")]
async fn row_51_more_clients_wait_for_a_place() {
    let site = Site::new();
    let _server = serve(&site).await;
    let mut clients = connect_all(&site, SESSIONS).await;
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        let address = site.address();
        waiting.spawn(call(address));
    }
    // They do not get in by themselves: a time that is no race, because nothing can end it early.
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.join_next()).await;
    assert!(early.is_err(), "{early:?}");
    clients.truncate(SESSIONS - 20);
    let come = within("a place for each", LIMIT, waiting.join_all()).await;
    assert!(come.iter().all(Result::is_ok), "{come:?}");
    assert_eq!(clients[0].echo(1).await, Ok(1));
}

/// The memory of a full queue must not keep out those who come later.
#[tokio::test(flavor = "multi_thread")]
async fn row_51_who_gives_up_waiting_leaves_nothing() {
    let site = Site::new();
    let _server = serve(&site).await;
    let clients = connect_all(&site, SESSIONS).await;
    let mut waiting = JoinSet::new();
    for _ in 0..50 {
        let address = site.address();
        waiting.spawn(call(address));
    }
    let early = tokio::time::timeout(Duration::from_millis(300), waiting.join_next()).await;
    assert!(early.is_err(), "{early:?}");
    waiting.shutdown().await;
    // A dial goes on without its caller, until its handshake has taken too long.
    eventually_async("no name is left", LIMIT, async || {
        site.names().is_empty().then_some(())
    })
    .await;
    drop(clients);
    site.check().await;
}

/// Row 10: a record, and then nothing. Who says no hello is cut off, and others do not notice.
#[tokio::test(flavor = "multi_thread")]
async fn row_10_records_and_then_silence() {
    let site = Site::new();
    let _server = site.serve().await;
    let idle = site.open_pipes();
    let path = site.path();
    let silent: Vec<_> = (0..200_u8)
        .map(|number| support::fifo::client(&path, [number; 16], [1; 16], 6))
        .collect();
    assert!(silent.iter().all(Result::is_ok));
    let begin = Instant::now();
    site.check().await;
    // Not after the silent, whose time for the handshake would have to be over.
    let took = begin.elapsed();
    assert!(took < Limits::default().handshake, "{took:?}");
    // Five of each are the silent clients' own; the server has let go of its own two.
    site.has_closed_all_but(idle + 200 * 4).await;
}
