//! A client's stream, from its record until the server has answered it.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::unix::pipe::Sender;

use super::pair::Names;
use super::record::Nonce;
use crate::error::{Code, Error};
use crate::transport::duplex::Duplex;

/// The two pipes of a client. Nothing is read before the server has said the nonce, which shows that
/// it is the one that reads the well-known pipe.
pub(super) struct ClientStream {
    duplex: Duplex,
    /// Gone with the nonce. Boxed, because most of a stream's life comes after it.
    opening: Option<Box<Opening>>,
}

/// What a client holds until the server is there.
pub(super) struct Opening {
    /// Names and stand-in go once the server has said the nonce.
    names: Names,
    /// The well-known pipe, which fails when nobody reads it any more: the server is dead.
    pipe: Sender,
    nonce: Nonce,
    /// Bytes of the nonce that the server has said.
    said: usize,
}

impl Opening {
    pub(super) fn new(names: Names, pipe: Sender, nonce: Nonce) -> Self {
        Self {
            names,
            pipe,
            nonce,
            said: 0,
        }
    }

    /// Takes in what the server said; whether that was all.
    fn hear(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let rest = self.nonce.0.get(self.said..).unwrap_or_default();
        if bytes.is_empty() {
            let text = "the server went away before it took the connection";
            return Err(io::Error::other(Error::new(Code::Refused, text)));
        }
        if !rest.starts_with(bytes) {
            let text = "somebody opened the pipes who has not read the well-known pipe";
            let error = Error::new(Code::Unauthenticated, text);
            return Err(io::Error::other(error.with_hint("do not trust this path")));
        }
        self.said = self.said.saturating_add(bytes.len());
        Ok(self.said >= self.nonce.0.len())
    }

    /// Bytes of the nonce that are still to come.
    fn left(&self) -> usize {
        self.nonce.0.len().saturating_sub(self.said)
    }

    /// Waits until nobody reads the well-known pipe.
    fn poll_abandoned(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.pipe.poll_write_ready(cx))?;
            // Ready, as was just seen: this only tells for what.
            if ready!(pin!(self.pipe.ready(Interest::WRITABLE)).poll(cx))?.is_write_closed() {
                return Poll::Ready(Ok(()));
            }
            // There is room for a record, and none is to be written. Only what changes matters.
            let _ = self
                .pipe
                .try_io(|| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
    }
}

impl ClientStream {
    pub(super) fn new(duplex: Duplex, opening: Opening) -> Self {
        Self {
            duplex,
            opening: Some(Box::new(opening)),
        }
    }

    /// Waits for the server's nonce.
    fn poll_opened(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(opening) = &mut self.opening else {
            return Poll::Ready(Ok(()));
        };
        let mut bytes = [0; 16];
        loop {
            let bytes = bytes.get_mut(..opening.left()).unwrap_or_default();
            let mut buffer = ReadBuf::new(bytes);
            let heard = match Pin::new(&mut self.duplex).poll_read(cx, &mut buffer)? {
                Poll::Ready(()) => buffer.filled().len(),
                Poll::Pending => {
                    ready!(opening.poll_abandoned(cx))?;
                    // It may have taken this client as the last, and left since: then the nonce is
                    // there, though the word of it has not come. If somebody has the pipe open, it is
                    // not over either.
                    match rustix::io::read(self.duplex.reader(), &mut *bytes) {
                        Err(Errno::AGAIN) => return Poll::Pending,
                        read => read?,
                    }
                }
            };
            if opening.hear(bytes.get(..heard).unwrap_or_default())? {
                break;
            }
        }
        if let Some(opening) = self.opening.take() {
            opening.names.are_gone();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_opened(cx))?;
        Pin::new(&mut self.duplex).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.duplex).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.duplex).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.duplex.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.duplex).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.duplex).poll_shutdown(cx)
    }
}
