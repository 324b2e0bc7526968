//! Counts and the compiler that they hold for, as they stand in a file.

use std::fmt;
use std::fs;

use crate::count;

/// Where the recorded counts stand.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.txt");

/// Instructions of a call, by calls in flight.
pub(crate) struct Baseline {
    /// What built the program: another compiler or target makes other instructions.
    compiler: String,
    calls: Vec<(u64, f64)>,
}

impl Baseline {
    /// Counts anew.
    pub(crate) fn count(windows: &[u64]) -> Result<Self, String> {
        let count = |&window| Ok((window, count::per_call(window)?));
        Ok(Self {
            compiler: env!("COMPILER").into(),
            calls: windows.iter().map(count).collect::<Result<_, String>>()?,
        })
    }

    /// Reads what was recorded.
    pub(crate) fn read() -> Result<Self, String> {
        let text = fs::read_to_string(FILE)
            .map_err(|error| format!("{FILE}: {error}; write it with `--record`"))?;
        Self::parse(&text).ok_or_else(|| format!("{FILE} is malformed; write it with `--record`"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let compiler = lines.next()?.into();
        let call = |line: &str| {
            let (window, count) = line.split_once(' ')?;
            Some((window.parse().ok()?, count.parse().ok()?))
        };
        let calls = lines.map(call).collect::<Option<_>>()?;
        Some(Self { compiler, calls })
    }

    /// Puts it in the place of what was recorded.
    pub(crate) fn write(&self) -> Result<(), String> {
        fs::write(FILE, self.to_string()).map_err(|error| format!("{FILE}: {error}"))
    }

    pub(crate) fn compiler(&self) -> &str {
        &self.compiler
    }

    pub(crate) fn calls(&self) -> &[(u64, f64)] {
        &self.calls
    }

    /// The count with so many in flight.
    pub(crate) fn of(&self, window: u64) -> Result<f64, String> {
        let found = self.calls.iter().find(|(of, _)| *of == window);
        found
            .map(|(_, count)| *count)
            .filter(|count| *count > 0.0)
            .ok_or_else(|| format!("{FILE} says nothing of {window} in flight; use `--record`"))
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Written by `cargo run --release -- --record`: the compiler, then calls in"
        )?;
        writeln!(f, "# flight and the instructions of one call.")?;
        writeln!(f, "{}", self.compiler)?;
        for (window, count) in &self.calls {
            writeln!(f, "{window} {count:.0}")?;
        }
        Ok(())
    }
}
