//! Counts the instructions of this very program under callgrind.

use std::process::Command;

use crate::load;

/// Calls of the shorter and of the longer run, whose difference leaves out start, connection and
/// end.
const CALLS: [u64; 2] = [2_560, 7_680];

/// The instructions of one call, with so many in flight.
pub(crate) fn per_call(window: u64) -> Result<f64, String> {
    let [short, long] = CALLS;
    let counted = total(window, long)?.checked_sub(total(window, short)?);
    let counted = counted.ok_or("the longer run took fewer instructions than the shorter one")?;
    Ok(counted as f64 / (long - short) as f64)
}

/// All instructions of one run.
fn total(window: u64, calls: u64) -> Result<u64, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(this)
        .args([load::COMMAND, &window.to_string(), &calls.to_string()])
        .output()
        .map_err(|error| {
            format!("valgrind does not start: {error}; install it (`apt-get install valgrind`)")
        })?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!(
            "the run under valgrind ended with {}:\n{said}",
            output.status
        ));
    }
    let collected = said
        .lines()
        .filter_map(|line| line.split_once("Collected :"))
        .find_map(|(_, count)| count.trim().parse().ok());
    collected.ok_or_else(|| format!("valgrind says no number of instructions:\n{said}"))
}
