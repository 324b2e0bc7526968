//! What attacks may cost in memory, each measured in a process of its own.

use std::process::Command;
use std::time::Duration;

use rpc_core::{Channel, Code, Limits};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::prey::{
    Fort, PreyClient, assert_no_panic_inside, method, unix_address, watch_for_panics,
};
use super::wire::*;

/// Whether this process is the one that measures. The other starts it and sees how it ends.
pub(crate) fn measures(test: &str) -> bool {
    const MARK: &str = "HOSTILE_MEASURES";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this)
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

/// What this process has taken.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// Bytes that lie in memory, as the system counts.
    resident: usize,
    /// Bytes that were allocated, touched or not.
    allocated: usize,
}

impl Memory {
    pub(crate) fn now() -> Self {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
        Self {
            resident: pages * 4096,
            allocated: ALLOCATOR.allocated(),
        }
    }

    /// What was allocated since, without what the system counts in pages.
    #[track_caller]
    pub(crate) fn assert_allocated_at_most(self, most: usize) {
        let allocated = Self::now().allocated.saturating_sub(self.allocated);
        println!("{allocated} bytes of at most {most}");
        assert!(allocated <= most, "{allocated} bytes, at most {most}");
    }

    #[track_caller]
    pub(crate) fn assert_grew_at_most(self, most: usize) {
        let now = Self::now();
        let resident = now.resident.saturating_sub(self.resident);
        let allocated = now.allocated.saturating_sub(self.allocated);
        let text = format!(
            "grew by {} KiB in memory, {} KiB allocated",
            resident / 1024,
            allocated / 1024
        );
        println!("{text}");
        assert!(resident.max(allocated) <= most, "{text}");
    }
}

pub(crate) const MIB: usize = 1 << 20;

#[tokio::test]
#[cfg(target_os = "linux")]
async fn row_01_a_thousand_declared_lengths_cost_nothing() {
    if !measures("memory::row_01_a_thousand_declared_lengths_cost_nothing") {
        return;
    }
    let fort = Fort::at(&unix_address()).await;
    fort.stands().await;
    let before = Memory::now();
    let mut attackers = Vec::new();
    for _ in 0..1000 {
        let mut raw = Raw::open(fort.address()).await;
        raw.send(&header(64 * 1024, REQUEST, 0, 1)).await;
        for _ in 0..3 {
            raw.send(&[0]).await;
        }
        attackers.push(raw);
    }
    assert_eq!(fort.server.connections(), 1000);
    before.assert_grew_at_most(32 * MIB);
    drop(attackers);
    fort.stands().await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn row_01_a_thousand_declared_lengths_cost_nothing_at_a_client() {
    if !measures("memory::row_01_a_thousand_declared_lengths_cost_nothing_at_a_client") {
        return;
    }
    watch_for_panics();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let mut victims = JoinSet::new();
    let mut attackers = Vec::new();
    let before = Memory::now();
    for _ in 0..1000 {
        let client = PreyClient::new(Channel::builder(&address).connect_lazy().unwrap());
        let client = client.with_deadline(Duration::from_secs(3000));
        victims.spawn(async move { client.give_blob().await.unwrap_err().code() });
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Raw::new(stream);
        raw.accept(GENEROUS).await;
        let id = raw.request().await.expect("a call");
        let ping = frame(PING, 0, 0, &[0; 8]);
        let start = [&header(64 * 1024, RESPONSE, MORE, id)[..], &[0; 3]].concat();
        raw.send(&[ping, start].concat()).await;
        // The client has read both when it answers the first.
        while raw.next().await.expect("a pong").kind != PONG {}
        attackers.push(raw);
    }
    before.assert_grew_at_most(32 * MIB);
    drop(attackers);
    while let Some(code) = victims.join_next().await {
        assert!(matches!(code.unwrap(), Code::Disconnected | Code::Io));
    }
    assert_no_panic_inside();
}

/// Requests that stay cost their own bytes and not the buffers they were read into.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn row_01_requests_that_wait_keep_no_read_buffers() {
    if !measures("memory::row_01_requests_that_wait_keep_no_read_buffers") {
        return;
    }
    let fort = Fort::at(&unix_address()).await;
    fort.stands().await;
    let before = Memory::now();
    let mut attackers = Vec::new();
    for i in 0..10 {
        let mut raw = Raw::open(fort.address()).await;
        for id in 1..=200 {
            // Each in a read of its own.
            raw.send(&method("hold").request(id, 60_000, &[3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]))
                .await;
            while fort.log.begun() < 200 * i + id as u32 {
                tokio::task::yield_now().await;
            }
        }
        attackers.push(raw);
    }
    before.assert_grew_at_most(32 * MIB);
    drop(attackers);
    fort.stands().await;
}

