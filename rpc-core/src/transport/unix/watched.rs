//! Unix sockets, with as few system calls and wake-ups as they can be had for.
//!
//! One that the runtime watches for room to write is woken whenever the peer has read what was written:
//! once for each call, which doubles how often the two processes take turns.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, socket_with,
};
use tokio::net::{UnixListener, UnixStream};

use super::credentials;
use crate::transport::Identity;
use crate::transport::socket::{Socket, Watched, next, watch};

/// What the bytes go over.
pub(in crate::transport) type Stream = Socket<UnixStream>;

/// What connections come out of.
pub(super) type Inner = Watched;

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

pub(super) fn listener(listener: UnixListener) -> io::Result<Inner> {
    watch(listener.into_std()?.into())
}

/// The next connection, and who is at the other end. Cancel safe.
pub(super) async fn accept(listener: &Inner) -> io::Result<(Stream, Option<Identity>)> {
    // No further await: what was accepted must be returned.
    let socket = next(listener, |listener| accept_with(listener, FLAGS)).await?;
    let identity = credentials::of_peer(&socket).ok();
    Ok((Socket::accepted(socket)?, identity))
}

/// A connection, and who is at the other end. A socket is connected when the system says so, or not at
/// all: nothing is waited for.
pub(super) async fn connect(name: &Path) -> io::Result<(Stream, Option<Identity>)> {
    let at = match name.as_os_str().as_bytes() {
        [0, name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        _ => SocketAddrUnix::new(name)?,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
    rustix::net::connect(&socket, &at)?;
    connected(socket)
}

/// A connection over a socket that is connected, and who is at the other end.
pub(super) fn connected(socket: OwnedFd) -> io::Result<(Stream, Option<Identity>)> {
    let identity = credentials::of_peer(&socket).ok();
    Ok((Socket::new(socket)?, identity))
}
