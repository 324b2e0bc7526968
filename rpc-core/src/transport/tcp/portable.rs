//! The sockets of TCP as the runtime has them.

use std::io;
use std::net::SocketAddr;

use super::socket;

/// What the bytes go over.
pub(in crate::transport) type Stream = tokio::net::TcpStream;

/// What connections come out of.
pub(super) type Inner = tokio::net::TcpListener;

pub(super) fn listener(listener: tokio::net::TcpListener) -> io::Result<Inner> {
    Ok(listener)
}

/// The next connection, where it comes from and which address it came to. Cancel safe.
pub(super) async fn accept(
    listener: &Inner,
) -> io::Result<(Stream, SocketAddr, Option<SocketAddr>)> {
    // No further await: what was accepted must be returned.
    let (stream, at) = listener.accept().await?;
    hurry(&stream);
    let own = stream.local_addr().ok();
    Ok((stream, at, own))
}

/// A connection, where it leads and which address it has here.
pub(super) async fn connect(
    at: SocketAddr,
) -> io::Result<(Stream, SocketAddr, Option<SocketAddr>)> {
    let stream = socket(at)?.connect(at).await?;
    hurry(&stream);
    // Who dials 0.0.0.0 reaches another address; any other is what was dialled.
    let at = match at.ip().is_unspecified() {
        true => stream.peer_addr().unwrap_or(at),
        false => at,
    };
    let own = stream.local_addr().ok();
    Ok((stream, at, own))
}

/// Sees to it that a small call does not wait for the acknowledgement of the one before.
fn hurry(stream: &Stream) {
    // It fails only on a connection that is broken already, which reading will tell.
    let _ = stream.set_nodelay(true);
}
