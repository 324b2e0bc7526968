//! Measures this framework beside its peers: the same calls, in one interleaved run, between two
//! processes, with every answer checked. `benches/README.md` says what the rows mean.

use std::process::ExitCode;

mod chart;
mod cli;
mod client;
mod connections;
mod control;
mod load;
mod metric;
mod mode;
mod peers;
mod process;
mod report;
mod round;
mod rows;
mod server;
mod socket;
mod stats;
mod syscalls;
mod table;
mod task;

fn main() -> ExitCode {
    cli::run()
}
