//! What is measured: one row of the table after the other.

use crate::metric::Metric;
use crate::peers::Peer;

/// A row: a kind of load, and the figures that are read off it.
#[derive(Debug)]
pub(crate) struct Row {
    /// As on the command line.
    pub(crate) name: &'static str,
    /// For the table.
    pub(crate) title: &'static str,
    pub(crate) work: Work,
    pub(crate) metrics: &'static [Metric],
}

/// What a client does. All of it goes over one connection, if nothing else is said.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// Adds two numbers.
    Add {
        /// Calls at once.
        in_flight: usize,
    },
    /// Has bytes sent back.
    Echo {
        /// The length of one payload.
        bytes: usize,
        /// Calls at once.
        in_flight: usize,
    },
    /// Adds one at a time while large echoes go round on the same connection.
    Mixed {
        /// The length of their payload.
        bytes: usize,
    },
    /// Connects and adds once, again and again.
    Connect,
    /// Keeps connections that have made one call, and does nothing.
    Memory {
        /// How many.
        connections: usize,
    },
    /// Adds over some connections, without and with many idle ones beside them.
    Idle {
        /// Connections with one caller each.
        busy: usize,
        /// Connections that have made one call.
        idle: usize,
    },
    /// Adds, through a trait with a hundred methods.
    Methods {
        /// Calls at once.
        in_flight: usize,
    },
    /// Adds, on a server with fifty services.
    Services {
        /// Calls at once.
        in_flight: usize,
    },
    /// Adds while the system calls of both processes are counted.
    Syscalls {
        /// Calls at once.
        in_flight: usize,
    },
}

impl Work {
    /// The same with payloads that are not longer than this.
    pub(crate) fn fitting(self, max: usize) -> Self {
        match self {
            Self::Echo { bytes, in_flight } => Self::Echo {
                bytes: bytes.min(max),
                in_flight,
            },
            Self::Mixed { bytes } => Self::Mixed {
                bytes: bytes.min(max),
            },
            other => other,
        }
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

const LATENCY: &[Metric] = &[
    Metric::P50Micros,
    Metric::P99Micros,
    Metric::CallsPerSecond,
    Metric::CpuMicros,
];
const RATE: &[Metric] = &[
    Metric::CallsPerSecond,
    Metric::CpuMicros,
    Metric::P50Micros,
    Metric::P99Micros,
];
const FULL: &[Metric] = &[
    Metric::CallsPerSecond,
    Metric::CpuMicros,
    Metric::P50Micros,
    Metric::P99Micros,
    Metric::GrownKib,
];
const COST: &[Metric] = &[Metric::CallsPerSecond, Metric::CpuMicros];
const BYTES: &[Metric] = &[Metric::MegabytesPerSecond];

impl Row {
    /// All of them, in the order of the table.
    pub(crate) const ALL: &[Self] = &[
        add("add1", "add, one at a time", 1, LATENCY),
        add("add4", "add, 4 in flight", 4, RATE),
        add("add16", "add, 16 in flight", 16, RATE),
        add("add64", "add, 64 in flight", 64, RATE),
        add("add256", "add, 256 in flight", 256, FULL),
        row(
            "methods100",
            "add, 256 in flight, 100 methods",
            Work::Methods { in_flight: 256 },
            COST,
        ),
        row(
            "services50",
            "add, 256 in flight, 50 services",
            Work::Services { in_flight: 256 },
            COST,
        ),
        row(
            "syscalls256",
            "add, 256 in flight, counted",
            Work::Syscalls { in_flight: 256 },
            &[Metric::Syscalls],
        ),
        add("add1024", "add, 1,024 in flight", 1024, RATE),
        echo("echo1k", "echo 1 KiB, 64 in flight", KIB, 64),
        echo("echo1m", "echo 1 MiB, 4 in flight", MIB, 4),
        echo("echo16m", "echo 16 MiB, one at a time", 16 * MIB, 1),
        row(
            "mixed",
            "add beside echoes of 16 MiB",
            Work::Mixed { bytes: 16 * MIB },
            &[
                Metric::P50Micros,
                Metric::P99Micros,
                Metric::MegabytesPerSecond,
            ],
        ),
        row(
            "connect",
            "connect and first call",
            Work::Connect,
            &[Metric::ConnectsPerSecond],
        ),
        row(
            "memory",
            "2,000 idle connections",
            Work::Memory { connections: 2000 },
            &[Metric::ServerKib, Metric::ClientKib],
        ),
        row(
            "idle10k",
            "add beside 10,000 idle connections",
            Work::Idle {
                busy: 100,
                idle: 10_000,
            },
            &[Metric::AloneP99Micros, Metric::P99Micros, Metric::Growth],
        ),
    ];

    /// The row of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|row| row.name == name)
    }

    /// Whether it says anything about this peer.
    pub(crate) fn concerns(&self, peer: Peer) -> bool {
        match self.work {
            Work::Add { in_flight: 1 } => true,
            Work::Add { .. } | Work::Echo { .. } | Work::Syscalls { .. } => peer != Peer::Raw,
            Work::Mixed { .. } | Work::Connect | Work::Memory { .. } => {
                !matches!(peer, Peer::Raw | Peer::Window)
            }
            Work::Idle { .. } => matches!(peer, Peer::Ours | Peer::Ceiling),
            Work::Methods { .. } | Work::Services { .. } => peer == Peer::Ours,
        }
    }
}

const fn row(
    name: &'static str,
    title: &'static str,
    work: Work,
    metrics: &'static [Metric],
) -> Row {
    Row {
        name,
        title,
        work,
        metrics,
    }
}

const fn add(
    name: &'static str,
    title: &'static str,
    in_flight: usize,
    metrics: &'static [Metric],
) -> Row {
    row(name, title, Work::Add { in_flight }, metrics)
}

const fn echo(name: &'static str, title: &'static str, bytes: usize, in_flight: usize) -> Row {
    row(name, title, Work::Echo { bytes, in_flight }, BYTES)
}