/// What is refused at once must not pile up for a peer that does not read.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn row_12_refusals_do_not_pile_up() {
    if !measures("memory::row_12_refusals_do_not_pile_up") {
        return;
    }
    let fort = Fort::at(&unix_address()).await;
    fort.stands().await;
    let before = Memory::now();
    let mut raw = Raw::open(fort.address()).await;
    let late = method("hang");
    let mut id = 0_u64;
    // 400 MB of refusals, were they kept.
    for _ in 0..4000 {
        let mut bytes = Vec::new();
        for _ in 0..1000 {
            id += 1;
            bytes.extend(late.request(id, 0, &[]));
        }
        let sent = tokio::time::timeout(Duration::from_secs(2), raw.try_send(&bytes)).await;
        if !matches!(sent, Ok(Ok(()))) {
            break;
        }
    }
    assert!(id < 4_000_000, "the server took everything");
    before.assert_grew_at_most(32 * MIB);
    drop(raw);
    fort.stands().await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn row_56_a_server_that_reads_nothing_cannot_fill_its_client() {
    if !measures("memory::row_56_a_server_that_reads_nothing_cannot_fill_its_client") {
        return;
    }
    watch_for_panics();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Raw::new(stream);
        raw.accept([u32::MAX; 4]).await;
        std::future::pending::<()>().await;
    });
    let client = PreyClient::new(Channel::connect(address).await.unwrap());
    let _ = client
        .with_deadline(Duration::from_millis(100))
        .add(1, 1)
        .await;
    let before = Memory::now();
    // 250 MB of requests that were given up one after the other.
    for _ in 0..200 {
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            let client = client.with_deadline(Duration::from_millis(10));
            calls.spawn(async move { client.blob(vec![0; 60 * 1024]).await.is_err() });
        }
        assert!(calls.join_all().await.into_iter().all(|failed| failed));
    }
    before.assert_grew_at_most(32 * MIB);
    server.abort();
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn row_56_replies_under_assembly_are_bounded_together() {
    if !measures("memory::row_56_replies_under_assembly_are_bounded_together") {
        return;
    }
    watch_for_panics();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    const CALLS: u64 = 100;
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Raw::new(stream);
        raw.accept(GENEROUS).await;
        for _ in 0..CALLS {
            raw.request().await;
        }
        // A mebibyte of each reply, and never its end.
        let chunk = vec![7; 60 * 1024];
        for id in 1..=CALLS {
            raw.send(&frame(RESPONSE, MORE, id, &value(&chunk))).await;
        }
        for _ in 0..16 {
            for id in 1..=CALLS {
                raw.send(&frame(CHUNK, MORE | CALLEE, id, &chunk)).await;
                // Credit must be heard, or the window is overrun.
                while tokio::time::timeout(Duration::from_micros(1), raw.next())
                    .await
                    .is_ok()
                {}
            }
        }
        std::future::pending::<()>().await;
    });
    let mut limits = Limits::default();
    limits.assembly = 8 * MIB;
    let channel = Channel::builder(address).limits(limits);
    let client = PreyClient::new(channel.connect().await.unwrap());
    let client = client.with_deadline(Duration::from_secs(5));
    let before = Memory::now();
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let client = client.clone();
        calls.spawn(async move { client.give_blob().await.is_err() });
    }
    let failed = calls.join_next().await.unwrap().unwrap();
    assert!(failed, "no reply was complete");
    before.assert_grew_at_most(48 * MIB);
    server.abort();
}
