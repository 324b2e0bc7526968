//! Bars: a panel for each row of the table, a bar in it for each peer.

use super::svg::{Anchor, Style, Svg, Theme};
use crate::metric::Metric;
use crate::peers::Peer;
use crate::report::Report;
use crate::round::Transport;
use crate::rows::Row;
use crate::table::short;

const COLUMNS: usize = 3;
const PANEL: f64 = 300.0;
const MARGIN: f64 = 24.0;
const HEAD: f64 = 66.0;
const TITLE: f64 = 42.0;
const STEP: f64 = 19.0;
const BAR: f64 = 12.0;
/// Where bars begin, behind the names, and how long the longest is.
const NAMES: f64 = 62.0;
const LONGEST: f64 = 150.0;

/// What is drawn: a figure of each row that says most.
const FIGURES: &[(&str, Metric)] = &[
    ("add1", Metric::P50Micros),
    ("add16", Metric::CallsPerSecond),
    ("add64", Metric::CallsPerSecond),
    ("add256", Metric::CallsPerSecond),
    ("add1024", Metric::CallsPerSecond),
    ("add256", Metric::CpuMicros),
    ("echo1k", Metric::MegabytesPerSecond),
    ("echo1m", Metric::MegabytesPerSecond),
    ("echo16m", Metric::MegabytesPerSecond),
    ("mixed", Metric::P99Micros),
    ("mixed", Metric::MegabytesPerSecond),
    ("syscalls256", Metric::Syscalls),
    ("connect", Metric::ConnectsPerSecond),
    ("memory", Metric::ServerKib),
    ("idle10k", Metric::Growth),
];

/// The chart, if anything of it was measured.
pub(super) fn draw(report: &Report, transport: Transport, theme: &Theme) -> Option<String> {
    let panels = FIGURES.iter().filter_map(|&(row, metric)| {
        let figures = report.peers.iter().filter(|peer| **peer != Peer::Window);
        let figures = figures.filter_map(|&peer| {
            let point = report.point(row, transport, metric, peer)?;
            Some((peer, point.median))
        });
        let figures: Vec<_> = figures.collect();
        (figures.len() > 1).then_some((Row::named(row)?, metric, figures))
    });
    let panels: Vec<_> = panels.collect();
    let most = panels.iter().map(|(.., figures)| figures.len()).max()?;
    let height = TITLE + STEP * most as f64 + 22.0;
    let lines = panels.len().div_ceil(COLUMNS);

    let says = format!(
        "Medians of {} rounds: {}, {}",
        report.rounds,
        transport.title(),
        report.mode.says()
    );
    let (width, whole) = (
        2.0 * MARGIN + PANEL * COLUMNS as f64,
        HEAD + height * lines as f64,
    );
    let mut svg = Svg::new(width, whole, &says, theme);
    let heading = Style::new(17, theme.ink).bold(true);
    svg.words((MARGIN, 30.0), heading, says);
    let note = "ceiling: a protocol by hand without codec, handlers, deadlines and limits; \
                ttrpc's messages end at 4 MiB, its rows of 16 MiB carry those";
    svg.words((MARGIN, 50.0), Style::new(12, theme.faint), note);
    for (at, (row, metric, figures)) in panels.iter().enumerate() {
        let x = MARGIN + PANEL * (at % COLUMNS) as f64;
        let y = HEAD + height * (at / COLUMNS) as f64;
        panel(&mut svg, (x, y), (row.title, *metric), figures, theme);
    }
    Some(svg.finish())
}

fn panel(
    svg: &mut Svg,
    (x, y): (f64, f64),
    (title, metric): (&str, Metric),
    figures: &[(Peer, f64)],
    theme: &Theme,
) {
    let heading = Style::new(12, theme.ink).bold(true);
    svg.words((x, y + 14.0), heading, title);
    let better = if metric.is_rate() { "more" } else { "less" };
    let unit = format!("{}, {better} is better", metric.label());
    svg.words((x, y + 30.0), Style::new(11, theme.faint), unit);
    let most = figures.iter().map(|figure| figure.1).fold(0.0, f64::max);
    for (place, &(peer, value)) in figures.iter().enumerate() {
        let y = y + TITLE + STEP * place as f64;
        let style = Style::new(12, theme.ink).bold(peer == Peer::Ours);
        let name = style.anchor(Anchor::End);
        svg.words((x + NAMES - 6.0, y + 10.5), name, peer.name());
        let length = (LONGEST * value / most.max(f64::MIN_POSITIVE)).max(1.0);
        svg.bar(x + NAMES, y, length, BAR, theme.color(peer));
        svg.words((x + NAMES + length + 5.0, y + 10.5), style, short(value));
    }
}
