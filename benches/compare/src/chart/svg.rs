//! A drawing: lines, boxes and words with coordinates from the upper left corner.

use std::fmt::{Display, Write as _};

use crate::peers::Peer;

/// The colours of a page.
#[derive(Debug)]
pub(super) struct Theme {
    pub(super) name: &'static str,
    pub(super) page: &'static str,
    pub(super) ink: &'static str,
    /// Words of less weight.
    pub(super) faint: &'static str,
    pub(super) grid: &'static str,
    ours: &'static str,
    /// The references: what bounds us, not what competes.
    reference: &'static str,
    /// The peers, in their order.
    rivals: [&'static str; 6],
}

pub(super) const LIGHT: Theme = Theme {
    name: "light",
    page: "#ffffff",
    ink: "#1f2328",
    faint: "#59636e",
    grid: "#e3e6ea",
    ours: "#0b5fd0",
    reference: "#8b929a",
    rivals: [
        "#c2560c", "#7b3fe4", "#0a7d55", "#bf1e63", "#8a6d00", "#00707f",
    ],
};

pub(super) const DARK: Theme = Theme {
    name: "dark",
    page: "#0d1117",
    ink: "#f0f6fc",
    faint: "#9198a1",
    grid: "#2a313a",
    ours: "#5aa2ff",
    reference: "#7d8590",
    rivals: [
        "#ff9d4d", "#b794ff", "#3fc796", "#ff77b0", "#d9b53a", "#3cc4d6",
    ],
};

impl Theme {
    /// A peer has the same colour in all charts.
    pub(super) fn color(&self, peer: Peer) -> &'static str {
        if peer == Peer::Ours {
            return self.ours;
        }
        let mut rivals = Peer::ALL.iter().filter(|peer| peer.is_rival());
        let place = rivals.position(|rival| *rival == peer);
        place.map_or(self.reference, |place| {
            self.rivals[place % self.rivals.len()]
        })
    }
}

/// Where a word has its point.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a line looks.
#[derive(Clone, Copy)]
pub(super) enum Stroke {
    Thin,
    Plain,
    Dashed,
    Thick,
}

/// A drawing under way.
pub(super) struct Svg {
    text: String,
}

impl Svg {
    /// An empty page that a reader who cannot see it is told about.
    pub(super) fn new(width: f64, height: f64, says: &str, theme: &Theme) -> Self {
        let mut svg = Self {
            text: String::new(),
        };
        svg.put(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             width=\"{width}\" height=\"{height}\" role=\"img\" \
             font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif\">"
        ));
        svg.put(format_args!("<title>{}</title>", escaped(says)));
        svg.bar(0.0, 0.0, width, height, theme.page);
        svg
    }

    /// A filled box.
    pub(super) fn bar(&mut self, x: f64, y: f64, width: f64, height: f64, color: &str) {
        self.put(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{color}\"/>"
        ));
    }

    /// A line from point to point.
    pub(super) fn line(&mut self, points: &[(f64, f64)], stroke: Stroke, color: &str) {
        let (width, dashes) = match stroke {
            Stroke::Thin => (1.0, ""),
            Stroke::Plain => (1.8, ""),
            Stroke::Dashed => (1.8, " stroke-dasharray=\"4 4\""),
            Stroke::Thick => (3.0, ""),
        };
        let mut path = String::new();
        for (x, y) in points {
            let _infallible = write!(path, "{x:.1},{y:.1} ");
        }
        self.put(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"{width}\"{dashes} \
             stroke-linejoin=\"round\"/>",
            path.trim_end()
        ));
    }

    /// A filled circle.
    pub(super) fn dot(&mut self, x: f64, y: f64, radius: f64, color: &str) {
        self.put(format_args!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{color}\"/>"
        ));
    }

    /// Words.
    pub(super) fn words(&mut self, at: (f64, f64), style: Style<'_>, words: impl Display) {
        let (x, y) = at;
        let Style {
            size,
            color,
            anchor,
            bold,
        } = style;
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let weight = if bold { 600 } else { 400 };
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{color}\" \
             text-anchor=\"{anchor}\" font-weight=\"{weight}\">{}</text>",
            escaped(&words.to_string())
        ));
    }

    /// The whole file.
    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn put(&mut self, element: impl Display) {
        let _infallible = writeln!(self.text, "{element}");
    }
}

/// How words look.
#[derive(Clone, Copy)]
pub(super) struct Style<'a> {
    pub(super) size: u32,
    pub(super) color: &'a str,
    pub(super) anchor: Anchor,
    pub(super) bold: bool,
}

impl<'a> Style<'a> {
    pub(super) fn new(size: u32, color: &'a str) -> Self {
        Self {
            size,
            color,
            anchor: Anchor::Start,
            bold: false,
        }
    }

    pub(super) fn anchor(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    pub(super) fn bold(self, bold: bool) -> Self {
        Self { bold, ..self }
    }
}

fn escaped(words: &str) -> String {
    words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
