//! A run: rounds in which all peers take turns at each row, so that what disturbs the machine
//! disturbs all of them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, process};

use serde::{Deserialize, Serialize};

use crate::control::Said;
use crate::metric::Metric;
use crate::mode::Mode;
use crate::peers::{Peer, Place};
use crate::process::{Child, Spinners, patience};
use crate::report::{Failure, Key, Report};
use crate::rows::{Row, Work};
use crate::syscalls::Counter;
use crate::task::Task;

/// What a run measures.
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) rows: Vec<&'static Row>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) transports: Vec<Transport>,
}

/// What carries the bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Transport {
    /// A Unix socket.
    Unix,
    /// TCP over loopback.
    Tcp,
}

impl Transport {
    /// All of them.
    pub(crate) const ALL: &[Self] = &[Self::Unix, Self::Tcp];

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "tcp",
        }
    }
}

/// Measures all of it. A point that fails is reported and left out.
pub(crate) fn measure(plan: &Plan) -> Result<Report, String> {
    let folder = Folder::new()?;
    let _spinners = Spinners::start(plan.mode.spinning_cpus())?;
    let mut report = Report::new(plan);
    let counted = |row: &&Row| matches!(row.work, Work::Syscalls { .. });
    let mut rows = plan.rows.clone();
    if let (Some(row), Err(error)) = (rows.iter().find(|row| counted(row)), Counter::probe()) {
        let note = format!("SKIPPED {}: {error}", row.name);
        eprintln!("{note}");
        report.notes.push(note);
        rows.retain(|row| !counted(row));
    }
    for round in 1..=plan.rounds {
        for row in &rows {
            for &transport in &plan.transports {
                eprintln!(
                    "round {round}/{}: {} {}",
                    plan.rounds,
                    row.name,
                    transport.name()
                );
                for &peer in plan.peers.iter().filter(|peer| row.concerns(**peer)) {
                    match point(plan, row, peer, transport, &folder.0) {
                        Ok(figures) => report.add(Key::new(row, transport, peer), figures),
                        Err(error) => {
                            let failure = Failure {
                                row: row.name.into(),
                                transport,
                                peer,
                                error,
                            };
                            eprintln!("{failure}");
                            report.failures.push(failure);
                        }
                    }
                }
            }
        }
    }
    Ok(report)
}

/// Measures one row with one peer, in two processes of its own.
fn point(
    plan: &Plan,
    row: &Row,
    peer: Peer,
    transport: Transport,
    folder: &Path,
) -> Result<BTreeMap<Metric, f64>, String> {
    let until = patience(plan.seconds);
    let path = folder.join("socket");
    // The server before this one was ended, not asked to clean up.
    let _absent = fs::remove_file(&path);
    let place = match transport {
        Transport::Unix => Place::Unix(path),
        Transport::Tcp => Place::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
    };
    let mut task = Task {
        peer,
        mode: plan.mode,
        row: row.name.into(),
        place,
        time: Duration::from_secs_f64(plan.seconds),
    };
    let mut server = Child::start(&["server", &task.to_argument()?])?;
    let Said::Ready(place) = server.hear(until)? else {
        return Err("the server says something else than where it listens".into());
    };
    task.place = place;
    let mut client = Child::start(&["client", &task.to_argument()?])?;
    let mut counter = None;
    loop {
        match client.hear(until)? {
            Said::Count => {
                counter = Some(Counter::start(&[server.id(), client.id()])?);
                client.say(&Said::Count)?;
            }
            Said::Stop => {
                let counter = counter
                    .take()
                    .ok_or("the client stops what was not begun")?;
                client.say(&Said::Counted(counter.stop()?))?;
            }
            Said::Usage => {
                server.say(&Said::Usage)?;
                client.say(&server.hear(until)?)?;
            }
            Said::Measured(figures) => return Ok(figures),
            other => return Err(format!("the client says {other:?}")),
        }
    }
}

/// A folder for sockets, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, String> {
        let folder = env::temp_dir().join(format!("compare-{}", process::id()));
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}
