//! The matchmaker daemon and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    matchmaker::main()
}
