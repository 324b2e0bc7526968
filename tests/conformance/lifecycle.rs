//! Connections and servers that begin and end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rpc_core::{Code, Executed, Limits, Server};
use tokio::task::JoinSet;

use super::service::{Log, WorkClient, WorkServer, Worker, pattern};
use super::site::{Site, Transport, eventually};

const GRACE: Duration = Duration::from_secs(20);

pub(crate) async fn nobody_listens(site: Site) {
    // Somebody did, so the place is a good one.
    let (server, _) = site.serve().await;
    assert!(server.shutdown(GRACE).await);
    // A port that is free again may be another test's for a while.
    let begin = Instant::now();
    let error = loop {
        match site.channel().connect().await {
            Err(error) if error.code() == Code::Refused => break error,
            other => assert!(begin.elapsed() < GRACE, "somebody listens: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(error.executed(), Executed::No);
    assert!(error.address().is_some());
}

pub(crate) async fn a_drain_lets_calls_finish(site: Site) {
    let (server, log) = site.serve().await;
    let client = site.client().await;
    let running = tokio::spawn(async move { client.pass_gate(0).await });
    eventually("the handler runs", || log.begun() == 1).await;
    let shutdown = tokio::spawn(server.shutdown(GRACE));
    // The drain has begun when nobody listens any more.
    while site.channel().connect().await.is_ok_and(|_| true) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!shutdown.is_finished(), "it waits for the call");
    log.open(0);
    assert_eq!(running.await.unwrap(), Ok(0));
    assert!(shutdown.await.unwrap(), "everything finished in time");
}

pub(crate) async fn a_drain_turns_new_calls_away(site: Site) {
    let (server, log) = site.serve().await;
    let client = site.client().await;
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.pass_gate(0).await }
    });
    eventually("the handler runs", || log.begun() == 1).await;
    let shutdown = tokio::spawn(server.shutdown(GRACE));
    // Calls succeed until the drain has begun, and from then on do not run.
    let error = loop {
        match client.with_deadline(GRACE / 2).add(1, 1).await {
            Ok(sum) => assert_eq!(sum, 2),
            Err(error) => break error,
        }
    };
    assert_eq!(error.executed(), Executed::No, "{error}");
    log.open(0);
    assert_eq!(running.await.unwrap(), Ok(0));
    assert!(shutdown.await.unwrap());
}

pub(crate) async fn a_drain_ends_when_its_grace_is_over(site: Site) {
    let (server, log) = site.serve().await;
    let client = site.client().await;
    let running = tokio::spawn(async move { client.with_deadline(GRACE * 100).hang().await });
    eventually("the handler runs", || log.begun() == 1).await;
    assert!(!server.shutdown(Duration::from_millis(50)).await);
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Disconnected, "{error}");
    assert_eq!(error.executed(), Executed::Maybe);
    eventually("the handler is gone", || log.gone() == 1).await;
}

pub(crate) async fn a_connection_without_calls_drains_at_once(site: Site) {
    let (server, _) = site.serve().await;
    let client = site.client().await;
    assert_eq!(client.add(1, 1).await, Ok(2));
    let drained = tokio::time::timeout(GRACE / 2, server.shutdown(GRACE)).await;
    assert_eq!(drained, Ok(true));
}

pub(crate) async fn a_dropped_server_ends_its_calls(site: Site) {
    let (server, log) = site.serve().await;
    let client = site.client().await;
    let running = tokio::spawn(async move { client.with_deadline(GRACE * 100).hang().await });
    eventually("the handler runs", || log.begun() == 1).await;
    drop(server);
    let error = running.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Disconnected, "{error}");
    assert_eq!(error.executed(), Executed::Maybe);
    eventually("the handler is gone", || log.gone() == 1).await;
}

pub(crate) async fn a_client_connects_again_after_a_restart(site: Site) {
    let (server, _) = site.serve().await;
    let client = site.client().await;
    for i in 0..3 {
        assert_eq!(client.add(i, 1).await, Ok(i + 1));
    }
    assert!(server.shutdown(GRACE).await);
    let (_server, _) = site.serve().await;
    // The client may need a moment to see that the old connection has ended.
    let mut sum = client.add(2, 2).await;
    for _ in 0..20 {
        match &sum {
            Ok(_) => break,
            Err(error) => assert_ne!(error.executed(), Executed::Yes, "{error}"),
        }
        sum = client.add(2, 2).await;
    }
    assert_eq!(sum, Ok(4));
}

