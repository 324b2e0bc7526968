//! The way of the handbook: start the matchmaker, start a service, let a client find it; and what
//! the command line says about it all.

use std::process::Command;

use examples::{CalculatorClient, MathError};
use rpc_core::CallError;
use serde_json::Value;
use support::{LIMIT, Matchmaker, Process, TempDir, free_address, within};

use crate::program::{MATCHMAKER, SERVICE, Service, matchmaker};

#[tokio::test]
async fn a_client_finds_a_service_by_its_name_and_calls_it() {
    let matchmaker = matchmaker().await;
    let _service = Service::registered(&matchmaker, None);

    // In a process of its own, which is told where the matchmaker is by its environment ..
    let added = Process::run(
        Command::new(SERVICE)
            .args(["add", "2", "3"])
            .env("MATCHMAKER_ADDR", matchmaker.address()),
    );
    assert_eq!(
        (added.code, added.stdout.trim()),
        (Some(0), "5"),
        "{added:?}"
    );

    // .. and in this one, by the address.
    let calculator = CalculatorClient::connect(matchmaker.name("Calculator"));
    let calculator = within("the client connects", LIMIT, calculator)
        .await
        .unwrap();
    assert_eq!(calculator.add(2, 3).await, Ok(5));
    assert_eq!(calculator.divide(1.0, 4.0).await, Ok(0.25));
    assert_eq!(
        calculator.divide(1.0, 0.0).await,
        Err(CallError::Service(MathError::DivisionByZero))
    );
    assert_eq!(calculator.parse("0.5").await, Ok(0.5));
    assert_eq!(calculator.constant("tau").await, Ok(None));
}

