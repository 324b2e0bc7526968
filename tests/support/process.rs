//! Processes that tests start, and that end with them.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{LIMIT, eventually};

/// A running process. When it is dropped it is killed, and when it is dropped by a failing test,
/// what it has written is shown.
pub struct Process {
    name: String,
    child: Child,
    written: Arc<Written>,
}

/// What a process that has ended leaves.
#[derive(Debug)]
pub struct Finished {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// The lines of both outputs so far.
#[derive(Default)]
struct Written {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    stdout: Vec<String>,
    stderr: Vec<String>,
    /// Outputs that are closed; both are when the process is gone.
    closed: usize,
}

impl Process {
    /// Starts a program. Both its outputs are read, so that it never waits for a reader.
    ///
    /// # Panics
    /// It cannot be started.
    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let written = Arc::new(Written::default());
        written.follow(child.stdout.take(), |lines| &mut lines.stdout);
        written.follow(child.stderr.take(), |lines| &mut lines.stderr);
        Self {
            name,
            child,
            written,
        }
    }

    /// Runs a program to its end.
    ///
    /// # Panics
    /// It cannot be started, or does not end.
    #[track_caller]
    pub fn run(command: &mut Command) -> Finished {
        let mut process = Self::spawn(command);
        let status = process.wait(LIMIT);
        process.until("both outputs are closed", |lines| {
            (lines.closed == 2).then_some(())
        });
        let lines = process.written.lock();
        Finished {
            code: status.code(),
            stdout: lines.stdout.join("\n"),
            stderr: lines.stderr.join("\n"),
        }
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line, on either output, of which `find` makes something.
    ///
    /// # Panics
    /// None comes.
    #[track_caller]
    pub fn line<T>(&self, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        self.until(what, |lines| {
            lines
                .stdout
                .iter()
                .chain(&lines.stderr)
                .find_map(|line| find(line))
        })
    }

    /// What follows `prefix` on the line number `index` of those that begin with it.
    ///
    /// # Panics
    /// There are not so many.
    #[track_caller]
    pub fn nth_line(&self, prefix: &str, index: usize) -> String {
        self.until(prefix, |lines| {
            let mut found = lines.stdout.iter().filter_map(|l| l.strip_prefix(prefix));
            found.nth(index).map(str::to_owned)
        })
    }

    /// Ends it at once, as `kill -9`.
    ///
    /// # Panics
    /// It has ended before.
    #[track_caller]
    pub fn kill(&mut self) {
        if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
            panic!("{} has ended by itself: {status}\n{self:?}", self.name);
        }
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    /// Asks it to end, as `kill`.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Stops it until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// It does not end within `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let child = &mut self.child;
        eventually(&format!("{} ends", self.name), limit, || {
            child.try_wait().expect("a child can be waited for")
        })
        .0
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("the number of a process");
        let id = Pid::from_raw(id).expect("the number of a process");
        kill_process(id, signal).expect("a child can be signalled");
    }

    #[track_caller]
    fn until<T>(&self, what: &str, find: impl Fn(&Lines) -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        let mut lines = self.written.lock();
        loop {
            if let Some(found) = find(&lines) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(lines.closed < 2, "{} ended before: {what}", self.name);
            assert!(
                !left.is_zero(),
                "{}: not within {LIMIT:?}: {what}",
                self.name
            );
            lines = self
                .written
                .more
                .wait_timeout(lines, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

impl Written {
    fn follow(
        self: &Arc<Self>,
        output: Option<impl Read + Send + 'static>,
        choose: fn(&mut Lines) -> &mut Vec<String>,
    ) {
        let output = output.expect("the output is piped");
        let written = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                choose(&mut written.lock()).push(line);
                written.more.notify_all();
            }
            written.lock().closed += 1;
            written.more.notify_all();
        });
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a child that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{self:?}");
        }
    }
}

/// For the output of a failing test.
impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More of a chatty process would bury the failure.
        const LINES: usize = 40;
        writeln!(f, "--- {} (process {})", self.name, self.child.id())?;
        let lines = self.written.lock();
        for (name, lines) in [("stdout", &lines.stdout), ("stderr", &lines.stderr)] {
            for line in lines.iter().skip(lines.len().saturating_sub(LINES)) {
                writeln!(f, "{name}: {line}")?;
            }
        }
        Ok(())
    }
}
