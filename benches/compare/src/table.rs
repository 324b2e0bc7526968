//! The table: medians with least and greatest, in Markdown, and where a peer is ahead.

use std::fmt::Write as _;

use crate::metric::Metric;
use crate::peers::Peer;
use crate::report::{Point, Report};
use crate::round::Transport;
use crate::rows::Row;

/// The table of a report.
pub(crate) fn table(report: &Report) -> String {
    let lines: Vec<_> = lines(report).collect();
    let mut text = format!(
        "Mode {} ({}), {} rounds of {} s a point; median (min-max).\n{}\n\n",
        report.mode.name(),
        report.mode.says(),
        report.rounds,
        report.seconds,
        report.machine
    );
    let names: Vec<_> = report.peers.iter().map(|peer| peer.name()).collect();
    let head = ["row", "figure"].iter().chain(&names);
    let head: Vec<_> = head.chain(&["/ ceiling", "/ raw", "/ best peer"]).collect();
    put(&mut text, &head);
    put(&mut text, &vec!["---"; head.len()]);
    for line in &lines {
        put(&mut text, &line.cells(report));
    }
    let ahead: Vec<_> = lines.iter().filter_map(Line::ahead).collect();
    if !ahead.is_empty() {
        text.push_str("\nA peer is ahead:\n\n");
        for line in ahead {
            let _infallible = writeln!(text, "- {line}");
        }
    }
    for note in &report.notes {
        let _infallible = writeln!(text, "\n{note}");
    }
    for failure in &report.failures {
        let _infallible = writeln!(text, "\n{failure}");
    }
    text
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

/// One figure of a row, of all peers.
struct Line<'a> {
    transport: Transport,
    row: &'static Row,
    metric: Metric,
    points: Vec<&'a Point>,
}

/// What was measured, in the order of the table.
fn lines(report: &Report) -> impl Iterator<Item = Line<'_>> {
    let rows = Transport::ALL.iter().flat_map(|&transport| {
        let rows = Row::ALL.iter();
        rows.map(move |row| (transport, row))
    });
    let lines = rows.flat_map(move |(transport, row)| {
        row.metrics.iter().map(move |&metric| {
            let peers = report.peers.iter();
            let points = peers.filter_map(|&peer| report.point(row.name, transport, metric, peer));
            Line {
                transport,
                row,
                metric,
                points: points.collect(),
            }
        })
    });
    lines.filter(|line| !line.points.is_empty())
}

impl<'a> Line<'a> {
    fn cells(&self, report: &Report) -> Vec<String> {
        let mut cells = vec![self.name(), self.metric.label().into()];
        let figures = report.peers.iter().map(|&peer| {
            self.of(peer).map(|point| {
                let [median, min, max] = [point.median, point.min, point.max].map(short);
                format!("{median} ({min}-{max})")
            })
        });
        cells.extend(figures.map(|figure| figure.unwrap_or_else(|| "-".into())));
        let ours = self.of(Peer::Ours).filter(|_| self.metric.is_compared());
        for other in [self.of(Peer::Ceiling), self.of(Peer::Raw), self.best()] {
            let ratio = ours
                .zip(other)
                .map(|(ours, other)| ours.median / other.median);
            cells.push(ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.2}")));
        }
        cells
    }

    fn name(&self) -> String {
        format!("{} {}", self.transport.name(), self.row.name)
    }

    fn of(&self, peer: Peer) -> Option<&'a Point> {
        self.points
            .iter()
            .find(|point| point.key.peer == peer)
            .copied()
    }

    /// The best of those that somebody could use instead.
    fn best(&self) -> Option<&'a Point> {
        let rivals = self.points.iter().filter(|point| point.key.peer.is_rival());
        let by_median = |a: &&&Point, b: &&&Point| a.median.total_cmp(&b.median);
        let best = if self.metric.is_rate() {
            rivals.max_by(by_median)
        } else {
            rivals.min_by(by_median)
        };
        best.copied()
    }

    /// Says who is better than we are.
    fn ahead(&self) -> Option<String> {
        let ours = self.of(Peer::Ours).filter(|_| self.metric.is_compared())?;
        let best = self.best()?;
        let behind = if self.metric.is_rate() {
            ours.median < best.median
        } else {
            ours.median > best.median
        };
        behind.then(|| {
            let (name, label) = (self.name(), self.metric.label());
            let (peer, theirs, ours) = (best.key.peer.name(), best.median, ours.median);
            format!(
                "{name}, {label}: {peer} {}, ours {}",
                short(theirs),
                short(ours)
            )
        })
    }
}

fn put(text: &mut String, cells: &[impl AsRef<str>]) {
    for cell in cells {
        text.push_str("| ");
        text.push_str(cell.as_ref());
        text.push(' ');
    }
    text.push_str("|\n");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{short, table};
    use crate::metric::Metric;
    use crate::mode::Mode;
    use crate::peers::Peer;
    use crate::report::{Key, Report};
    use crate::round::{Plan, Transport};
    use crate::rows::Row;

    #[test]
    fn three_digits_are_enough() {
        let values = [9_131_000.0, 25_300.0, 438.2, 52.04, 7.914, 0.0615, -328.0];
        let shown = values.map(short);
        assert_eq!(
            shown,
            ["9.13M", "25k", "438", "52.0", "7.91", "0.061", "-328"]
        );
    }

    #[test]
    fn a_peer_that_is_ahead_is_named() {
        let row = Row::named("add256").expect("the row exists");
        let peers = vec![Peer::Ours, Peer::Ceiling, Peer::Tarpc];
        let mut report = Report::new(&Plan {
            mode: Mode::One,
            rounds: 3,
            seconds: 0.1,
            rows: vec![row],
            peers,
            transports: vec![Transport::Unix],
        });
        let rounds = [
            (100.0, 800.0, 150.0),
            (300.0, 900.0, 350.0),
            (200.0, 700.0, 250.0),
        ];
        for (ours, ceiling, tarpc) in rounds {
            let values = [
                (Peer::Ours, ours),
                (Peer::Ceiling, ceiling),
                (Peer::Tarpc, tarpc),
            ];
            for (peer, value) in values {
                let key = Key::new(row, Transport::Unix, peer);
                report.add(key, BTreeMap::from([(Metric::CallsPerSecond, value)]));
            }
        }
        let table = table(&report);
        let line = "| unix add256 | calls/s | 200 (100-300) | 800 (700-900) | 250 (150-350) \
                    | 0.25 | - | 0.80 |";
        assert!(table.contains(line), "{table}");
        let ahead = "- unix add256, calls/s: tarpc 250, ours 200\n";
        assert!(table.contains(ahead), "{table}");
    }
}
