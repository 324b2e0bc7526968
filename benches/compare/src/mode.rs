//! Where the two processes run.

use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

/// How CPUs and runtimes are given to client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Both on CPU 0, a `current_thread` runtime each. Steady: no wake-up crosses CPUs, latency is
    /// the length of the path, throughput is one over the CPU time of both sides.
    One,
    /// The client on CPU 0, the server on CPU 1, a `current_thread` runtime each.
    TwoCt,
    /// A `multi_thread` runtime with two workers each, on whatever CPU is free.
    TwoMt,
}

impl Mode {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::TwoCt => "two-ct",
            Self::TwoMt => "two-mt",
        }
    }

    /// For people.
    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::One => "both processes on one CPU",
            Self::TwoCt => "a CPU for each process",
            Self::TwoMt => "two CPUs, two workers in each process",
        }
    }

    /// The CPU of the client, if it has one of its own.
    pub(crate) fn client_cpu(self) -> Option<usize> {
        match self {
            Self::One | Self::TwoCt => Some(0),
            Self::TwoMt => None,
        }
    }

    /// The CPU of the server, if it has one of its own.
    pub(crate) fn server_cpu(self) -> Option<usize> {
        match self {
            Self::One => Some(0),
            Self::TwoCt => Some(1),
            Self::TwoMt => None,
        }
    }

    /// CPUs that must not halt, because waking them up would be measured: those of a mode in which
    /// one side sleeps while the other runs elsewhere.
    pub(crate) fn spinning_cpus(self) -> &'static [usize] {
        match self {
            Self::One => &[],
            Self::TwoCt | Self::TwoMt => &[0, 1],
        }
    }

    /// The runtime of one process.
    pub(crate) fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::One | Self::TwoCt => Builder::new_current_thread(),
            Self::TwoMt => Builder::new_multi_thread(),
        };
        let builder = builder.worker_threads(2).enable_all();
        builder.build().expect("a runtime can be built")
    }
}
