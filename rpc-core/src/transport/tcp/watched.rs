//! The sockets of TCP, with as few system calls as they can be had for.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketFlags, SocketType, acceptfrom_with, getpeername,
    getsockname, socket_with, sockopt,
};
use tokio::net::TcpStream;

use super::{SEND_BUFFER, is_loopback};
use crate::transport::socket::{Socket, Watched, next, watch};
use crate::transport::sockopt::defer_accept;

/// What the bytes go over.
pub(in crate::transport) type Stream = Socket<TcpStream>;

/// What connections come out of.
pub(super) type Inner = Watched;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// How long the system keeps a connection to itself whose client says nothing, in seconds: the least
/// that it can count. Clients speak first, right behind the last leg of TCP's own handshake, and with
/// what one says the server has something to do; without that it would be woken twice for each. One
/// that stays silent comes in then, and has as long to say hello as any.
const SILENCE: i32 = 1;

pub(super) fn listener(listener: tokio::net::TcpListener) -> io::Result<Inner> {
    let listener = OwnedFd::from(listener.into_std()?);
    // A wish, which the system need not grant.
    let _ = defer_accept(&listener, SILENCE);
    watch(listener)
}

/// The next connection, where it comes from and which address it came to, unless it came from this
/// machine. It has `TCP_NODELAY` from its listener. Cancel safe.
pub(super) async fn accept(
    listener: &Inner,
) -> io::Result<(Stream, SocketAddr, Option<SocketAddr>)> {
    let (socket, at) = next(listener, |listener| {
        let (socket, at) = acceptfrom_with(listener, FLAGS)?;
        Ok((socket, at.ok_or(Errno::NOTCONN)?))
    })
    .await?;
    let at = SocketAddr::try_from(at)?;
    let own = match is_loopback(at) {
        true => None,
        false => address(getsockname(&socket)),
    };
    Ok((Socket::accepted(socket)?, at, own))
}

/// A connection, where it leads and which address it has here.
///
/// The system says of each that it is under way, even where it leads to this machine and stands by
/// then: asked once more it says so, and nothing need be waited for.
pub(super) async fn connect(
    at: SocketAddr,
) -> io::Result<(Stream, SocketAddr, Option<SocketAddr>)> {
    let family = match at {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::STREAM, FLAGS, None)?;
    let mut asked = rustix::net::connect(&socket, &at);
    let is_here = is_loopback(at) || at.ip().is_unspecified();
    if asked == Err(Errno::INPROGRESS) && is_here {
        asked = rustix::net::connect(&socket, &at);
    }
    match asked {
        Ok(()) => {
            let (at, own) = ends(&socket, at);
            Ok((Socket::new(socket)?.with_wishes(wish), at, own))
        }
        Err(Errno::INPROGRESS | Errno::ALREADY) => {
            wish(&socket);
            let stream = TcpStream::from_std(socket.into())?;
            stream.writable().await?;
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            let (at, own) = ends(&stream, at);
            Ok((stream.into(), at, own))
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Wishes, which the system need not grant: that what it keeps for the peer is bounded, and that a small call
/// does not wait for the acknowledgement of the one before.
fn wish(socket: &OwnedFd) {
    let _ = sockopt::set_socket_send_buffer_size(socket, SEND_BUFFER as usize);
    let _ = sockopt::set_tcp_nodelay(socket, true);
}

fn address(asked: rustix::io::Result<SocketAddrAny>) -> Option<SocketAddr> {
    asked.ok()?.try_into().ok()
}

/// Where a connection to `at` leads, and which address it has here.
fn ends(socket: impl AsFd, at: SocketAddr) -> (SocketAddr, Option<SocketAddr>) {
    let own = address(getsockname(&socket));
    // Who dials 0.0.0.0 reaches another address; any other is what was dialled.
    match at.ip().is_unspecified() {
        true => {
            let peer = getpeername(&socket).and_then(|peer| peer.ok_or(Errno::NOTCONN));
            (address(peer).unwrap_or(at), own)
        }
        false => (at, own),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// A listener, and somebody who has connected to it.
    async fn pair() -> (Inner, std::net::TcpStream) {
        let inner = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = inner.local_addr().unwrap();
        let inner = listener(inner).unwrap();
        (inner, std::net::TcpStream::connect(here).unwrap())
    }

    const SOON: Duration = Duration::from_millis(100);
    const LATE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn who_comes_is_let_in_with_the_first_word() {
        let (listener, mut client) = pair().await;
        assert!(timeout(SOON, accept(&listener)).await.is_err(), "too soon");
        client.write_all(b"hello").unwrap();
        let (_, from, _) = timeout(LATE, accept(&listener)).await.unwrap().unwrap();
        assert_eq!(from, client.local_addr().unwrap());
    }

    #[tokio::test]
    async fn who_says_nothing_is_let_in_all_the_same_and_so_is_who_leaves() {
        let (listener, client) = pair().await;
        let came = timeout(LATE, accept(&listener)).await.unwrap();
        assert_eq!(came.unwrap().1, client.local_addr().unwrap());
        let here = client.peer_addr().unwrap();
        drop(std::net::TcpStream::connect(here).unwrap());
        timeout(LATE, accept(&listener)).await.unwrap().unwrap();
    }
}
