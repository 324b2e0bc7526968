//! Charts of a run, as SVG files that need no font and no script, each for light and dark pages.

use std::fs;
use std::path::Path;

use crate::report::Report;
use crate::round::Transport;

mod bars;
mod curves;
mod svg;

use self::svg::{DARK, LIGHT};

/// Draws all charts of a report into a folder, and says which.
///
/// # Errors
/// The folder cannot be written to, or nothing in the report can be drawn.
pub(crate) fn draw(report: &Report, folder: &Path) -> Result<Vec<String>, String> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut drawn = Vec::new();
    for &transport in Transport::ALL {
        for theme in [&LIGHT, &DARK] {
            let charts = [
                ("throughput", curves::draw(report, transport, theme)),
                ("rows", bars::draw(report, transport, theme)),
            ];
            for (what, chart) in charts {
                let Some(chart) = chart else { continue };
                let mode = report.mode.name();
                let name = format!("{what}-{mode}-{}-{}.svg", transport.name(), theme.name);
                let path = folder.join(&name);
                let written = fs::write(&path, chart);
                written.map_err(|error| format!("{}: {error}", path.display()))?;
                drawn.push(name);
            }
        }
    }
    if drawn.is_empty() {
        return Err("the report has nothing that can be drawn".into());
    }
    Ok(drawn)
}
