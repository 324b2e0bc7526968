//! Options of sockets that no library of ours has in a safe form, or in the right one: a system call each.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// The process that connected, or began to listen, at the other end of a connected Unix socket.
///
/// The runtime asks for streams of its own alone, which are watched for too much; and `rustix` has the
/// number of the process in a type that is never 0, which is what the system says of a process that
/// this one cannot see.
///
/// # Errors
/// The system's: it is no Unix socket.
pub(super) fn peer_credentials(socket: impl AsFd) -> io::Result<libc::ucred> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: libc::uid_t::MAX,
        gid: libc::gid_t::MAX,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the system writes at most `len` bytes to `credentials`, any of whose bits may be anything,
    // and how many they are to `len`; both outlive the call, and so does the descriptor, which is
    // borrowed.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut len,
        )
    };
    checked(failed).map(|()| credentials)
}

/// Has a listener of TCP bring a connection only once its client has said something, or after about so
/// many seconds without.
///
/// # Errors
/// The system's: it is no socket of TCP.
pub(super) fn defer_accept(listener: impl AsFd, seconds: libc::c_int) -> io::Result<()> {
    // SAFETY: the system reads `seconds`, which outlives the call, as does the descriptor, which is
    // borrowed.
    let failed = unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
    checked(failed)
}

/// What a system call that was just made returned, as a result.
fn checked(failed: libc::c_int) -> io::Result<()> {
    match failed {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
