//! What a child process and the one that started it say to each other: a line for each thing, over
//! the child's standard input and output. A child whose input ends has been left alone, and ends.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::peers::Place;

/// What a child says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// The server listens here.
    Ready(Place),
    /// The client asks for what the server has used up; so does the parent.
    Usage,
    /// What the server has used up until now.
    Used(Usage),
    /// The client is about to be counted; so says the parent when it has begun.
    Count,
    /// The client has done what was to be counted.
    Stop,
    /// So many system calls of client and server lie between.
    Counted(u64),
    /// The client has measured.
    Measured(BTreeMap<Metric, f64>),
}

/// What a process has used up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// CPU time of all its threads, in user space and in the kernel.
    pub(crate) cpu: Duration,
    /// Memory that is resident, in KiB; 0 where the system does not say.
    pub(crate) resident_kib: u64,
}

impl Usage {
    /// Of this process.
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            cpu: Duration::new(time.tv_sec as u64, time.tv_nsec as u32),
            resident_kib: resident_kib().unwrap_or(0),
        }
    }
}

/// What the kernel counts page by page; the cheaper figures may lag behind by some hundred KiB.
fn resident_kib() -> Option<u64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Asks the parent what the server has used up.
pub(crate) fn server_usage() -> Result<Usage, String> {
    match ask(&Said::Usage)? {
        Said::Used(usage) => Ok(usage),
        other => Err(format!("the parent says {other:?}")),
    }
}

/// Says a thing to the parent and waits for what it answers.
pub(crate) fn ask(said: &Said) -> Result<Said, String> {
    say(said)?;
    hear()?.ok_or_else(|| "the parent has gone".into())
}

/// Says a thing to the parent.
pub(crate) fn say(said: &Said) -> Result<(), String> {
    let line = serde_json::to_string(said).map_err(|error| error.to_string())?;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| format!("the parent has gone: {error}"))
}

/// Waits for what the parent says. Nothing when it has gone.
pub(crate) fn hear() -> Result<Option<Said>, String> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    if read.map_err(|error| error.to_string())? == 0 {
        return Ok(None);
    }
    parse(&line).map(Some)
}

/// Reads what a child said.
pub(crate) fn parse(line: &str) -> Result<Said, String> {
    serde_json::from_str(line).map_err(|error| format!("{error} in {line:?}"))
}
