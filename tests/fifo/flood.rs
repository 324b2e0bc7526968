//! Writers that fill the well-known pipe. Row 44: with garbage. Row 45: so that nobody gets in.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rpc_core::{Code, Executed};
use rustix::fs::OFlags;
use support::fifo::{open_pipe, record};
use support::{Process, nearly_all_within};

use super::site::{Site, stop};

/// How long a client may wait for room: two seconds, and what a busy machine adds.
const BUSY_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn row_44_garbage_costs_only_its_writer() {
    let site = Site::new();
    let _server = site.serve().await;
    let well_known = open_pipe(&site.path(), OFlags::WRONLY).unwrap();
    let seed = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let whole = record([1; 16], [2; 16]);
    for _ in 0..300 {
        let mut garbage = vec![0; random.usize(1..10_000)];
        random.fill(&mut garbage);
        let piece = match random.u8(..4) {
            0 => &whole[..random.usize(1..128)],
            1 => b"\xf8WKP\r\n\x1a\n",
            _ => &garbage[..],
        };
        // More than a page goes in pieces, as the room allows.
        let _ = rustix::io::write(&well_known, piece);
        // A record may end the piece of one before it, whose writer has lost it then.
        site.check().await;
    }
}

/// A writer that never stops. Whoever comes gets in or is told, and who is there is served.
#[tokio::test(flavor = "multi_thread")]
async fn row_45_a_pipe_that_is_kept_full_by_a_flood() {
    let site = Site::new();
    let _server = site.serve().await;
    let client = site.connect().await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicUsize::new(0));
    let writer = std::thread::spawn({
        let (path, over, written) = (site.path(), Arc::clone(&over), Arc::clone(&written));
        move || {
            let well_known = open_pipe(&path, OFlags::WRONLY).unwrap();
            let records = record([1; 16], [2; 16]).repeat(32);
            while !over.load(Ordering::Relaxed) {
                if let Ok(count) = rustix::io::write(&well_known, &records) {
                    written.fetch_add(count / 128, Ordering::Relaxed);
                }
            }
        }
    });
    let (mut entered, mut times) = (0, Vec::new());
    let flood = Instant::now();
    for _ in 0..10 {
        let begin = Instant::now();
        match site.call().await {
            Ok(_) => entered += 1,
            Err(error) => {
                assert_eq!(error.code(), Code::Overloaded, "{error}");
                assert!(
                    error.to_string().contains("well-known pipe busy"),
                    "{error}"
                );
            }
        }
        assert!(begin.elapsed() < BUSY_MAX, "{:?}", begin.elapsed());
        let begin = Instant::now();
        assert_eq!(client.echo(2).await, Ok(2));
        times.push(begin.elapsed());
    }
    let rate = written.load(Ordering::Relaxed) as f64 / flood.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    println!("{rate:.0} records/s; {entered} of 10 got in; calls took {times:?}");
    assert!(
        nearly_all_within(&mut times, Duration::from_secs(1)),
        "{times:?}"
    );
    site.check().await;
}

/// A server that reads nothing: its pipe stays full.
#[tokio::test(flavor = "multi_thread")]
async fn row_45_a_full_pipe_is_waited_for_and_then_busy() {
    let site = Site::new();
    let service = env!("CARGO_BIN_EXE_test-service");
    let server = Process::spawn(Command::new(service).args(["serve", "--listen", &site.address()]));
    server.line("it is ready", |line| (line == "ready").then_some(()));
    stop(&server);
    let well_known = open_pipe(&site.path(), OFlags::WRONLY).unwrap();
    let mut records = 0;
    while rustix::io::write(&well_known, &record([1; 16], [2; 16])).is_ok() {
        records += 1;
    }
    assert_eq!(records, 512, "64 KiB");
    let begin = Instant::now();
    let error = site.connect().await.err().unwrap();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Overloaded, Executed::No)
    );
    assert!(
        error.to_string().contains("well-known pipe busy"),
        "{error}"
    );
    assert!((Duration::from_secs(2)..BUSY_MAX).contains(&begin.elapsed()));
    assert_eq!(site.names(), [""; 0]);

    // One that waits gets in as soon as there is room.
    let waiting = tokio::spawn({
        let address = site.address();
        async move { rpc_core::Channel::builder(address).connect().await }
    });
    let early = tokio::time::sleep(Duration::from_millis(200));
    early.await;
    server.resume();
    waiting.await.unwrap().unwrap();
}
