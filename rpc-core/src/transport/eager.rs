//! A socket that was just connected: it is written to before the runtime knows that it can be.
//!
//! The runtime lets a stream write once the system has said that there is room, and for a new one it
//! has not asked yet. There always is, so that waiting would cost each connection a look at all
//! events between connecting and its first bytes.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream over a socket that is set not to block, and whose first write asks nobody.
pub(super) struct Eager<S> {
    stream: S,
    is_fresh: bool,
}

impl<S> Eager<S> {
    pub(super) fn new(stream: S) -> Self {
        let is_fresh = true;
        Self { stream, is_fresh }
    }
}

impl<S: AsFd> Eager<S> {
    /// Writes for the first time. `None` where the system takes nothing, or it is not the first time.
    fn write_first(&mut self, bytes: &[u8]) -> Option<io::Result<usize>> {
        if !std::mem::take(&mut self.is_fresh) {
            return None;
        }
        match send(&self.stream, bytes, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN | Errno::INTR) => None,
            written => Some(written.map_err(io::Error::from)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Eager<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + AsFd + Unpin> AsyncWrite for Eager<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(written) = self.write_first(bytes) {
            return Poll::Ready(written);
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        if let Some(written) = first.and_then(|first| self.write_first(first)) {
            return Poll::Ready(written);
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future as _, poll_fn};
    use std::pin::pin;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;

    use super::*;

    /// A connected pair, whose first end the runtime has never looked at.
    fn pair() -> (Eager<UnixStream>, UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (
            Eager::new(UnixStream::from_std(ours).unwrap()),
            UnixStream::from_std(theirs).unwrap(),
        )
    }

    #[tokio::test]
    async fn the_first_write_waits_for_nothing() {
        let (mut ours, mut theirs) = pair();
        let mut nobody = Context::from_waker(Waker::noop());
        let written = pin!(ours.write(b"hello")).poll(&mut nobody);
        assert!(matches!(written, Poll::Ready(Ok(5))), "{written:?}");
        let mut said = [0; 5];
        theirs.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"hello");
    }

    #[tokio::test]
    async fn a_full_socket_is_waited_for() {
        let (ours, mut theirs) = pair();
        // Somebody else has filled it.
        while send(&ours.stream, &[0; 4096], SendFlags::NOSIGNAL).is_ok() {}
        let mut ours = ours;
        let writing = tokio::spawn(async move {
            let slices = [IoSlice::new(&[]), IoSlice::new(b"!")];
            let written = poll_fn(|cx| Pin::new(&mut ours).poll_write_vectored(cx, &slices));
            written.await.unwrap()
        });
        tokio::task::yield_now().await;
        assert!(!writing.is_finished(), "there is no room");
        let mut said = vec![0; 1024 * 1024];
        while !said.contains(&b'!') {
            let read = theirs.read(&mut said).await.unwrap();
            said.truncate(read.max(1));
            if !said.contains(&b'!') {
                said = vec![0; 1024 * 1024];
            }
        }
        assert_eq!(writing.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error() {
        let (mut ours, theirs) = pair();
        drop(theirs);
        let error = ours.write(b"hello").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
