//! The programs under test, started.

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Matchmaker, Process};

/// The program of the daemon.
pub(crate) const MATCHMAKER: &str = env!("CARGO_BIN_EXE_test-matchmaker");

/// The program of the services.
pub(crate) const SERVICE: &str = env!("CARGO_BIN_EXE_test-service");

/// A matchmaker in a process of its own.
pub(crate) async fn matchmaker() -> Matchmaker {
    Matchmaker::start(MATCHMAKER).await
}

/// A service in a process of its own.
pub(crate) struct Service {
    pub(crate) process: Process,
    /// In the order in which they were asked for.
    pub(crate) addresses: Vec<String>,
    pub(crate) ledger: Option<PathBuf>,
}

/// What a service is told.
#[derive(Default)]
pub(crate) struct Plan<'a> {
    /// A free TCP port if there is none.
    pub(crate) listen: &'a [&'a str],
    /// Registers there.
    pub(crate) matchmaker: Option<&'a Matchmaker>,
    pub(crate) ledger: Option<PathBuf>,
}

impl Service {
    /// Starts a service and waits until it says that it is ready.
    #[track_caller]
    pub(crate) fn start(plan: Plan<'_>) -> Self {
        let mut command = Command::new(SERVICE);
        command.arg("serve");
        let anywhere = ["tcp://127.0.0.1:0"];
        let listen = if plan.listen.is_empty() {
            &anywhere
        } else {
            plan.listen
        };
        for address in listen {
            command.args(["--listen", address]);
        }
        if let Some(matchmaker) = plan.matchmaker {
            command.args(["--matchmaker", matchmaker.address()]);
        }
        if let Some(ledger) = &plan.ledger {
            command.arg("--ledger").arg(ledger);
        }
        let process = Process::spawn(&mut command);
        process.line("the service is ready", |line| {
            (line == "ready").then_some(())
        });
        let addresses = listen
            .iter()
            .enumerate()
            .map(|(index, _)| process.nth_line("listening ", index))
            .collect();
        Self {
            process,
            addresses,
            ledger: plan.ledger,
        }
    }

    /// A service that is registered, and may have a ledger.
    #[track_caller]
    pub(crate) fn registered(matchmaker: &Matchmaker, ledger: Option<PathBuf>) -> Self {
        Self::start(Plan {
            matchmaker: Some(matchmaker),
            ledger,
            ..Plan::default()
        })
    }

    /// Where it listens, the first address if there are several.
    pub(crate) fn address(&self) -> &str {
        &self.addresses[0]
    }

    /// The file where it notes what ran.
    pub(crate) fn ledger(&self) -> &Path {
        self.ledger.as_deref().expect("the service has a ledger")
    }
}
