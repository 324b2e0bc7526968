//! What came out of a run: all figures of all rounds, as they are written to JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::{fs, thread};

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::mode::Mode;
use crate::peers::Peer;
use crate::round::{Plan, Transport};
use crate::rows::Row;
use crate::stats::spread;

/// The load average up to which a machine has nothing else to do.
const QUIET: f64 = 0.5;

/// A run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Processor, CPUs and kernel.
    pub(crate) machine: String,
    pub(crate) mode: Mode,
    pub(crate) rounds: usize,
    /// How long each point was measured.
    pub(crate) seconds: f64,
    pub(crate) peers: Vec<Peer>,
    /// In the order of the table.
    pub(crate) points: Vec<Point>,
    pub(crate) failures: Vec<Failure>,
    /// What was not measured, and why.
    pub(crate) notes: Vec<String>,
}

/// All rounds of one figure.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    #[serde(flatten)]
    pub(crate) key: Key,
    pub(crate) metric: Metric,
    /// One for each round that did not fail.
    pub(crate) values: Vec<f64>,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// Where in the table a figure stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Key {
    pub(crate) row: String,
    pub(crate) transport: Transport,
    pub(crate) peer: Peer,
}

impl Key {
    pub(crate) fn new(row: &Row, transport: Transport, peer: Peer) -> Self {
        Self {
            row: row.name.into(),
            transport,
            peer,
        }
    }
}

/// A point that could not be measured, or gave a wrong answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    #[serde(flatten)]
    pub(crate) key: Key,
    pub(crate) error: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key {
            row,
            transport,
            peer,
        } = &self.key;
        let (transport, peer) = (transport.name(), peer.name());
        write!(f, "FAILED {row} {transport} {peer}: {}", self.error)
    }
}

impl Report {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            machine: machine(),
            mode: plan.mode,
            rounds: plan.rounds,
            seconds: plan.seconds,
            peers: plan.peers.clone(),
            points: Vec::new(),
            failures: Vec::new(),
            notes: busy().into_iter().collect(),
        }
    }

    /// Takes in what one round gave.
    pub(crate) fn add(&mut self, key: Key, figures: BTreeMap<Metric, f64>) {
        for (metric, value) in figures {
            let known = self.points.iter_mut();
            let known = known.filter(|point| point.key == key && point.metric == metric);
            let Some(point) = known.last() else {
                self.points.push(Point {
                    key: key.clone(),
                    metric,
                    values: vec![value],
                    median: value,
                    min: value,
                    max: value,
                });
                continue;
            };
            point.values.push(value);
            if let Some((median, min, max)) = spread(&point.values) {
                (point.median, point.min, point.max) = (median, min, max);
            }
        }
    }

    /// Takes in that nothing came out, and says so at once.
    pub(crate) fn fail(&mut self, key: Key, error: String) {
        let failure = Failure { key, error };
        eprintln!("{failure}");
        self.failures.push(failure);
    }

    /// One figure of one peer.
    pub(crate) fn point(
        &self,
        row: &str,
        transport: Transport,
        metric: Metric,
        peer: Peer,
    ) -> Option<&Point> {
        self.points.iter().find(|point| {
            let Key {
                row: r,
                transport: t,
                peer: p,
            } = &point.key;
            (r.as_str(), *t, *p, point.metric) == (row, transport, peer, metric)
        })
    }
}

/// On what it was measured.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let mut lines = processor.lines();
    let model = lines.find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let cpus = thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let profile = if cfg!(debug_assertions) {
        ", UNOPTIMISED"
    } else {
        ""
    };
    format!("{model}, {cpus} CPUs, kernel {}{profile}.", kernel.trim())
}

/// Whether something else was running when the run began.
fn busy() -> Option<String> {
    let loads = fs::read_to_string("/proc/loadavg").ok()?;
    let load: f64 = loads.split(' ').next()?.parse().ok()?;
    (load > QUIET).then(|| {
        format!("The machine was busy when the run began: load average {load}. Measure again.")
    })
}
