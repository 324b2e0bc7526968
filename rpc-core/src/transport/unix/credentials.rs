//! Which process is at the other end of a Unix socket.

use std::io;
use std::os::fd::AsFd;

use crate::transport::{Identity, sockopt};

/// The process that connected, or began to listen, at the other end of a connected socket.
///
/// # Errors
/// The system's: it is no Unix socket.
pub(super) fn of_peer(socket: impl AsFd) -> io::Result<Identity> {
    let libc::ucred { pid, uid, gid } = sockopt::peer_credentials(socket)?;
    let pid = u32::try_from(pid).ok().filter(|pid| *pid != 0);
    Ok(Identity::process(uid, gid, pid))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixStream;

    use rustix::process::{getegid, geteuid};

    use super::*;

    #[test]
    fn the_other_end_is_known() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
        let here = Identity::process(uid, gid, Some(std::process::id()));
        assert_eq!(of_peer(&ours).unwrap(), here);
    }

    /// Of what is no Unix socket the system says that nobody is there, or nothing.
    #[test]
    fn nobody_is_at_the_other_end_of_another_socket() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        if let Ok(identity) = of_peer(&socket) {
            assert_eq!(identity, Identity::process(u32::MAX, u32::MAX, None));
        }
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(of_peer(&file).is_err());
    }
}
