//! A service that harms its own process, for servers that have one for each client.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rpc_core::{Context, service};
use rustix::process::{Resource, getpgrp, getrlimit};
use serde::{Deserialize, Serialize};

/// Calls that end their process, or want all that it has.
#[service(name = "test.Perils")]
pub trait Perils {
    /// Answers with its argument.
    async fn echo(&self, value: u64) -> u64;

    /// How often this has been called; the count is part of the state of the process.
    async fn count(&self) -> u64;

    /// Who answers, and what it is held to.
    async fn about(&self) -> About;

    /// Answers after it has waited for so many milliseconds.
    async fn pause(&self, milliseconds: u64) -> u32;

    /// Ends the process.
    async fn abort(&self);

    /// Takes memory until there is none.
    async fn leak(&self);

    /// Computes for ever.
    async fn spin(&self);

    /// Has a thread of its own compute for ever, and answers at once.
    async fn spin_aside(&self);

    /// Computes for so many milliseconds.
    async fn compute(&self, milliseconds: u64);

    /// Starts the program of the process with these arguments, and says what it wrote.
    async fn start(&self, arguments: Vec<String>) -> String;

    /// Starts a program that sleeps for long, and answers with its number.
    async fn start_sleeper(&self) -> u32;
}

/// A process, as it sees itself and its caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its number.
    pub pid: u32,
    /// The group that it is in.
    pub group: u32,
    /// Its limits on written memory, seconds of computing, and descriptors.
    pub limits: (Option<u64>, Option<u64>, Option<u64>),
    /// The address of the caller.
    pub peer: String,
    /// The user and the process of the caller.
    pub caller: (Option<u32>, Option<u32>),
    /// What descriptor 0 is.
    pub stdin: String,
}

/// What serves them.
#[derive(Debug, Default)]
pub struct Perilous {
    counted: AtomicU64,
}

impl Perils for Perilous {
    async fn echo(&self, value: u64) -> u64 {
        value
    }

    async fn count(&self) -> u64 {
        self.counted.fetch_add(1, Ordering::Relaxed) + 1
    }

    async fn about(&self) -> About {
        let context = Context::current();
        let peer = context.peer().expect("a call has a caller");
        let limit = |resource| getrlimit(resource).current;
        About {
            pid: std::process::id(),
            group: getpgrp().as_raw_nonzero().get().unsigned_abs(),
            limits: (
                limit(Resource::Data),
                limit(Resource::Cpu),
                limit(Resource::Nofile),
            ),
            peer: peer.address().to_owned(),
            caller: (peer.uid(), peer.pid()),
            stdin: std::fs::read_link("/proc/self/fd/0")
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
        }
    }

    async fn pause(&self, milliseconds: u64) -> u32 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        std::process::id()
    }

    async fn abort(&self) {
        std::process::abort();
    }

    async fn leak(&self) {
        let mut hoard: Vec<Vec<u8>> = Vec::new();
        loop {
            hoard.push(vec![1; 1 << 20]);
            std::hint::black_box(&hoard);
        }
    }

    async fn spin(&self) {
        loop {
            std::hint::spin_loop();
        }
    }

    async fn spin_aside(&self) {
        std::thread::spawn(|| {
            loop {
                std::hint::spin_loop();
            }
        });
    }

    async fn compute(&self, milliseconds: u64) {
        let (begin, long) = (Instant::now(), Duration::from_millis(milliseconds));
        while begin.elapsed() < long {
            std::hint::spin_loop();
        }
    }

    async fn start(&self, arguments: Vec<String>) -> String {
        let program = std::env::current_exe().expect("a program has a path");
        let output = Command::new(program)
            .args(arguments)
            .output()
            .expect("the program starts");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[allow(clippy::zombie_processes, reason = "it is to outlive its parent")]
    async fn start_sleeper(&self) -> u32 {
        let sleeper = Command::new("sleep")
            .arg("1000")
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        sleeper.id()
    }
}
