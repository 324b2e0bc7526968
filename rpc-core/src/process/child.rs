//! A child process, from its start to its last rites. Knows nothing of what the child is for.

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError,
};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};

/// A process that this one has started.
///
/// - **Waiting.** [`wait`](Self::wait) blocks no thread: the kernel's pidfd says when the child is
///   over. Where there is none, a thread waits. Any number of tasks may wait, and each is told.
/// - **Killing.** [`kill`](Self::kill) reaches this child or nobody: its number cannot have been
///   given to another process, because only this value reaps it.
/// - **No zombie.** Dropping the value kills the child and reaps it in the background, with or
///   without a runtime; [`with_grace`](Self::with_grace) gives it time to end by itself first.
///
/// The program that embeds this must not ignore SIGCHLD and must not wait for children that are not
/// its own (`waitpid(-1)`): the status of a child could not be known then.
pub(crate) struct Child {
    started: Arc<Started>,
    /// How long a child has to end by itself once the value is dropped.
    grace: Duration,
}

/// Which process group a child joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// That of this process: a Ctrl-C at the terminal reaches both.
    Shared,
    /// One of its own, which is killed as a whole: signals of the terminal do not reach it, and its
    /// own children go with it.
    Own,
}

impl Child {
    /// Starts the program. Must run within a tokio runtime.
    ///
    /// # Errors
    /// The system's: there is no such program, or no descriptor, process or thread is left.
    pub(crate) fn spawn(command: &mut Command, group: Group) -> io::Result<Self> {
        if group == Group::Own {
            command.process_group(0);
        }
        let spawned = {
            let _spawning = spawning();
            command.spawn()
        };
        let mut process = spawned?;
        let pid = Pid::from_child(&process);
        let watch = match Watch::new(pid) {
            Ok(watch) => watch,
            Err(error) => {
                // Nobody would hear of its end.
                process.kill()?;
                process.wait()?;
                return Err(error);
            }
        };
        let life = Mutex::new(Life {
            process,
            status: None,
        });
        Ok(Self {
            started: Arc::new(Started {
                pid,
                group,
                life,
                watch,
            }),
            grace: Duration::ZERO,
        })
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.started.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// The other end of its standard input, where the command asked for a pipe. Once.
    pub(crate) fn stdin(&self) -> Option<ChildStdin> {
        self.started.life().process.stdin.take()
    }

    /// The other end of its standard output, where the command asked for a pipe. Once.
    pub(crate) fn stdout(&self) -> Option<ChildStdout> {
        self.started.life().process.stdout.take()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system's: somebody else has reaped it.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        self.started.life().try_wait()
    }

    /// Waits until it is over, and reaps it. Cancel safe.
    ///
    /// # Errors
    /// As [`try_wait`](Self::try_wait).
    pub(crate) async fn wait(&self) -> io::Result<ExitStatus> {
        self.started.watch.wait(|| self.try_wait()).await
    }

    /// Ends it at once (SIGKILL), with its group where that is its own. Nothing happens if it is
    /// over already.
    ///
    /// # Errors
    /// The system's: the child has changed its user.
    pub(crate) fn kill(&self) -> io::Result<()> {
        self.started.kill()
    }

    /// The same child, which after the drop may end by itself within `grace`, until it is killed.
    /// The wait is on a thread, because whoever drops it and its runtime may be gone by then.
    pub(crate) fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.started.let_go(self.grace);
    }
}

/// Children between their start and the execution of their program. Until then they have copies of
/// all descriptors of this process.
static SPAWNING: RwLock<()> = RwLock::new(());

/// A child is being started while this lives.
pub(crate) fn spawning() -> RwLockReadGuard<'static, ()> {
    SPAWNING.read().unwrap_or_else(PoisonError::into_inner)
}

/// While this lives no child is started, so that what is closed is closed. A listener of which a
/// child has a copy would take connections in for another millisecond, to which nobody listens.
/// `None` while a child is being started, which on a busy machine may take many milliseconds.
pub(crate) fn stillness() -> Option<RwLockWriteGuard<'static, ()>> {
    match SPAWNING.try_write() {
        Ok(stillness) => Some(stillness),
        Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// How a process ended, in words: "exited with code 3".
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        // The standard library knows the names: "signal: 9 (SIGKILL)".
        (None, Some(_)) => format!("was ended by {}", status.to_string().replacen(": ", " ", 1)),
        (None, None) => format!("ended: {status}"),
    }
}

/// What outlives the value for as long as the child does.
struct Started {
    pid: Pid,
    group: Group,
    life: Mutex<Life>,
    watch: Watch,
}

/// Whether the child is alive. Whoever kills or reaps it holds the lock, so that nobody kills a
/// number that is free again.
struct Life {
    process: std::process::Child,
    /// How it ended, once it is reaped.
    status: Option<ExitStatus>,
}

impl Life {
    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.process.try_wait()?;
        }
        Ok(self.status)
    }
}

