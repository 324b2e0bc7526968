//! Unix sockets as the runtime has them.

use std::io;
use std::path::Path;

use tokio::net::{UnixListener, UnixStream};

use crate::transport::Identity;

/// What the bytes go over.
pub(in crate::transport) type Stream = UnixStream;

/// What connections come out of.
pub(super) type Inner = UnixListener;

pub(super) fn listener(listener: UnixListener) -> io::Result<Inner> {
    Ok(listener)
}

/// The next connection, and who is at the other end. Cancel safe.
pub(super) async fn accept(listener: &Inner) -> io::Result<(Stream, Option<Identity>)> {
    // No further await: what was accepted must be returned.
    let (stream, _) = listener.accept().await?;
    Ok(connected(stream))
}

/// A connection, and who is at the other end.
pub(super) async fn connect(name: &Path) -> io::Result<(Stream, Option<Identity>)> {
    Ok(connected(UnixStream::connect(name).await?))
}

fn connected(stream: UnixStream) -> (Stream, Option<Identity>) {
    let identity = stream.peer_cred().ok().map(|credentials| {
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
        Identity::process(credentials.uid(), credentials.gid(), pid)
    });
    (stream, identity)
}