pub(crate) async fn a_lazy_client_may_come_before_its_server(site: Site) {
    // The first server only finds out what the address will be.
    let (server, _) = site.serve().await;
    assert!(server.shutdown(GRACE).await);
    let client = WorkClient::new(site.channel().connect_lazy().unwrap());
    let mut error = client.add(1, 1).await.unwrap_err();
    // A port that is free again may be another test's for a moment, which then hangs up.
    for _ in 0..20 {
        if error.code() == Code::Refused {
            break;
        }
        assert_ne!(error.executed(), Executed::Yes, "{error}");
        error = client.add(1, 1).await.unwrap_err();
    }
    assert_eq!(error.code(), Code::Refused, "{error}");
    assert_eq!(error.executed(), Executed::No);
    let (_server, _) = site.serve().await;
    let mut sum = client.add(2, 2).await;
    for _ in 0..20 {
        if sum.is_ok() {
            break;
        }
        sum = client.add(2, 2).await;
    }
    assert_eq!(sum, Ok(4));
}

pub(crate) async fn the_last_handle_closes_the_connection(site: Site) {
    let (server, _) = site.serve().await;
    let client = site.client().await;
    let clone = client.clone();
    assert_eq!(client.add(1, 1).await, Ok(2));
    drop(client);
    assert_eq!(clone.add(1, 1).await, Ok(2));
    assert_eq!(server.connections(), 1);
    drop(clone);
    eventually("the connection ends", || server.connections() == 0).await;
}

pub(crate) async fn calls_outlive_their_client(site: Site) {
    let (server, log) = site.serve().await;
    let (site, server) = (Arc::new(site), Arc::new(server));
    outlive(&site, &server, &log, 0).await;
    // In a runtime of one thread nobody counts the calls.
    let alone = tokio::task::spawn_blocking({
        let server = Arc::clone(&server);
        move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(outlive(&site, &server, &log, 1));
        }
    });
    alone.await.unwrap();
}

async fn outlive(site: &Site, server: &Server, log: &Log, gate: usize) {
    let client = site.client().await;
    let running = tokio::spawn(client.pass_gate(gate));
    eventually("the handler runs", || log.begun() as usize == gate + 1).await;
    drop(client);
    hear_of_it().await;
    log.open(gate);
    assert_eq!(running.await.unwrap(), Ok(gate));
    eventually("the connection ends", || server.connections() == 0).await;

    let client = site.client().await;
    assert_eq!(client.add(1, 1).await, Ok(2));
    let unsent = client.add(2, 2);
    drop(client);
    hear_of_it().await;
    assert_eq!(unsent.await, Ok(4));
    eventually("the connection ends", || server.connections() == 0).await;
}

/// Who ends connections has its turn, more than once.
async fn hear_of_it() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn limits_without_an_end(site: Site) {
    let mut limits = Limits::default();
    for limit in [
        &mut limits.handshake,
        &mut limits.write_stall,
        &mut limits.ping_busy,
        &mut limits.ping_idle,
        &mut limits.ping_wait,
        &mut limits.deadline,
        &mut limits.deadline_max,
    ] {
        *limit = Duration::MAX;
    }
    let (worker, _) = Worker::new();
    let builder = Server::builder().limits(limits);
    let server = site.start(builder.service(WorkServer::new(worker))).await;
    let channel = site.channel().limits(limits).connect().await.unwrap();
    let client = WorkClient::new(channel);
    let bytes = pattern(300_000);
    assert_eq!(client.length(&bytes).await, Ok(300_000));
    assert_eq!(client.make(300_000).await, Ok(bytes));
    assert!(server.shutdown(Duration::MAX).await);
}

/// Calls go on while one server takes over from the other at the same place; none is lost.
pub(crate) async fn a_rolling_restart_loses_no_call(site: Site) {
    let mut server = Some(site.serve().await.0);
    let is_udp = site.transport() == Transport::Udp;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let (stop, channel) = (Arc::clone(&stop), site.channel());
        let client = WorkClient::new(channel.connect().await.unwrap());
        let lazy = WorkClient::new(site.channel().connect_lazy().unwrap());
        // Its first call leaves with the hello, so nobody would know whether one ran that came to a
        // closed door. From now on it waits for the answer of who is there.
        assert_eq!(lazy.add(1, 1).await, Ok(2));
        callers.spawn(async move {
            let mut lost = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                for client in [&client, &lazy] {
                    match client.add(1, 1).await {
                        Ok(sum) => assert_eq!(sum, 2),
                        // Nobody listens for a moment; what did not run is not lost.
                        Err(error) if error.executed() == Executed::No => {}
                        // A server that leaves answers for half a second who has not heard of it.
                        // By datagrams nobody knows what became of a call that comes later.
                        Err(error) if is_udp && error.code() == Code::Disconnected => {
                            assert_eq!(error.executed(), Executed::Maybe, "{error}");
                        }
                        Err(error) => lost.push(error.to_string()),
                    }
                }
            }
            lost
        });
    }
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(server) = server.take() {
            assert!(server.shutdown(GRACE).await);
        }
        server = Some(site.serve().await.0);
    }
    stop.store(true, Ordering::Relaxed);
    let lost = callers.join_all().await.concat();
    assert!(lost.is_empty(), "{lost:#?}");
}
