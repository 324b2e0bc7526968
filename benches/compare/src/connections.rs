//! Rows about connections rather than calls: making them, keeping them, and calls beside those that
//! are kept. Knows nothing about which peer answers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::control::{self, Usage};
use crate::load;
use crate::metric::Metric;
use crate::peers::Caller;
use crate::stats;

/// Connections that are made before the clock stops and they are closed.
const BATCH: usize = 250;

/// What closing connections may take on both sides before the clock runs again.
const CLOSING: Duration = Duration::from_millis(20);

/// How long idle connections are left alone before memory is read: time to let buffers go.
const SETTLING: Duration = Duration::from_millis(300);

/// Connections that stand before memory is read for the first time, so that what is allocated once
/// is not counted.
const FIRST: usize = 50;

/// How often the load beside idle connections is measured; the median counts. A single window is at
/// the mercy of whatever else the machine does in it.
const WINDOWS: usize = 5;

/// Connects and adds once, again and again for so long; connections are closed while the clock
/// stands.
pub(crate) async fn connect<C: Caller>(
    connect: impl AsyncFn() -> C,
    time: Duration,
) -> BTreeMap<Metric, f64> {
    let (mut made, mut took) = (0, Duration::ZERO);
    let warm = keep(&connect, BATCH).await;
    drop(warm);
    sleep(CLOSING).await;
    while took < time {
        let began = Instant::now();
        let kept = keep(&connect, BATCH).await;
        took += began.elapsed();
        made += kept.len();
        drop(kept);
        sleep(CLOSING).await;
    }
    BTreeMap::from([(Metric::ConnectsPerSecond, made as f64 / took.as_secs_f64())])
}

/// What each of so many idle connections takes.
pub(crate) async fn memory<C: Caller>(
    connect: impl AsyncFn() -> C,
    connections: usize,
) -> Result<BTreeMap<Metric, f64>, String> {
    let _first = keep(&connect, FIRST).await;
    sleep(SETTLING).await;
    let before = (control::server_usage()?, Usage::now());
    let _kept = keep(&connect, connections).await;
    sleep(SETTLING).await;
    let after = (control::server_usage()?, Usage::now());
    let each = |before: Usage, after: Usage| {
        let grown = after.resident_kib.saturating_sub(before.resident_kib);
        grown as f64 / connections as f64
    };
    Ok(BTreeMap::from([
        (Metric::ServerKib, each(before.0, after.0)),
        (Metric::ClientKib, each(before.1, after.1)),
    ]))
}

/// Load on some connections, without and with many idle ones beside them.
pub(crate) async fn idle<C: Caller>(
    connect: impl AsyncFn() -> C,
    busy: usize,
    idle: usize,
    time: Duration,
) -> BTreeMap<Metric, f64> {
    let busy = keep(&connect, busy).await;
    let p99 = async || {
        load::add(busy.clone(), time / 4).await;
        let mut p99s = Vec::with_capacity(WINDOWS);
        for _ in 0..WINDOWS {
            let mut tally = load::add(busy.clone(), time).await;
            let nanos = stats::quantile(&mut tally.nanos, 0.99);
            p99s.push(nanos.unwrap_or_default() as f64 / 1e3);
        }
        stats::spread(&p99s).map_or(0.0, |(median, ..)| median)
    };
    let alone = p99().await;
    let _idle = keep(&connect, idle).await;
    sleep(SETTLING).await;
    let beside = p99().await;
    BTreeMap::from([
        (Metric::AloneP99Micros, alone),
        (Metric::P99Micros, beside),
        (Metric::Growth, beside / alone),
    ])
}

/// Makes connections of which each has made its first call.
async fn keep<C: Caller>(connect: &impl AsyncFn() -> C, connections: usize) -> Vec<C> {
    let mut kept = Vec::with_capacity(connections);
    for number in 0..connections {
        let caller = connect().await;
        let number = number as i64;
        assert_eq!(caller.add(number, 1).await, number + 1, "wrong sum");
        kept.push(caller);
    }
    kept
}
