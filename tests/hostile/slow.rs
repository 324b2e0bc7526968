//! Peers that take their time.

use std::time::{Duration, Instant};

use rpc_core::Limits;
use tokio::task::JoinSet;

use super::prey::{Fort, TCP, eventually, method};
use super::wire::*;

/// Longer than an honest handshake takes on a busy machine.
fn impatient() -> Limits {
    let mut limits = Limits::default();
    limits.handshake = Duration::from_secs(2);
    limits
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_drippers_are_cut_off_and_honest_clients_served() {
    let fort = Fort::built(TCP, |builder| builder.limits(impatient())).await;
    let honest = fort.client().await;
    assert_eq!(honest.add(1, 1).await, Ok(2));
    let start = Instant::now();
    let mut drippers = JoinSet::new();
    for i in 0..500 {
        let address = fort.address().to_owned();
        drippers.spawn(async move {
            let mut raw = Raw::connect(&address).await;
            // Some say nothing, some half a hello, some all but the last byte of the handshake.
            let opening = opening();
            let all = opening.len() - 1;
            for byte in opening.iter().take(all.min(i % 60)) {
                if raw.try_send(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            raw.drain().await;
        });
    }
    while !drippers.is_empty() {
        assert_eq!(honest.add(1, 1).await, Ok(2), "an honest client suffers");
        if tokio::time::timeout(Duration::from_millis(5), drippers.join_next())
            .await
            .is_ok()
        {
            while drippers.try_join_next().is_some() {}
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "they are still there"
        );
    }
    eventually("only the honest one is left", || {
        fort.server.connections() == 1
    })
    .await;
    drop(honest);
    fort.stands().await;
}

#[tokio::test]
async fn row_10_ready_must_come_in_time_too() {
    let fort = Fort::built(TCP, |builder| builder.limits(impatient())).await;
    let mut raw = Raw::connect(fort.address()).await;
    raw.send(&[MAGIC, &hello()].concat()).await;
    // Calls run before ready, but they do not stand for it.
    raw.send(&method("add").request(1, 5000, ADD)).await;
    assert_eq!(raw.reply(1).await.unwrap().body, value(FIVE));
    assert_eq!(raw.farewell().await, Some(code::PROTOCOL));
    fort.stands().await;
}

#[tokio::test]
async fn row_12_a_peer_that_reads_nothing_is_cut_off() {
    let fort = Fort::built(TCP, |builder| {
        let mut limits = Limits::default();
        limits.write_stall = Duration::from_millis(300);
        builder.limits(limits)
    })
    .await;
    let mut raw = Raw::open(fort.address()).await;
    let credit = frame(CREDIT, 0, 0, &(1_u32 << 30).to_le_bytes());
    raw.send(&credit).await;
    for id in 1..=200 {
        let sent = raw
            .try_send(&method("give_blob").request(id, 60_000, &[]))
            .await;
        if sent.is_err() {
            break;
        }
    }
    eventually("it is cut off", || fort.server.connections() == 0).await;
    fort.stands().await;
}

#[tokio::test]
async fn row_10_who_says_nothing_does_not_hold_up_a_drain_and_learns_of_it() {
    let fort = Fort::at(TCP).await;
    let mut silent = Raw::connect(fort.address()).await;
    eventually("it is accepted", || fort.server.connections() == 1).await;
    let drained = fort.server.shutdown(Duration::from_secs(20));
    let (drained, refusal) = tokio::join!(drained, async {
        let refusal = silent.next().await;
        drop(silent);
        refusal
    });
    // Calls that are on their way behind the hello count as not executed because of it.
    let refusal = refusal.expect("a refusal");
    assert_eq!((refusal.kind, refusal.body[0]), (ANSWER, code::DRAINING));
    assert!(drained);
}
