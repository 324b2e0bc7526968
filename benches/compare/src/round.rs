//! A run: rounds in which all peers take turns at each row, so that what disturbs the machine
//! disturbs all of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, process};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::control::Said;
use crate::metric::Metric;
use crate::mode::Mode;
use crate::peers::{Peer, Place};
use crate::process::{Child, Spinners, patience};
use crate::report::{Key, Report};
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

    /// For people.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Unix => "Unix socket",
            Self::Tcp => "TCP over loopback",
        }
    }

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
    let mut report = Report::new(plan);
    let _lock = alone(&mut report.notes)?;
    let rows = measurable(&plan.rows, &mut report.notes);
    let _spinners = Spinners::start(plan.mode.spinning_cpus())?;
    for round in 1..=plan.rounds {
        for row in &rows {
            for &transport in &plan.transports {
                let at = format!("{} {}", row.name, transport.name());
                eprintln!("round {round}/{}: {at}", plan.rounds);
                for peer in turns(plan, row, round) {
                    match point(plan, row, peer, transport, &folder.0) {
                        Ok(figures) => report.add(Key::new(row, transport, peer), figures),
                        Err(error) => report.fail(Key::new(row, transport, peer), error),
                    }
                }
            }
        }
    }
    Ok(report)
}

/// Notes whether another run is under way, which would disturb this one and be disturbed by it. The
/// file is locked until it is dropped.
fn alone(notes: &mut Vec<String>) -> Result<File, String> {
    let path = env::temp_dir().join("compare.lock");
    let file = File::create(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let note = "Another run was under way when this one began. Measure again.";
        eprintln!("{note}");
        notes.push(note.into());
    }
    Ok(file)
}

/// The rows that can be measured here. Why others cannot is noted, and said at once.
fn measurable(rows: &[&'static Row], notes: &mut Vec<String>) -> Vec<&'static Row> {
    let mut rows = rows.to_vec();
    rows.retain(|row| {
        let able = match row.work {
            Work::Syscalls { .. } => Counter::probe(),
            _ => Ok(()),
        };
        if let Err(error) = &able {
            let note = format!("SKIPPED {}: {error}", row.name);
            eprintln!("{note}");
            notes.push(note);
        }
        able.is_ok()
    });
    rows
}

/// The peers of a row, in their order and in the reverse by turns, so that none always follows the
/// same other one.
fn turns(plan: &Plan, row: &Row, round: usize) -> Vec<Peer> {
    let peers = plan.peers.iter().copied();
    let peers = peers.filter(|peer| row.concerns(*peer) && peer.runs_in(plan.mode));
    let mut peers: Vec<_> = peers.collect();
    if round % 2 == 0 {
        peers.reverse();
    }
    peers
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
