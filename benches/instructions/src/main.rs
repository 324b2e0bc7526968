//! Counts the instructions that a call takes, client and server together, and compares them with
//! those that were recorded.
//!
//! Instructions are the same on a busy machine and on an idle one, so a change that makes calls
//! dearer is seen without any time being measured. `instructions` compares, `--record` writes the
//! counts down instead.

mod baseline;
mod count;
mod load;

use std::process::ExitCode;

use baseline::Baseline;

/// Calls in flight, for each of which there is a figure: the whole path of a single call, and what
/// is left of it in a crowd.
const WINDOWS: [u64; 2] = [1, 256];

/// A count above this share of the recorded one is a failure. Two counts of one program differ by
/// some parts in a thousand, by the addresses that it gets and the seeds of its hash tables; a
/// twentieth is far above that, and little to lose unseen.
const RATIO_MAX: f64 = 1.05;

/// The count is below by so much: the baseline should be recorded again, or the next change could
/// lose as much unseen.
const RATIO_STALE: f64 = 0.95;

/// The exit code where nothing could be counted.
const NOT_COUNTED: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        [] => compare(),
        ["--record"] => record(),
        [load::COMMAND, window, calls] => match (window.parse(), calls.parse()) {
            (Ok(window), Ok(calls)) => load::run(window, calls).map(|()| ExitCode::SUCCESS),
            _ => return usage(),
        },
        _ => return usage(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("NOT COUNTED: {error}");
        ExitCode::from(NOT_COUNTED)
    })
}

fn usage() -> ExitCode {
    eprintln!("usage: instructions [--record]");
    ExitCode::from(2)
}

/// Counts, and says what has become of the recorded counts.
fn compare() -> Result<ExitCode, String> {
    let recorded = Baseline::read()?;
    let counted = Baseline::count(&WINDOWS)?;
    println!("instructions of one call `add(i64, i64)`, client and server together, over memory:");
    println!();
    println!("in flight   now      recorded   ratio");
    let mut is_above = false;
    for &(window, now) in counted.calls() {
        let before = recorded.of(window)?;
        let ratio = now / before;
        let remark = if ratio > RATIO_MAX {
            is_above = true;
            "  ABOVE the limit"
        } else if ratio < RATIO_STALE {
            "  better: record it"
        } else {
            ""
        };
        println!("{window:<11} {now:<8.0} {before:<10.0} {ratio:.3}{remark}");
    }
    println!();
    if counted.compiler() != recorded.compiler() {
        println!(
            "WARNING: nothing is proven, because another compiler built this than the baseline"
        );
        println!("  now       {}", counted.compiler());
        println!("  recorded  {}", recorded.compiler());
        return Ok(ExitCode::SUCCESS);
    }
    if is_above {
        println!("a call takes more than {RATIO_MAX} times the instructions that were recorded");
        println!("benches/README.md says how to find them, and when to record anew");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts, and writes it down as what counts from now on.
fn record() -> Result<ExitCode, String> {
    let counted = Baseline::count(&WINDOWS)?;
    counted.write()?;
    print!("{counted}");
    Ok(ExitCode::SUCCESS)
}
