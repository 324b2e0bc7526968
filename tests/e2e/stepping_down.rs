//! What computes for ever in the process of one client leaves the processors to the others: its
//! priority is read from the system.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rpc_core::Server;
use rpc_core::server::Forking;
use rustix::process::{getpriority_process, setpriority_process};
use support::perils::{Perilous, PerilsClient, PerilsServer};
use support::{LIMIT, eventually_async, within};

/// The lowest priority.
const LOWEST: i32 = 19;

/// Long enough for ten looks at a process.
const A_WHILE: Duration = Duration::from_secs(1);

/// A server whose subservers have so many worker threads, and a client of it.
async fn start(pattern: Forking, workers: u8) -> (Server, PerilsClient) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_test-forking"));
    program.args(["--workers", &workers.to_string()]);
    let server = Server::builder()
        .service(PerilsServer::new(Perilous::default()))
        .pattern(pattern.command(program))
        .listen("tcp://127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let client = PerilsClient::connect(&server.addresses()[0]).await.unwrap();
    (server, client)
}

/// The nice values of all threads of a process.
fn nice(pid: u32) -> Vec<i32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats =
        threads.filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("stat")).ok());
    // Of what follows the name, which may hold anything, it is the seventeenth field.
    let nice = stats.map(|stat| {
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields.split_whitespace().nth(16).unwrap().parse().unwrap()
    });
    nice.collect()
}

/// How many threads of a process have stepped down.
fn down(pid: u32) -> usize {
    nice(pid).iter().filter(|nice| **nice == LOWEST).count()
}

async fn until_one_is_down(pid: u32) {
    let one = async || (down(pid) == 1).then_some(());
    eventually_async("a thread steps down", LIMIT, one).await;
}

#[tokio::test]
async fn a_thread_that_computes_for_ever_steps_down_alone() {
    for workers in [0, 1, 2] {
        let (_server, client) = start(Forking::new(), workers).await;
        let pid = client.about().await.unwrap().pid;
        assert_eq!(down(pid), 0);
        let spinning = tokio::spawn(async move { client.with_deadline(LIMIT).spin().await });
        until_one_is_down(pid).await;
        assert!(nice(pid).len() > 1, "its sentry has kept its priority");
        spinning.abort();
    }
}

#[tokio::test]
async fn a_thread_of_the_programs_own_steps_down_and_the_client_is_served() {
    let (_server, client) = start(Forking::new(), 1).await;
    let pid = client.about().await.unwrap().pid;
    assert_eq!(client.spin_aside().await, Ok(()));
    until_one_is_down(pid).await;
    assert_eq!(client.echo(1).await, Ok(1));
    // Another of its kind, while the first is down.
    assert_eq!(client.spin_aside().await, Ok(()));
    let both = async || (down(pid) == 2).then_some(());
    eventually_async("the second steps down", LIMIT, both).await;
}

#[tokio::test]
async fn who_is_busy_and_answers_is_left_alone() {
    for workers in [0, 1] {
        // Longer than the default, because other tests take the processors away.
        let pattern = Forking::new().step_down_after(Duration::from_millis(150));
        let (_server, client) = start(pattern, workers).await;
        let pid = client.about().await.unwrap().pid;
        let begin = Instant::now();
        while begin.elapsed() < 3 * A_WHILE {
            assert_eq!(
                within("it is computed", LIMIT, client.compute(2)).await,
                Ok(())
            );
            assert_eq!(down(pid), 0, "after {:?}", begin.elapsed());
        }
    }
}

#[tokio::test]
async fn nobody_steps_down_where_it_is_turned_off() {
    let pattern = Forking::new().step_down_after(Duration::MAX);
    let (_server, client) = start(pattern, 1).await;
    let pid = client.about().await.unwrap().pid;
    assert_eq!(client.spin_aside().await, Ok(()));
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(down(pid), 0);
}

#[tokio::test]
async fn who_is_calm_again_steps_up_where_the_system_permits_it() {
    let pattern = Forking::new().step_down_after(Duration::from_millis(10));
    let (_server, client) = start(pattern, 0).await;
    let pid = client.about().await.unwrap().pid;
    let computes = tokio::spawn({
        let client = client.with_deadline(LIMIT);
        async move { client.compute(2_000).await }
    });
    until_one_is_down(pid).await;
    assert_eq!(
        within("it is computed", LIMIT, computes).await.unwrap(),
        Ok(())
    );
    if !may_climb() {
        eprintln!("NOT TESTED: this user may not raise a priority, so nobody steps up");
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(down(pid), 1);
        return;
    }
    let nobody = async || (down(pid) == 0).then_some(());
    eventually_async("it steps up", LIMIT, nobody).await;
    assert_eq!(client.echo(1).await, Ok(1));
}

/// Whether this user may raise the priority of a thread: tried with one that is about to end.
fn may_climb() -> bool {
    let climb = thread::spawn(|| {
        // That of this thread alone.
        let own = getpriority_process(None).unwrap();
        setpriority_process(None, own + 1).unwrap();
        setpriority_process(None, own).is_ok()
    });
    climb.join().unwrap()
}
