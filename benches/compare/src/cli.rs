//! The command line. Without a command it measures; the hidden commands are the processes that
//! measuring starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::mode::Mode;
use crate::peers::Peer;
use crate::report::Report;
use crate::round::{Plan, Transport};
use crate::rows::Row;
use crate::task::Task;
use crate::{chart, client, process, round, server, table};

#[derive(Parser)]
#[command(about = "Measures rpc-core beside its peers, in one interleaved run")]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the table of a run that was written with --json.
    Table {
        /// The file.
        file: PathBuf,
    },
    /// Draws the charts of a run that was written with --json.
    Chart {
        /// The file.
        file: PathBuf,
        /// The folder for the SVG files.
        folder: PathBuf,
    },
    #[command(hide = true)]
    Server { task: String },
    #[command(hide = true)]
    Client { task: String },
    #[command(hide = true)]
    Spinner { cpu: usize },
}

#[derive(Args)]
struct Run {
    /// Where the processes run: on one CPU, on one each, or on two with two workers each.
    #[arg(long, value_enum, default_value = "one")]
    mode: Mode,
    /// How often everything is measured; the table has the medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one point is measured, in seconds.
    #[arg(long, default_value_t = 0.25)]
    seconds: f64,
    /// Only these rows.
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Only these peers.
    #[arg(long, value_delimiter = ',', value_enum)]
    peers: Vec<Peer>,
    /// Only these transports.
    #[arg(long, value_delimiter = ',', value_enum)]
    transports: Vec<Transport>,
    /// Writes all figures to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// One round of 0.1 s a point: shows that everything works, and no more than that.
    #[arg(long)]
    quick: bool,
}

/// Does what the command line says.
pub(crate) fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => measure(cli.run),
        Some(Command::Table { file }) => {
            read(&file).map(|report| print!("{}", table::table(&report)))
        }
        Some(Command::Chart { file, folder }) => read(&file).and_then(|report| {
            let drawn = chart::draw(&report, &folder)?;
            eprintln!("drawn: {}", drawn.join(", "));
            Ok(())
        }),
        Some(Command::Server { task }) => Task::parse(&task).and_then(server::run),
        Some(Command::Client { task }) => Task::parse(&task).and_then(client::run),
        Some(Command::Spinner { cpu }) => process::spin(cpu),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(run: Run) -> Result<(), String> {
    let plan = Plan {
        mode: run.mode,
        rounds: if run.quick { 1 } else { run.rounds },
        seconds: if run.quick { 0.1 } else { run.seconds },
        rows: rows(&run.rows)?,
        peers: or_all(run.peers, Peer::ALL),
        transports: or_all(run.transports, Transport::ALL),
    };
    let report = round::measure(&plan)?;
    print!("{}", table::table(&report));
    if let Some(file) = run.json {
        let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    if report.failures.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} points failed, see above",
        report.failures.len()
    ))
}

fn rows(names: &[String]) -> Result<Vec<&'static Row>, String> {
    if names.is_empty() {
        return Ok(Row::ALL.iter().collect());
    }
    let find = |name: &String| {
        let known = || Row::ALL.iter().map(|row| row.name).collect::<Vec<_>>();
        Row::named(name).ok_or_else(|| format!("no row `{name}`; there are {}", known().join(", ")))
    };
    names.iter().map(find).collect()
}

fn or_all<T: Copy>(some: Vec<T>, all: &[T]) -> Vec<T> {
    if some.is_empty() { all.to_vec() } else { some }
}

fn read(file: &Path) -> Result<Report, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))
}