impl Started {
    fn life(&self) -> MutexGuard<'_, Life> {
        // It is whole after every statement under the lock, so a panic elsewhere spoils nothing.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kill(&self) -> io::Result<()> {
        let life = self.life();
        if life.status.is_some() {
            return Ok(());
        }
        let killed = match self.group {
            // The number of the group is that of the child, which holds it until it is reaped.
            Group::Own => kill_process_group(self.pid, Signal::KILL),
            Group::Shared => self.watch.kill(self.pid),
        };
        match killed {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Blocks until the child is over.
    fn reap(&self) -> io::Result<ExitStatus> {
        let mut life = self.life();
        let status = life.process.wait()?;
        life.status = Some(status);
        Ok(status)
    }

    fn let_go(self: &Arc<Self>, grace: Duration) {
        if self.life().status.is_some() {
            return;
        }
        if grace.is_zero() {
            self.kill_or_say();
        }
        // An error means that there is nothing left to reap.
        if !matches!(self.life().try_wait(), Ok(None)) {
            return;
        }
        let started = Arc::clone(self);
        let undertaker = thread::Builder::new()
            .name("rpc-reaper".to_owned())
            .stack_size(REAPER_STACK)
            .spawn(move || started.bury(grace));
        if undertaker.is_err() {
            // A process without threads to spare cannot grant any grace.
            self.kill_or_say();
            let _ = self.reap();
        }
    }

    /// Blocks until the child is over, and does not wait for it longer than `grace`.
    fn bury(&self, grace: Duration) {
        let begin = Instant::now();
        loop {
            if !matches!(self.life().try_wait(), Ok(None)) {
                return;
            }
            let left = grace.saturating_sub(begin.elapsed());
            if left.is_zero() {
                break;
            }
            self.watch.block(left);
        }
        self.kill_or_say();
        // Who fails here finds that somebody else has done it.
        let _ = self.reap();
    }

    fn kill_or_say(&self) {
        if let Err(error) = self.kill() {
            tracing::warn!(pid = %self.pid, %error, "a child cannot be killed");
        }
    }
}

/// What a thread needs that waits, kills and reaps, with room to spare.
const REAPER_STACK: usize = 128 * 1024;

/// How the end of a child is heard of.
enum Watch {
    #[cfg(target_os = "linux")]
    Pidfd(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>),
    /// A thread that waits: on systems without pidfds, and in sandboxes that refuse them.
    Thread(tokio::sync::watch::Receiver<()>),
}

impl Watch {
    fn new(pid: Pid) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if let Ok(watch) = Self::pidfd(pid) {
            return Ok(watch);
        }
        Self::thread(pid)
    }

    #[cfg(target_os = "linux")]
    #[allow(
        deprecated,
        reason = "its successor is unsafe; what is asked of its caller, the type `OwnedFd` promises"
    )]
    fn pidfd(pid: Pid) -> io::Result<Self> {
        use rustix::process::{PidfdFlags, pidfd_open};
        use tokio::io::{Interest, unix::AsyncFd};

        // Nobody has reaped the child yet, so the number is its own. The descriptor closes on exec,
        // as all pidfds do.
        let fd = pidfd_open(pid, PidfdFlags::empty())?;
        Ok(Self::Pidfd(AsyncFd::with_interest(fd, Interest::READABLE)?))
    }

    fn thread(pid: Pid) -> io::Result<Self> {
        use rustix::process::{WaitId, WaitIdOptions, waitid};

        let (over, watch) = tokio::sync::watch::channel(());
        let wait = move || {
            // Reaping is left to the others. An error says that the child is reaped already.
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
            // Who waits is woken by the sender's end.
            drop(over);
        };
        thread::Builder::new()
            .name("rpc-child".to_owned())
            .stack_size(REAPER_STACK)
            .spawn(wait)?;
        Ok(Self::Thread(watch))
    }

    /// Asks `try_wait` whenever there may be news, until it knows.
    async fn wait(
        &self,
        try_wait: impl Fn() -> io::Result<Option<ExitStatus>>,
    ) -> io::Result<ExitStatus> {
        if let Some(status) = try_wait()? {
            return Ok(status);
        }
        match self {
            #[cfg(target_os = "linux")]
            Self::Pidfd(fd) => loop {
                let mut ready = fd.readable().await?;
                match try_wait()? {
                    Some(status) => return Ok(status),
                    None => ready.clear_ready(),
                }
            },
            Self::Thread(over) => {
                // Nothing is ever sent, so this ends with the thread.
                let _ = over.clone().changed().await;
                try_wait()?.ok_or_else(|| io::ErrorKind::Interrupted.into())
            }
        }
    }

    /// Blocks until there may be news, at most for `left`.
    fn block(&self, left: Duration) {
        match self {
            #[cfg(target_os = "linux")]
            Self::Pidfd(fd) => {
                use rustix::event::{PollFd, PollFlags, Timespec, poll};

                let left = Timespec::try_from(left).ok();
                let mut fds = [PollFd::new(fd.get_ref(), PollFlags::IN)];
                if let Err(error) = poll(&mut fds, left.as_ref()) {
                    if error != Errno::INTR {
                        // Not known to happen; a busy loop would be worse than a late answer.
                        thread::sleep(Self::TICK);
                    }
                }
            }
            Self::Thread(_) => thread::sleep(left.min(Self::TICK)),
        }
    }

    /// How often a child is looked at where the kernel does not tell.
    const TICK: Duration = Duration::from_millis(10);

    fn kill(&self, pid: Pid) -> rustix::io::Result<()> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Pidfd(fd) => rustix::process::pidfd_send_signal(fd.get_ref(), Signal::KILL),
            Self::Thread(_) => rustix::process::kill_process(pid, Signal::KILL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What other systems do, and sandboxes that refuse pidfds.
    #[tokio::test]
    async fn without_a_pidfd_a_thread_waits() {
        for (script, killed, code) in [("exit 3", false, Some(3)), ("exec sleep 1000", true, None)]
        {
            let mut process = Command::new("/bin/sh")
                .args(["-c", script])
                .spawn()
                .unwrap();
            let pid = Pid::from_child(&process);
            let watch = Watch::thread(pid).unwrap();
            if killed {
                watch.kill(pid).unwrap();
            }
            let process = Mutex::new(&mut process);
            let status = watch.wait(|| process.lock().unwrap().try_wait()).await;
            assert_eq!(status.unwrap().code(), code);
        }
    }
}
