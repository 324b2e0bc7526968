//! The process that started this one, and whose end is to be the end of this one too. Knows nothing
//! of what the two have to say to each other.

use std::io;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

/// The parent of this process.
///
/// The kernel can send a signal when a parent dies (`PR_SET_PDEATHSIG`), but that follows the
/// *thread* which started the child and may come while the parent lives. A pidfd is about the
/// process. Where there is none, the parent's number is looked at again and again.
#[derive(Debug)]
pub(crate) struct Parent {
    pid: Pid,
    #[cfg(target_os = "linux")]
    pidfd: Option<std::os::fd::OwnedFd>,
}

impl Parent {
    /// The parent, whoever it is; `None` if it cannot be seen from here, as from another PID
    /// namespace.
    ///
    /// # Errors
    /// The system's, if no descriptor is left.
    pub(crate) fn whoever() -> io::Result<Option<Self>> {
        // It may be replaced at any time: then the next one is asked for.
        while let Some(pid) = getppid() {
            let parent = Self::open(pid)?;
            if parent.is_some() {
                return Ok(parent);
            }
        }
        Ok(None)
    }

    #[cfg(target_os = "linux")]
    fn open(pid: Pid) -> io::Result<Option<Self>> {
        use rustix::io::Errno;
        use rustix::process::{PidfdFlags, pidfd_open};

        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Some(pidfd),
            Err(Errno::SRCH) => return Ok(None),
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => return Err(error.into()),
            // A sandbox refuses it, or the kernel is older than 5.3.
            Err(_) => None,
        };
        // The number could have passed to another process while it was being opened; a process
        // gets a new parent before that.
        Ok(is_parent(pid).then_some(Self { pid, pidfd }))
    }

    #[cfg(not(target_os = "linux"))]
    fn open(pid: Pid) -> io::Result<Option<Self>> {
        Ok(Some(Self { pid }))
    }

    /// From now on this process ends with its parent, `grace` later and as if killed: whatever its
    /// threads are doing, and without running what they left for their end. The watch is a thread of
    /// its own, so it does not matter whether a runtime gets its turn.
    ///
    /// # Errors
    /// The system's, if no thread is left.
    pub(crate) fn outlive_it_by(self, grace: Duration) -> io::Result<()> {
        thread::Builder::new()
            .name("rpc-parent".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                self.block();
                thread::sleep(grace);
                tracing::info!(parent = %self.pid, "the parent is gone: ending");
                // Nothing is known to make this fail; `abort` says the same with more noise.
                let _ = kill_process(getpid(), Signal::KILL);
                std::process::abort();
            })?;
        Ok(())
    }

    /// Blocks until the parent is gone.
    fn block(&self) {
        while is_parent(self.pid) {
            #[cfg(target_os = "linux")]
            if let Some(pidfd) = &self.pidfd {
                use rustix::event::{PollFd, PollFlags, poll};

                let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
                if poll(&mut fds, None).is_ok() {
                    // It is over, though it may still be this one's parent for a moment.
                    return;
                }
            }
            thread::sleep(TICK);
        }
    }
}

/// How often the parent is looked at where the kernel does not tell.
const TICK: Duration = Duration::from_millis(100);

/// What a thread needs that waits and then says one line to the log, with room for what listens there.
const STACK: usize = 256 * 1024;

fn is_parent(pid: Pid) -> bool {
    getppid() == Some(pid)
}
