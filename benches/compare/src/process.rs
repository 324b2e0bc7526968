//! Child processes: this program again, with another task. Each is ended through its own handle, and
//! ends by itself when this process has gone, because its standard input ends then.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use std::{env, hint, thread};

use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::control::{self, Said};

/// The nice value of what is measured: far before everything else, behind what the kernel needs.
const PRECEDENCE: i32 = -15;

/// A child that is talked to in lines.
pub(crate) struct Child {
    process: Process,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Child {
    /// Starts this program with a task.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self, String> {
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(arguments);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<Self, String> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // What a wrong answer says is enough; where tokio was then is not of interest.
        let command = command.env("RUST_BACKTRACE", "0");
        let program = command.get_program().to_owned();
        let started = command.spawn();
        let mut process = started.map_err(|error| format!("{program:?}: {error}"))?;
        let (input, output) = (process.stdin.take(), process.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err("a child has no pipes".into());
        };
        // A child says a few lines in its life; one that says more waits.
        let (sender, lines) = sync_channel(4);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process,
            input,
            lines,
        })
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next thing it says.
    pub(crate) fn hear(&self, until: Instant) -> Result<Said, String> {
        let left = until.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => control::parse(&line),
            Err(RecvTimeoutError::Timeout) => Err("it does not come to an end".into()),
            Err(RecvTimeoutError::Disconnected) => Err("it has failed, see above".into()),
        }
    }

    /// Says a thing to it.
    pub(crate) fn say(&mut self, said: &Said) -> Result<(), String> {
        let line = serde_json::to_string(said).map_err(|error| error.to_string())?;
        writeln!(self.input, "{line}").map_err(|error| format!("the process has gone: {error}"))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Processes that keep CPUs from halting, without taking time from anybody who wants it: they run
/// under `SCHED_IDLE`. Ended on drop.
pub(crate) struct Spinners(#[expect(dead_code, reason = "held to be dropped")] Vec<Child>);

impl Spinners {
    /// Starts one for each CPU.
    pub(crate) fn start(cpus: &[usize]) -> Result<Self, String> {
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let start = |cpu: &usize| {
            let mut command = Command::new("chrt");
            command.args(["--idle", "0"]).arg(&program);
            command.args(["spinner", &cpu.to_string()]);
            Child::spawn(command)
        };
        cpus.iter().map(start).collect::<Result<_, _>>().map(Self)
    }
}

/// Spins on a CPU until the parent has gone.
pub(crate) fn spin(cpu: usize) -> Result<(), String> {
    prepare(Some(cpu))?;
    thread::spawn(|| {
        while let Ok(Some(_)) = control::hear() {}
        std::process::exit(0);
    });
    loop {
        hint::spin_loop();
    }
}

/// Takes the CPU that this process is to run on, as many descriptors as it may have and, where that
/// is allowed, precedence over what else runs on the machine.
pub(crate) fn prepare(cpu: Option<usize>) -> Result<(), String> {
    // Refused to all but root. It makes figures steadier, and is the same for all peers.
    let _precedence = setpriority_process(None, PRECEDENCE);
    if let Some(cpu) = cpu {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).map_err(|error| format!("cpu {cpu}: {error}"))?;
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| format!("descriptors: {error}"))
}

/// When a child that measures for so long has hung up.
pub(crate) fn patience(seconds: f64) -> Instant {
    Instant::now() + Duration::from_secs_f64(30.0 + 10.0 * seconds)
}
