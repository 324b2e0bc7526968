//! What came out of a run: all figures, as JSON, and their medians, as one table.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
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

    /// The medians with least and greatest, in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = format!(
            "Mode {} ({}), {} rounds of {} s a point; median (min-max).\n{}\n\n",
            self.mode.name(),
            self.mode.says(),
            self.rounds,
            self.seconds,
            self.machine
        );
        let names: Vec<_> = self.peers.iter().map(|peer| peer.name()).collect();
        let head = ["row", "figure"].iter().chain(&names);
        let head: Vec<_> = head.chain(&["/ ceiling", "/ raw", "/ best peer"]).collect();
        line(&mut text, &head);
        line(&mut text, &vec!["---"; head.len()]);
        for &transport in Transport::ALL {
            for row in Row::ALL {
                for &metric in row.metrics {
                    if let Some(cells) = self.cells(row, transport, metric) {
                        line(&mut text, &cells);
                    }
                }
            }
        }
        for note in &self.notes {
            let _infallible = writeln!(text, "\n{note}");
        }
        for failure in &self.failures {
            let _infallible = writeln!(text, "\n{failure}");
        }
        text
    }

    /// A line of the table, if anything of it was measured.
    fn cells(&self, row: &Row, transport: Transport, metric: Metric) -> Option<Vec<String>> {
        let find = |peer| self.point(row.name, transport, metric, peer);
        let cell = |peer| find(peer).map_or_else(|| "-".into(), Point::cell);
        let mut cells = vec![
            format!("{} {}", transport.name(), row.name),
            metric.label().into(),
        ];
        cells.extend(self.peers.iter().map(|&peer| cell(peer)));
        if cells[2..].iter().all(|cell| cell == "-") {
            return None;
        }
        let ours = find(Peer::Ours).map(|point| point.median);
        let rivals = self.peers.iter().filter(|peer| peer.is_rival());
        let rivals = rivals
            .filter_map(|&peer| find(peer))
            .map(|point| point.median);
        let best = if metric.is_rate() {
            rivals.max_by(f64::total_cmp)
        } else {
            rivals.min_by(f64::total_cmp)
        };
        let reference = |peer| find(peer).map(|point| point.median);
        for other in [reference(Peer::Ceiling), reference(Peer::Raw), best] {
            let ratio = ours.zip(other).map(|(ours, other)| ours / other);
            cells.push(ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")));
        }
        Some(cells)
    }
}

impl Point {
    fn cell(&self) -> String {
        let (median, min, max) = (short(self.median), short(self.min), short(self.max));
        format!("{median} ({min}-{max})")
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

fn line(text: &mut String, cells: &[impl AsRef<str>]) {
    for cell in cells {
        text.push_str("| ");
        text.push_str(cell.as_ref());
        text.push(' ');
    }
    text.push_str("|\n");
}

/// A figure with three digits that mean something.
pub(crate) fn short(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size >= 1e6 => format!("{:.2}M", value / 1e6),
        _ if size >= 1e4 => format!("{:.0}k", value / 1e3),
        _ if size >= 100.0 => format!("{value:.0}"),
        _ if size >= 10.0 => format!("{value:.1}"),
        _ if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
