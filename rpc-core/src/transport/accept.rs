//! What an error of [`Listener::accept`](super::Listener::accept) means for the loop around it.

use std::io::{self, ErrorKind};
use std::time::Duration;

/// The first pause of an accept loop that finds the system exhausted: short enough that a passing
/// shortage is hardly noticed.
const BACKOFF_MIN: Duration = Duration::from_millis(10);

/// The longest pause: a starved loop uses next to no processor time, and after the shortage the
/// listener answers again within this time.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// What stands behind an error of `accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcceptFault {
    /// One connection failed before it was accepted. The next may be fine: go on at once.
    Connection,
    /// The process or the system is out of descriptors or memory, or failed for a reason of its
    /// own. The error returns as long as the cause lasts: pause before the next attempt.
    Exhausted,
    /// The listener itself is unusable and will never accept again.
    Broken,
}

impl AcceptFault {
    /// Classifies an error. What is unknown counts as [`Exhausted`](Self::Exhausted), because a
    /// pause is never wrong and a busy loop is.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionAborted
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionRefused
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::WouldBlock
            // What a transport may find while it looks at the connection.
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::InvalidData
            // Linux passes on what already happened to the connection.
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            // A firewall rule refused this peer.
            | ErrorKind::PermissionDenied => Self::Connection,
            ErrorKind::InvalidInput | ErrorKind::NotConnected => Self::Broken,
            _ => Self::of_number(error.raw_os_error()),
        }
    }

    #[cfg(unix)]
    fn of_number(number: Option<i32>) -> Self {
        use libc::{EBADF, EHOSTDOWN, ENOPROTOOPT, ENOTSOCK, EOPNOTSUPP, EPROTO};

        match number {
            Some(EPROTO | ENOPROTOOPT | EHOSTDOWN | EOPNOTSUPP) => Self::Connection,
            Some(EBADF | ENOTSOCK) => Self::Broken,
            _ => Self::Exhausted,
        }
    }

    #[cfg(not(unix))]
    fn of_number(_: Option<i32>) -> Self {
        Self::Exhausted
    }
}

/// The pauses of an accept loop: 10 ms after the first error of exhaustion, doubled with each that
/// follows, at most 1 s, and back to the beginning with the first success.
///
/// ```
/// # use rpc_core::transport::AcceptBackoff;
/// let mut backoff = AcceptBackoff::new();
/// let error = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
/// assert_eq!(backoff.pause(&error).as_millis(), 10);
/// assert_eq!(backoff.pause(&error).as_millis(), 20);
/// backoff.succeeded();
/// assert_eq!(backoff.pause(&error).as_millis(), 10);
/// ```
#[derive(Debug)]
pub struct AcceptBackoff {
    next: Duration,
}

impl AcceptBackoff {
    /// A loop that has met no error yet.
    pub fn new() -> Self {
        Self { next: BACKOFF_MIN }
    }

    /// How long to pause after `error`: nothing if it concerns one connection only.
    pub fn pause(&mut self, error: &io::Error) -> Duration {
        match AcceptFault::of(error) {
            AcceptFault::Connection => Duration::ZERO,
            AcceptFault::Exhausted | AcceptFault::Broken => {
                let pause = self.next;
                self.next = pause.saturating_mul(2).min(BACKOFF_MAX);
                pause
            }
        }
    }

    /// A connection was accepted: the shortage is over.
    pub fn succeeded(&mut self) {
        self.next = BACKOFF_MIN;
    }
}

impl Default for AcceptBackoff {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the process or the system has run out of file descriptors.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
    }
    #[cfg(not(unix))]
    {
        let _ = error;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn row_19_exhaustion_backs_off_and_a_lost_connection_does_not() {
        use rustix::io::Errno;

        for (errno, fault) in [
            (Errno::CONNABORTED, AcceptFault::Connection),
            (Errno::CONNRESET, AcceptFault::Connection),
            (Errno::PROTO, AcceptFault::Connection),
            (Errno::PERM, AcceptFault::Connection),
            (Errno::INTR, AcceptFault::Connection),
            (Errno::NETDOWN, AcceptFault::Connection),
            (Errno::NETUNREACH, AcceptFault::Connection),
            (Errno::HOSTUNREACH, AcceptFault::Connection),
            (Errno::HOSTDOWN, AcceptFault::Connection),
            (Errno::MFILE, AcceptFault::Exhausted),
            (Errno::NFILE, AcceptFault::Exhausted),
            (Errno::NOBUFS, AcceptFault::Exhausted),
            (Errno::NOMEM, AcceptFault::Exhausted),
            (Errno::IO, AcceptFault::Exhausted),
            (Errno::BADF, AcceptFault::Broken),
            (Errno::INVAL, AcceptFault::Broken),
            (Errno::NOTSOCK, AcceptFault::Broken),
        ] {
            assert_eq!(AcceptFault::of(&errno.into()), fault, "{errno:?}");
        }
    }

    #[test]
    #[cfg(unix)]
    fn row_19_pauses_grow_to_a_second_and_start_again() {
        use rustix::io::Errno;

        let mut backoff = AcceptBackoff::new();
        let starved = Errno::MFILE.into();
        let pauses: Vec<_> = (0..9)
            .map(|_| backoff.pause(&starved).as_millis())
            .collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(backoff.pause(&Errno::CONNABORTED.into()), Duration::ZERO);
        assert_eq!(
            backoff.pause(&starved).as_millis(),
            1000,
            "a lost connection is no success"
        );
        backoff.succeeded();
        assert_eq!(backoff.pause(&starved).as_millis(), 10);
    }
}
