//! This suite once more, where socket(2) and socketpair(2) are refused.

use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::Command;

/// Set in the sandbox.
const INSIDE: &str = "TEST_WITHOUT_SOCKETS";

/// As long as everything else in this program together.
#[test]
fn everything_here_works_without_sockets() {
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-confined"));
    command
        .arg("--without-sockets")
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args_os().filter(|argument| argument == "--nocapture"))
        .env(INSIDE, "1");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    let summary = text.lines().rev().find(|line| !line.is_empty());
    println!("in the sandbox: {}", summary.unwrap_or_default());
}

/// That the sandbox is one.
#[test]
fn sockets_are_refused_in_the_sandbox() {
    let is_inside = std::env::var_os(INSIDE).is_some();
    assert_eq!(UnixStream::pair().is_err(), is_inside);
    assert_eq!(UnixDatagram::unbound().is_err(), is_inside);
}
