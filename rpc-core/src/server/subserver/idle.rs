//! The class of threads that run only when nobody else wants to: one system call, which no library of
//! ours offers in a safe form.
//!
//! The lowest nice value is not enough. A thread that wakes does not take the processor from one with
//! that value before its slice is over, some milliseconds; from one in this class it does at once.
#![allow(unsafe_code)]

use std::io;

/// Moves a thread of this process into the class, or, not `idle`, back into the ordinary one.
///
/// # Errors
/// The system's: back is for the privileged, as is raising a priority.
pub(super) fn set(thread: u32, idle: bool) -> io::Result<()> {
    let thread = libc::pid_t::try_from(thread).map_err(|_| io::ErrorKind::InvalidInput)?;
    let class = match idle {
        true => libc::SCHED_IDLE,
        false => libc::SCHED_OTHER,
    };
    // Neither class has priorities of its own.
    let priority: libc::c_int = 0;
    // SAFETY: the third argument is read as a `struct sched_param` of the kernel's, which is one
    // `int`; `priority` outlives the call, and nothing is written.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            thread,
            class,
            &raw const priority,
        )
    };
    match failed {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    /// The scheduling class of this thread, as `/proc` has it: field 41 of its `stat`.
    fn class() -> i32 {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let behind = stat.rsplit(')').next().unwrap();
        behind.split_whitespace().nth(38).unwrap().parse().unwrap()
    }

    #[test]
    fn a_thread_runs_when_nobody_else_wants_to() {
        let here = fs::read_link("/proc/thread-self").unwrap();
        let thread = here.file_name().unwrap().to_str().unwrap();
        assert_eq!(class(), libc::SCHED_OTHER);
        super::set(thread.parse().unwrap(), true).unwrap();
        assert_eq!(class(), libc::SCHED_IDLE);
    }

    #[test]
    fn a_thread_that_is_not_there_is_an_error() {
        assert!(super::set(u32::MAX, true).is_err());
    }
}
