//! One end of the handshake over a well-known pipe, which kills itself at a step.
//!
//! ```text
//! test-fifo-peer client|server PATH STEPS
//! ```
//!
//! It goes so many steps and then dies as by `kill -9`, holding what it has opened by then. A server
//! says `listed` when clients may come.

#[cfg(target_os = "linux")]
fn main() {
    use std::path::Path;

    use rustix::process::{Signal, getpid, kill_process};
    use support::fifo;

    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [side, path, steps] = &arguments[..] else {
        panic!("three arguments, not {arguments:?}");
    };
    let steps = steps.parse().expect("a number");
    let path = Path::new(path);
    // No two processes have the same number at the same time.
    let mut id = [0; 16];
    id[..4].copy_from_slice(&std::process::id().to_le_bytes());
    let gone = match side.as_str() {
        "client" => fifo::client(path, id, [7; 16], steps),
        "server" => fifo::server(path, steps, || println!("listed")),
        _ => panic!("client or server, not {side}"),
    };
    let held = gone.unwrap_or_else(|error| panic!("{side} within {steps} steps: {error}"));
    kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
    drop(held);
}

#[cfg(not(target_os = "linux"))]
fn main() {
    panic!("this system has no such pipes");
}
