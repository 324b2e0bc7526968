//! Row 48: the death of either side at each step, by real processes that are really killed.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rpc_core::{Code, Executed};
use support::fifo::{CLIENT_STEPS, SERVER_STEPS};
use support::{LIMIT, Process, eventually, nearly_all_within};

use super::site::{DEATH_MAX, Site, TRACE_MAX, stop};

/// Clients that die at each step.
const CLIENTS: usize = 500;

/// Servers that die at each step; each is one process and some time.
const SERVERS: usize = 10;

/// Clients that die at the same time.
const AT_ONCE: usize = 4;

fn peer(side: &str, site: &Site, steps: usize) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-fifo-peer"));
    command.arg(side).arg(site.path()).arg(steps.to_string());
    command
}

/// 4,000 processes; about 15 s.
#[test]
fn row_48_a_client_killed_at_each_step_leaves_nothing() {
    // A runtime of its own, so that its tasks can be counted.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let site = Site::new();
    let _server = runtime.block_on(site.serve());
    let tasks = || runtime.metrics().num_alive_tasks();
    let (idle_pipes, idle_tasks) = (site.open_pipes(), tasks());
    runtime.block_on(site.check());
    for (step, name) in CLIENT_STEPS.iter().enumerate() {
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(|| {
                    for _ in 0..CLIENTS / AT_ONCE {
                        let killed = peer("client", &site, step + 1).output().unwrap();
                        let text = String::from_utf8_lossy(&killed.stderr);
                        assert_eq!(killed.status.code(), None, "it {name}: {text}");
                    }
                });
            }
        });
        let killed = begin.elapsed();
        let (_, swept) = eventually(&format!("nothing is left of who {name}"), TRACE_MAX, || {
            let is_clean =
                site.names().is_empty() && site.open_pipes() <= idle_pipes && tasks() <= idle_tasks;
            is_clean.then_some(())
        });
        println!("{CLIENTS} that {name}: killed in {killed:?}, nothing left {swept:?} later");
    }
    runtime.block_on(site.check());
}

#[tokio::test(flavor = "multi_thread")]
async fn row_48_a_server_killed_at_each_step_is_an_error_at_its_client() {
    for (step, name) in SERVER_STEPS.iter().enumerate() {
        let mut times = Vec::new();
        for _ in 0..SERVERS {
            let site = Site::new();
            let mut server = Process::spawn(&mut peer("server", &site, step + 1));
            server.line("it is there", |line| (line == "listed").then_some(()));
            let death = tokio::task::spawn_blocking(move || {
                server.wait(LIMIT);
                Instant::now()
            });
            let called = support::within(name, LIMIT, site.call()).await;
            let known = Instant::now();
            times.push(known.saturating_duration_since(death.await.unwrap()));
            let error = called.expect_err("the server is dead");
            if *name == "answered hello" || *name == "said the nonce" {
                let expected = [Code::Disconnected, Code::Refused];
                assert!(expected.contains(&error.code()), "{name}: {error}");
                assert_ne!(error.executed(), Executed::Yes, "{name}: {error}");
            } else {
                // It never came to the call, and that is known.
                let known = (error.code(), error.executed());
                assert_eq!(known, (Code::Refused, Executed::No), "{name}: {error}");
            }
            eventually("the client removes its names", TRACE_MAX, || {
                site.names().is_empty().then_some(())
            });
        }
        println!(
            "servers that {name}: noticed within {:?}",
            times.iter().max()
        );
        assert!(
            nearly_all_within(&mut times, DEATH_MAX),
            "{name}: {times:?}"
        );
    }
}

/// The time from the death of a server that runs to the error of a call, for many calls.
#[tokio::test(flavor = "multi_thread")]
async fn row_50_a_server_killed_during_calls() {
    let site = Site::new();
    let service = env!("CARGO_BIN_EXE_test-service");
    let (mut times, mut large_times) = (Vec::new(), Vec::new());
    for round in 0..20 {
        let mut server =
            Process::spawn(Command::new(service).args(["serve", "--listen", &site.address()]));
        server.line("it is ready", |line| (line == "ready").then_some(()));
        let client = site.connect().await.unwrap();
        assert_eq!(client.echo(1).await, Ok(1));
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { client.pause(1, Duration::from_secs(60)).await }
        });
        let large = tokio::spawn(async move {
            loop {
                client.reverse(vec![1; 3 << 20]).await?;
            }
            #[expect(unreachable_code, reason = "it names the type")]
            Ok::<(), rpc_core::Error>(())
        });
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        server.kill();
        let begin = Instant::now();
        let error = waiting.await.unwrap().unwrap_err();
        times.push(begin.elapsed());
        assert_eq!(
            (error.code(), error.executed()),
            (Code::Disconnected, Executed::Maybe)
        );
        let error = large.await.unwrap().unwrap_err();
        assert!(
            [Code::Disconnected, Code::Refused].contains(&error.code()),
            "{error}"
        );
        large_times.push(begin.elapsed());
    }
    assert!(nearly_all_within(&mut times, DEATH_MAX), "{times:?}");
    assert!(
        nearly_all_within(&mut large_times, DEATH_MAX * 2),
        "{large_times:?}"
    );
    let error = site.connect().await.err().unwrap();
    assert_eq!(error.code(), Code::Refused);
    assert!(error.to_string().contains("no server"), "{error}");
    // Nobody has removed it, and nobody reads it.
    assert!(fs::symlink_metadata(site.path()).is_ok());
}

/// A server that was stopped is no server that died: the client waits for its handshake.
#[tokio::test(flavor = "multi_thread")]
async fn row_48_a_stopped_server_is_a_timeout() {
    let site = Site::new();
    let service = env!("CARGO_BIN_EXE_test-service");
    let server = Process::spawn(Command::new(service).args(["serve", "--listen", &site.address()]));
    server.line("it is ready", |line| (line == "ready").then_some(()));
    stop(&server);
    let begin = Instant::now();
    let error = site.call().await.err().unwrap();
    assert_eq!(error.code(), Code::Unreachable, "{error}");
    assert!(
        begin.elapsed() >= Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    eventually("the client removes its names", TRACE_MAX, || {
        site.names().is_empty().then_some(())
    });
    server.resume();
    site.check().await;
}
