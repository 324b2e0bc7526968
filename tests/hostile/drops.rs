//! Callers that lose interest.

use std::time::Duration;

use tokio::task::JoinSet;

use super::prey::{Fort, PreyClient, TCP, eventually};

/// A client whose calls are never late while a test lasts: only the drop can end them.
async fn patient(fort: &Fort) -> PreyClient {
    let client = fort.client().await;
    client.with_deadline(Duration::from_secs(3000))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_a_hundred_thousand_dropped_calls_leave_nothing() {
    let fort = Fort::at(TCP).await;
    let client = patient(&fort).await;
    assert_eq!(client.add(1, 1).await, Ok(2));
    let mut callers = JoinSet::new();
    for caller in 0..100_u64 {
        let client = client.clone();
        callers.spawn(async move {
            for i in 0..1000_u64 {
                let patience = Duration::from_micros((caller * 37 + i * 101) % 3000);
                // Mostly dropped while it runs, sometimes before it is sent or on its way.
                let _ = tokio::time::timeout(patience, client.hang()).await;
            }
        });
    }
    callers.join_all().await;
    eventually("all handlers are gone", || {
        fort.log.begun() == fort.log.gone()
    })
    .await;
    eventually("all places are free", || fort.server.calls() == 0).await;
    assert!(fort.log.begun() > 1000, "hardly any call arrived");
    assert_eq!(client.add(1, 1).await, Ok(2));
    assert_eq!(
        fort.server.connections(),
        1,
        "an honest client is not cut off"
    );
    drop(client);
    fort.stands().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_22_clients_that_vanish_with_their_calls() {
    let fort = Fort::at(TCP).await;
    for round in 0..50 {
        let client = patient(&fort).await;
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            let client = client.clone();
            calls.spawn(async move { client.hang().await });
        }
        if round % 2 == 0 {
            eventually("some handlers run", || fort.log.begun() > fort.log.gone()).await;
        }
        calls.abort_all();
        drop((calls, client));
    }
    fort.stands().await;
}
