//! Throughput against latency: a curve for each peer, a point on it for each number of calls in
//! flight.

use std::ops::Range;

use super::svg::{Anchor, Stroke, Style, Svg, Theme};
use crate::metric::Metric;
use crate::peers::Peer;
use crate::report::Report;
use crate::round::Transport;
use crate::rows::{Row, Work};
use crate::table::short;

const WIDTH: f64 = 840.0;
const HEIGHT: f64 = 500.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 56.0;

/// Calls in flight, calls in a second and microseconds.
type Sample = (usize, f64, f64);

/// The chart, if there are curves: points of at least two numbers of calls in flight.
pub(super) fn draw(report: &Report, transport: Transport, theme: &Theme) -> Option<String> {
    let curves = report.peers.iter().map(|&peer| {
        let samples = Row::ALL.iter();
        let samples = samples.filter_map(|row| sample(report, transport, row, peer));
        (peer, samples.collect::<Vec<_>>())
    });
    let curves: Vec<_> = curves.filter(|(_, samples)| samples.len() > 1).collect();
    let all = || curves.iter().flat_map(|(_, samples)| samples);
    let rates = Scale::over(all().map(|sample| sample.1), LEFT..WIDTH - RIGHT)?;
    let micros = Scale::over(all().map(|sample| sample.2), HEIGHT - BOTTOM..TOP)?;

    let says = format!(
        "Small calls over one connection: {}, {}",
        transport.title(),
        report.mode.says()
    );
    let mut svg = Svg::new(WIDTH, HEIGHT, &says, theme);
    let heading = Style::new(17, theme.ink).bold(true);
    svg.words((LEFT - 46.0, 30.0), heading, says);
    let faint = Style::new(12, theme.faint);
    let axes = "right and low is better; the points are calls in flight; both axes are logarithmic";
    svg.words((LEFT - 46.0, 50.0), faint, axes);
    grid(&mut svg, &rates, &micros, theme);

    let mut lowest = TOP;
    for (peer, samples) in &curves {
        let color = theme.color(*peer);
        let points = samples.iter();
        let points = points.map(|(_, rate, us)| (rates.at(*rate), micros.at(*us)));
        let points: Vec<_> = points.collect();
        let ours = *peer == Peer::Ours;
        let stroke = match peer {
            Peer::Ours => Stroke::Thick,
            Peer::Window => Stroke::Dashed,
            _ => Stroke::Plain,
        };
        svg.line(&points, stroke, color);
        for (&(x, y), &(in_flight, ..)) in points.iter().zip(samples) {
            svg.dot(x, y, if ours { 4.5 } else { 3.0 }, color);
            if ours {
                svg.words((x + 8.0, y + 12.0), Style::new(11, theme.ink), in_flight);
            }
        }
        let (x, y) = (WIDTH - RIGHT + 16.0, lowest + 2.0);
        svg.line(&[(x, y), (x + 16.0, y)], stroke, color);
        let style = Style::new(13, theme.ink).bold(ours);
        svg.words((WIDTH - RIGHT + 38.0, lowest + 7.0), style, peer.name());
        lowest += 22.0;
    }
    Some(svg.finish())
}

fn sample(report: &Report, transport: Transport, row: &Row, peer: Peer) -> Option<Sample> {
    let Work::Add { in_flight } = row.work else {
        return None;
    };
    let figure = |metric| {
        let point = report.point(row.name, transport, metric, peer)?;
        Some(point.median)
    };
    let (rate, micros) = (figure(Metric::CallsPerSecond)?, figure(Metric::P50Micros)?);
    Some((in_flight, rate, micros))
}

fn grid(svg: &mut Svg, rates: &Scale, micros: &Scale, theme: &Theme) {
    let style = Style::new(12, theme.faint);
    for rate in rates.decades() {
        let x = rates.at(rate);
        svg.line(&[(x, TOP), (x, HEIGHT - BOTTOM)], Stroke::Thin, theme.grid);
        let at = (x, HEIGHT - BOTTOM + 18.0);
        svg.words(at, style.anchor(Anchor::Middle), round(rate));
    }
    for us in micros.decades() {
        let y = micros.at(us);
        svg.line(&[(LEFT, y), (WIDTH - RIGHT, y)], Stroke::Thin, theme.grid);
        svg.words((LEFT - 8.0, y + 4.0), style.anchor(Anchor::End), round(us));
    }
    let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
    let at = (middle, HEIGHT - 14.0);
    svg.words(at, style.anchor(Anchor::Middle), "calls per second");
    svg.words((LEFT + 6.0, TOP + 14.0), style, "p50, microseconds");
}

/// A power of ten, without digits that say nothing.
fn round(value: f64) -> String {
    short(value).replace(".00", "").replace(".0", "")
}

/// Logarithmic, over whole decades.
struct Scale {
    from: i32,
    to: i32,
    place: Range<f64>,
}

impl Scale {
    fn over(values: impl Iterator<Item = f64> + Clone, place: Range<f64>) -> Option<Self> {
        let logs = values.map(f64::log10);
        let from = logs.clone().min_by(f64::total_cmp)?.floor() as i32;
        let to = logs.max_by(f64::total_cmp)?.ceil() as i32;
        Some(Self {
            from,
            to: to.max(from + 1),
            place,
        })
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.from)) / f64::from(self.to - self.from);
        self.place.start + share * (self.place.end - self.place.start)
    }

    fn decades(&self) -> impl Iterator<Item = f64> + use<> {
        (self.from..=self.to).map(|power| 10_f64.powi(power))
    }
}
