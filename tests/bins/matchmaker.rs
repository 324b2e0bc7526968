//! The matchmaker daemon, where tests can find its program.

use std::process::ExitCode;

fn main() -> ExitCode {
    matchmaker::main()
}
