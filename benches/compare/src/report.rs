//! What came out of a run: all figures, as JSON, and their medians, as one table.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

use crate::metric::Metric;
use crate::mode::Mode;
use crate::peers::Peer;
use crate::round::{Plan, Transport};
use crate::rows::Row;
use crate::stats::spread;

/// A run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
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
    pub(crate) row: String,
    pub(crate) transport: Transport,
    pub(crate) peer: Peer,
    pub(crate) error: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, peer) = (self.transport.name(), self.peer.name());
        write!(f, "FAILED {} {transport} {peer}: {}", self.row, self.error)
    }
}

impl Report {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            mode: plan.mode,
            rounds: plan.rounds,
            seconds: plan.seconds,
            peers: plan.peers.clone(),
            points: Vec::new(),
            failures: Vec::new(),
            notes: Vec::new(),
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
            "Mode {}, {} rounds of {} s a point; median (min-max).\n\n",
            self.mode.name(),
            self.rounds,
            self.seconds
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
    match value {
        _ if value >= 1e6 => format!("{:.2}M", value / 1e6),
        _ if value >= 1e4 => format!("{:.0}k", value / 1e3),
        _ if value >= 100.0 => format!("{value:.0}"),
        _ if value >= 10.0 => format!("{value:.1}"),
        _ if value >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
