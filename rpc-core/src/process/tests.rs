//! Real children, and this test program itself as a parent and as a child.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::*;

/// Longer than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn sh(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

fn spawn(script: &str) -> Child {
    Child::spawn(&mut sh(script), Group::Shared).unwrap()
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
}

/// Waits until nothing is left of a process, not even a zombie: its number is free.
fn is_gone(id: u32) -> bool {
    let begin = Instant::now();
    while test_kill_process(pid(id)).is_ok() {
        if begin.elapsed() > SOON {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    true
}

#[tokio::test]
async fn an_end_is_heard_of_by_all_who_wait() {
    let child = spawn("exit 3");
    let (first, second) = tokio::join!(child.wait(), child.wait());
    assert_eq!(ending(first.unwrap()), "exited with code 3");
    assert_eq!(second.unwrap().code(), Some(3));
    assert_eq!(child.wait().await.unwrap().code(), Some(3), "asked later");
    child.kill().unwrap();
    assert!(is_gone(child.id()));
}

#[tokio::test]
async fn waiting_leaves_the_thread_to_others() {
    let child = spawn("exec sleep 1000");
    let mut turns = 0;
    tokio::select! {
        biased;
        _ = child.wait() => panic!("it ended by itself"),
        () = async {
            for _ in 0..10 {
                tokio::task::yield_now().await;
                turns += 1;
            }
        } => {}
    }
    assert_eq!(turns, 10);
    child.kill().unwrap();
    let status = child.wait().await.unwrap();
    assert_eq!(ending(status), "was ended by signal 9 (SIGKILL)");
}

#[tokio::test]
async fn a_dropped_child_is_killed_and_reaped() {
    let child = spawn("exec sleep 1000");
    let id = child.id();
    drop(child);
    assert!(is_gone(id), "{id} is left");
}

/// A runtime that is gone takes nobody's last rites with it.
#[test]
fn a_child_that_outlives_its_runtime_is_reaped() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (first, second) = runtime.block_on(async { (spawn("exit 0"), spawn("exec sleep 1000")) });
    drop(runtime);
    for child in [first, second] {
        let id = child.id();
        drop(child);
        assert!(is_gone(id), "{id} is left");
    }
}

#[tokio::test]
async fn grace_is_granted_and_is_not_without_end() {
    let directory = env::temp_dir();
    let note = directory.join(format!("rpc-core-grace-{}", std::process::id()));
    let mut command = sh(r#"read line; printf done > "$0""#);
    command.arg(&note).stdin(Stdio::piped());
    let polite = Child::spawn(&mut command, Group::Shared).unwrap();
    let polite = polite.with_grace(SOON);
    let deaf = spawn("exec sleep 1000").with_grace(Duration::from_millis(50));
    let ids = [polite.id(), deaf.id()];
    drop(polite.stdin());
    drop(polite);
    drop(deaf);
    for id in ids {
        assert!(is_gone(id), "{id} is left");
    }
    assert_eq!(fs::read_to_string(&note).unwrap(), "done");
    fs::remove_file(&note).unwrap();
}

#[tokio::test]
async fn a_group_goes_as_a_whole() {
    let mut command = sh("sleep 1000 & echo $!; wait");
    command.stdout(Stdio::piped());
    let child = Child::spawn(&mut command, Group::Own).unwrap();
    let mut line = String::new();
    let stdout = child.stdout().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let grandchild: u32 = line.trim().parse().unwrap();
    child.kill().unwrap();
    assert!(child.wait().await.unwrap().code().is_none());
    // Whoever adopts orphans reaps it; at the latest it is a zombie that nobody can kill.
    let status = format!("/proc/{grandchild}/status");
    let begin = Instant::now();
    while fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ")) {
        assert!(begin.elapsed() < SOON, "{grandchild} lives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_an_error() {
    let missing = Child::spawn(&mut Command::new("/nonexistent"), Group::Shared);
    let error = missing.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

/// What one of the processes below is to be.
const ROLE: &str = "RPC_CORE_PROCESS_TEST";

/// This test program again, to run the test of that name in another role.
fn again(test: &str, role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, role);
    command
}

/// Three processes: this one, a parent, and its child, which spins. The parent is killed, and the
/// child's end is seen by the end of what it writes to.
#[test]
fn a_process_that_spins_ends_with_its_parent() {
    let test = "process::tests::a_process_that_spins_ends_with_its_parent";
    match env::var(ROLE).as_deref() {
        Ok("parent") => {
            let _ = again(test, "child").spawn().unwrap().wait();
        }
        Ok("child") => {
            let parent = Parent::whoever().unwrap().unwrap();
            parent.outlive_it_by(Duration::ZERO).unwrap();
            writeln!(std::io::stdout(), "\nspins {}", std::process::id()).unwrap();
            loop {
                std::hint::spin_loop();
            }
        }
        _ => {
            let mut parent = again(test, "parent")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut said = BufReader::new(parent.stdout.take().unwrap());
            let mut line = String::new();
            while !line.starts_with("spins ") {
                line.clear();
                assert_ne!(said.read_line(&mut line).unwrap(), 0, "it never span");
            }
            let child: u32 = line["spins ".len()..].trim().parse().unwrap();
            parent.kill().unwrap();
            parent.wait().unwrap();
            let (over, ended) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                let _ = said.read_to_end(&mut Vec::new());
                let _ = over.send(());
            });
            if ended.recv_timeout(SOON).is_err() {
                kill_process(pid(child), Signal::KILL).unwrap();
                panic!("{child} goes on without its parent");
            }
        }
    }
}