#[tokio::test]
async fn the_command_line_shows_what_is_registered() {
    let matchmaker = matchmaker().await;
    let empty = matchmaker.command(&["list", "--json"]);
    assert_eq!(empty.code, Some(0), "{empty:?}");
    assert_eq!(json(&empty.stdout)["instances"], Value::Array(Vec::new()));

    let service = Service::registered(&matchmaker, None);
    let list = matchmaker.command(&["list", "--json"]);
    assert_eq!(list.code, Some(0), "{list:?}");
    let list = json(&list.stdout);
    let calculator = &list["instances"][0];
    assert_eq!(calculator["service"], "Calculator");
    assert_eq!(calculator["version"], "1.2.0");
    assert_eq!(calculator["pid"], service.process.id());
    assert_eq!(calculator["endpoints"][0]["address"], service.address());
    assert_eq!(list["instances"][1]["service"], "test.Work");

    let table = matchmaker.command(&["list"]).stdout;
    for word in [
        "SERVICE",
        "VERSION",
        "AGE",
        "Calculator",
        "1.2.0",
        service.address(),
    ] {
        assert!(table.contains(word), "no {word} in\n{table}");
    }
    let resolved = matchmaker.command(&["resolve", "Calculator", "--version", "^1", "--json"]);
    assert_eq!(resolved.code, Some(0), "{resolved:?}");
    assert_eq!(
        json(&resolved.stdout)["instances"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let health = matchmaker.command(&["health", "--json"]);
    assert_eq!(health.code, Some(0), "{health:?}");
    assert_eq!(json(&health.stdout)["instances"], 1);
    assert_eq!(json(&health.stdout)["services"], 2);
}

#[tokio::test]
async fn scripts_can_tell_by_the_exit_code_what_went_wrong() {
    let mut matchmaker = matchmaker().await;
    let _service = Service::registered(&matchmaker, None);

    let nobody = matchmaker.command(&["resolve", "Nobody"]);
    assert_eq!(nobody.code, Some(3), "{nobody:?}");
    assert!(nobody.stderr.contains("Nobody"), "{nobody:?}");
    let version = matchmaker.command(&["resolve", "Calculator", "--version", "^2"]);
    assert_eq!(version.code, Some(3), "{version:?}");
    assert!(version.stderr.contains("1.2.0"), "{version:?}");

    let usage = matchmaker.command(&["resolve"]);
    assert_eq!(usage.code, Some(2), "{usage:?}");
    let range = matchmaker.command(&["resolve", "Calculator", "--version", "one"]);
    assert_eq!(range.code, Some(2), "{range:?}");
    let address = matchmaker.command(&["health", "--matchmaker", "tpc://127.0.0.1:1"]);
    assert_eq!(address.code, Some(2), "{address:?}");

    matchmaker.process().kill();
    let away = matchmaker.command(&["health"]);
    assert_eq!(away.code, Some(4), "{away:?}");
    assert!(away.stderr.contains(matchmaker.address()), "{away:?}");
}

#[tokio::test]
async fn a_busy_port_is_an_error_that_says_who_may_hold_it() {
    let matchmaker = matchmaker().await;
    let second =
        Process::run(Command::new(MATCHMAKER).args(["serve", "--listen", matchmaker.address()]));
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains(matchmaker.address()), "{second:?}");
    assert!(
        second.stderr.contains("another matchmaker may be running"),
        "{second:?}"
    );
}

#[tokio::test]
async fn sigterm_drains_the_daemon_and_the_service_and_both_end_well() {
    let mut matchmaker = matchmaker().await;
    let mut service = Service::registered(&matchmaker, None);
    // A client that waits for changes holds nobody up.
    let calculator = CalculatorClient::connect(matchmaker.name("Calculator"));
    let calculator = within("the client connects", LIMIT, calculator)
        .await
        .unwrap();
    assert_eq!(calculator.add(1, 1).await, Ok(2));

    service.process.terminate();
    assert_eq!(service.process.wait(LIMIT).code(), Some(0));
    matchmaker.listed("Calculator", 0).await;
    let what = "the service has said goodbye, and not merely gone";
    matchmaker.process().line(what, |line| {
        line.contains("cause=deregistered").then_some(())
    });
    matchmaker.process().terminate();
    assert_eq!(matchmaker.process().wait(LIMIT).code(), Some(0));
}

#[tokio::test]
async fn the_daemon_listens_at_a_unix_socket_and_leaves_no_file() {
    let directory = TempDir::new();
    let address = directory.unix("matchmaker.sock");
    let mut matchmaker = Matchmaker::start_at(MATCHMAKER, &address).await;
    let _service = Service::registered(&matchmaker, None);
    matchmaker.listed("Calculator", 1).await;
    assert_eq!(matchmaker.command(&["resolve", "Calculator"]).code, Some(0));

    matchmaker.process().terminate();
    assert_eq!(matchmaker.process().wait(LIMIT).code(), Some(0));
    assert!(!directory.file("matchmaker.sock").exists());
}

#[tokio::test]
async fn a_killed_daemon_leaves_a_socket_that_the_next_one_takes_over() {
    let directory = TempDir::new();
    let address = directory.unix("matchmaker.sock");
    let mut matchmaker = Matchmaker::start_at(MATCHMAKER, &address).await;
    matchmaker.process().kill();
    assert!(directory.file("matchmaker.sock").exists());
    matchmaker.start_again().await;
    assert_eq!(matchmaker.command(&["health"]).code, Some(0));
}

#[test]
fn a_matchmaker_that_is_away_is_a_clear_error_at_a_cold_start() {
    let nowhere = free_address();
    let added = Process::run(
        Command::new(SERVICE)
            .args(["add", "2", "3"])
            .env("MATCHMAKER_ADDR", &nowhere),
    );
    assert_eq!(added.code, Some(1), "{added:?}");
    for part in [
        "the matchmaker",
        nowhere.as_str(),
        "cannot be reached",
        "matchmaker serve",
        "MATCHMAKER_ADDR",
    ] {
        assert!(added.stderr.contains(part), "no {part:?} in {added:?}");
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {text}"))
}
