//! Counts the system calls of processes, by `perf` and the kernel's tracepoint. Where either is
//! missing the count is left out, with the reason.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use std::{env, process, thread};

use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process};

const EVENT: &str = "raw_syscalls:sys_enter";

/// How long `perf` may take to do as it is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// A count under way.
pub(crate) struct Counter {
    perf: Child,
    folder: PathBuf,
    orders: File,
    acknowledged: Receiver<String>,
}

impl Counter {
    /// Whether system calls can be counted here, or why not.
    pub(crate) fn probe() -> Result<(), String> {
        let mut command = Command::new("perf");
        let output = command.args(["stat", "-e", EVENT, "--", "true"]).output();
        let output = output.map_err(|error| format!("perf cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().find(|line| !line.trim().is_empty());
        Err(format!(
            "perf cannot count {EVENT}: {}",
            said.unwrap_or_default()
        ))
    }

    /// Begins to count the system calls of all threads of these processes.
    pub(crate) fn start(pids: &[u32]) -> Result<Self, String> {
        let folder = env::temp_dir().join(format!("compare-perf-{}", process::id()));
        fs::create_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (orders, answers) = (fifo(&folder, "orders")?, fifo(&folder, "answers")?);
        let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
        let control = format!("fifo:{0}/orders,{0}/answers", folder.display());
        let mut command = Command::new("perf");
        command.args(["stat", "-x", ",", "-D", "-1", "-e", EVENT]);
        command.args(["-p", &pids.join(","), "--control", &control]);
        let perf = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let perf = perf.map_err(|error| format!("perf cannot be started: {error}"))?;
        let (sender, acknowledged) = sync_channel(4);
        thread::spawn(move || {
            for line in BufReader::new(answers).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut counter = Self {
            perf,
            folder,
            orders,
            acknowledged,
        };
        counter.order("enable")?;
        Ok(counter)
    }

    /// Ends the count.
    pub(crate) fn stop(mut self) -> Result<u64, String> {
        self.order("disable")?;
        let pid = i32::try_from(self.perf.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or("perf has no process id")?;
        kill_process(pid, Signal::INT).map_err(|error| format!("perf cannot be ended: {error}"))?;
        let mut said = String::new();
        if let Some(output) = &mut self.perf.stderr {
            let read = output.read_to_string(&mut said);
            read.map_err(|error| format!("perf cannot be read: {error}"))?;
        }
        let count = said.lines().find(|line| line.contains(EVENT));
        let count = count.and_then(|line| line.split(',').next()?.parse().ok());
        count.ok_or_else(|| format!("perf says {said:?}"))
    }

    fn order(&mut self, order: &str) -> Result<(), String> {
        let written = self.orders.write_all(format!("{order}\n").as_bytes());
        written.map_err(|error| format!("perf takes no orders: {error}"))?;
        let acknowledged = self.acknowledged.recv_timeout(PATIENCE);
        acknowledged.map_err(|_| format!("perf does not {order}"))?;
        Ok(())
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // Errors mean that it has ended, or that the folder has gone: nothing is left to do.
        let _ended = self.perf.kill();
        let _reaped = self.perf.wait();
        let _removed = fs::remove_dir_all(&self.folder);
    }
}

/// Makes a named pipe and opens both of its ends, so that neither side waits for the other.
fn fifo(folder: &Path, name: &str) -> Result<File, String> {
    let path = folder.join(name);
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).map_err(|error| failed(&error))?;
    let mut options = OpenOptions::new();
    let opened = options.read(true).write(true).open(&path);
    opened.map_err(|error| failed(&error))
}
