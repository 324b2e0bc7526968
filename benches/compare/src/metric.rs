//! What is read off a measured point.

use serde::{Deserialize, Serialize};

/// A figure with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Calls answered in a second.
    CallsPerSecond,
    /// The median of how long a call takes.
    P50Micros,
    /// What 99 of 100 calls stay below.
    P99Micros,
    /// CPU time of both processes for one call, in user space and in the kernel.
    CpuMicros,
    /// Payload echoed in a second; each byte crosses twice and is counted once.
    MegabytesPerSecond,
    /// What the server's memory has grown by while it was loaded.
    GrownKib,
    /// System calls of both processes for one call.
    Syscalls,
    /// Connections made in a second, each with its first call.
    ConnectsPerSecond,
    /// Memory of the server for one idle connection: growth of what is resident in user space.
    ServerKib,
    /// The same of the client.
    ClientKib,
    /// What 99 of 100 calls stay below without idle connections beside them.
    AloneP99Micros,
    /// With idle connections, over without.
    Growth,
}

impl Metric {
    /// For the table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::CallsPerSecond => "calls/s",
            Self::P50Micros => "p50 us",
            Self::P99Micros => "p99 us",
            Self::CpuMicros => "cpu us/call, both",
            Self::MegabytesPerSecond => "MB/s",
            Self::GrownKib => "server KiB grown",
            Self::Syscalls => "syscalls/call, both",
            Self::ConnectsPerSecond => "connects/s",
            Self::ServerKib => "server KiB/connection",
            Self::ClientKib => "client KiB/connection",
            Self::AloneP99Micros => "p99 us alone",
            Self::Growth => "p99 beside / alone",
        }
    }

    /// Whether more is better.
    pub(crate) fn is_rate(self) -> bool {
        matches!(
            self,
            Self::CallsPerSecond | Self::MegabytesPerSecond | Self::ConnectsPerSecond
        )
    }

    /// Whether a ratio to what others have says anything.
    pub(crate) fn is_compared(self) -> bool {
        !matches!(self, Self::GrownKib | Self::Growth)
    }
}
