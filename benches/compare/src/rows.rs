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
const BYTES: &[Metric] = &[Metric::MegabytesPerSecond];

impl Row {
    /// All of them, in the order of the table.
    pub(crate) const ALL: &[Self] = &[
        Self::add("add1", "add, one at a time", 1, LATENCY),
        Self::add("add4", "add, 4 in flight", 4, RATE),
        Self::add("add16", "add, 16 in flight", 16, RATE),
        Self::add("add64", "add, 64 in flight", 64, RATE),
        Self::add("add256", "add, 256 in flight", 256, RATE),
        Self::add("add1024", "add, 1,024 in flight", 1024, RATE),
        Self::echo("echo1k", "echo 1 KiB, 64 in flight", KIB, 64),
        Self::echo("echo1m", "echo 1 MiB, 4 in flight", MIB, 4),
        Self::echo("echo16m", "echo 16 MiB, one at a time", 16 * MIB, 1),
    ];

    /// The row of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|row| row.name == name)
    }

    /// Whether it says anything about this peer.
    pub(crate) fn concerns(&self, peer: Peer) -> bool {
        match peer {
            // It has no pipelining and no payloads.
            Peer::Raw => matches!(self.work, Work::Add { in_flight: 1 }),
            _ => true,
        }
    }

    const fn add(
        name: &'static str,
        title: &'static str,
        in_flight: usize,
        metrics: &'static [Metric],
    ) -> Self {
        let work = Work::Add { in_flight };
        Self {
            name,
            title,
            work,
            metrics,
        }
    }

    const fn echo(name: &'static str, title: &'static str, bytes: usize, in_flight: usize) -> Self {
        Self {
            name,
            title,
            work: Work::Echo { bytes, in_flight },
            metrics: BYTES,
        }
    }
}
