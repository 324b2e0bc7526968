//! The same attackers at the subservers of a central dispatch server, whose main process is to feel
//! nothing.
//!
//! A subserver must be a program that offers the same services, and this one is a test harness: so
//! one of its tests is that program, where it was started for it.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rpc_core::server::CentralDispatch;
use rpc_core::{Channel, Server, ServerBuilder};
use support::Process;
use tokio::task::JoinSet;

use super::bombs::{HUGE, deep, frames, levels, swelling};
use super::prey::{PreyClient, TCP, method, prey};
use super::wire::*;

/// Says that servers are to have subservers.
const MARK: &str = "HOSTILE_AT_SUBSERVERS";

/// As the environment of this process says.
pub(crate) fn with_pattern(builder: ServerBuilder) -> ServerBuilder {
    match std::env::var_os(MARK) {
        Some(_) => builder.pattern(pattern()),
        None => builder,
    }
}

fn pattern() -> CentralDispatch {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "central::subserver", "--nocapture"]);
    CentralDispatch::new().subservers(2).command(command)
}

/// The program of the subservers. In any other process there is nothing to do.
#[tokio::test]
async fn subserver() {
    // Not by `subserver_init`, which would say that every process of this program may be one.
    if std::env::var_os("RPC_CORE_SUBSERVER").is_none() {
        return;
    }
    assert!(rpc_core::subserver_init());
    let builder = Server::builder().service(prey().0).listen(TCP);
    let served = builder.pattern(pattern()).start().await;
    panic!("it does not come back: {served:?}");
}

/// The tests whose name begins so, with forts that have subservers.
fn hold_at_subservers(tests: &[&str]) {
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this)
        .args(tests)
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && !text.contains(" 0 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn bombs_at_subservers() {
    hold_at_subservers(&["bombs::"]);
}

#[test]
fn frames_that_are_not_allowed_at_subservers() {
    hold_at_subservers(&["framing::"]);
}

#[test]
fn slow_clients_at_subservers() {
    hold_at_subservers(&["slow::"]);
}

#[test]
fn clients_that_leave_and_handlers_that_panic_at_subservers() {
    hold_at_subservers(&["drops::", "panics::"]);
}

#[test]
fn random_streams_at_subservers() {
    hold_at_subservers(&["random::random_streams_at_a_server_over_"]);
}

#[test]
fn what_attacks_cost_in_the_main_process() {
    hold_at_subservers(&["memory::"]);
}

/// The program of a main process whose subservers are attacked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn main_process() {
    if std::env::var_os(MAIN).is_none() {
        return;
    }
    let builder = Server::builder().service(prey().0).listen(TCP);
    let server = builder.pattern(pattern()).start().await.unwrap();
    println!("\nlistening {}", server.addresses()[0]);
    std::future::pending().await
}

/// Says that this process is to be such a main process.
const MAIN: &str = "HOSTILE_MAIN_PROCESS";

/// What a main process may grow by under attack: the buffers of the trunks and tables for the
/// clients, and not the 16 MiB that one of the bombs may take where it is decoded.
const GROWTH_MAX_KIB: u64 = 4 * 1024;

/// A line of what the system knows of a process, in KiB.
fn status(process: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let value = status.lines().find_map(|found| found.strip_prefix(line));
    let value = value.and_then(|value| value.trim().split(' ').next());
    value.unwrap().parse().unwrap()
}

/// The processes that a process has started, the oldest first.
fn children(process: u32) -> Vec<String> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))
        .unwrap()
        .flatten()
    {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        all.extend(children.split_whitespace().map(str::to_owned));
    }
    all.sort();
    all
}

/// Every bomb again and again, by eight attackers, while honest clients work. What is measured is
/// the main process, which is none of the attackers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_02_to_05_bombs_do_not_move_the_main_process() {
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new(this);
    command.args(["--exact", "central::main_process", "--nocapture"]);
    let main = Process::spawn(command.env(MAIN, "1"));
    let address = main.line("an address", |line| {
        line.strip_prefix("listening ").map(str::to_owned)
    });
    let honest = PreyClient::new(Channel::connect(&address).await.unwrap());
    for _ in 0..1000 {
        assert_eq!(honest.add(20, 22).await, Ok(42));
    }
    let (subservers, before) = (children(main.id()), status(main.id(), "VmHWM:"));
    assert_eq!(subservers.len(), 2);

    let over = Arc::new(AtomicBool::new(false));
    let worker = tokio::spawn({
        let (honest, over) = (honest.clone(), Arc::clone(&over));
        async move {
            let mut answers = 0_u32;
            while !over.load(Ordering::Relaxed) {
                assert_eq!(honest.add(20, 22).await, Ok(42));
                answers += 1;
            }
            answers
        }
    });
    let mut attackers = JoinSet::new();
    for _ in 0..8 {
        let address = address.clone();
        attackers.spawn(async move {
            let bombs = [
                ("string", HUGE.to_vec()),
                ("blob", length(u64::MAX).to_vec()),
                ("units", HUGE.to_vec()),
                ("swelling", swelling(15_000)),
                ("swelling", swelling(225_000)),
                ("tree", deep()),
                ("tree", levels(225_000)),
            ];
            for _ in 0..20 {
                for (name, payload) in &bombs {
                    let mut raw = Raw::open(&address).await;
                    raw.send(&frames(method(name), 1, payload)).await;
                    let reply = raw.reply(1).await.expect("a reply");
                    assert_eq!(reply.failure(), Some((code::CODEC, EXECUTED_NO)), "{name}");
                }
            }
        });
    }
    while let Some(ended) = attackers.join_next().await {
        ended.unwrap();
    }
    over.store(true, Ordering::Relaxed);
    let answers = worker.await.unwrap();
    let grown = status(main.id(), "VmHWM:").saturating_sub(before);
    println!("the main process grew by {grown} KiB at most, and gave {answers} answers");
    assert!(grown <= GROWTH_MAX_KIB, "it grew by {grown} KiB");
    assert_eq!(children(main.id()), subservers, "a subserver was lost");
}
