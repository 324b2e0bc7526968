//! Two pipes, one each way, as one stream.

mod capacity;

use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe::{Receiver, Sender};

use super::{Conduit, Peer};
use capacity::Capacity;

/// Reads from one pipe and writes to another.
///
/// An end of file means that the other side has closed its writer, an error of writing that it has
/// closed its reader. There is no way to write to a pipe without the signal SIGPIPE, as there is for
/// sockets: Rust programs ignore it, and a program of another language that embeds this one must.
pub(super) struct Duplex<K = ()> {
    reader: Receiver,
    /// Gone after a shutdown: closing it is the only way to end one direction.
    writer: Option<Sender>,
    capacity: Capacity,
    /// What lives as long as the stream; after the pipes, because it may give their place to others.
    _kept: K,
}

impl Duplex {
    /// Reads from `reader` and writes to `writer`, both of which must be pipes and set not to block.
    /// Must be called within a tokio runtime.
    pub(super) fn new(reader: OwnedFd, writer: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            reader: Receiver::from_owned_fd_unchecked(reader)?,
            writer: Some(Sender::from_owned_fd_unchecked(writer)?),
            capacity: Capacity::default(),
            _kept: (),
        })
    }

    /// Keeps something until the stream is dropped.
    pub(super) fn keeping<K>(self, kept: K) -> Duplex<K> {
        Duplex {
            reader: self.reader,
            writer: self.writer,
            capacity: self.capacity,
            _kept: kept,
        }
    }
}

impl Conduit {
    /// A connection over two pipes, both of which must be set not to block. Must be called within a
    /// tokio runtime.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn of_pipes(reader: OwnedFd, writer: OwnedFd, peer: Peer) -> io::Result<Self> {
        Ok(Self::new(Duplex::new(reader, writer)?, peer))
    }
}

impl<K> Duplex<K> {
    /// The pipe that is read from.
    pub(super) fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// The pipe that is written to, with room for `bytes` if that can be.
    fn writer(&mut self, bytes: usize) -> io::Result<Pin<&mut Sender>> {
        match &mut self.writer {
            Some(writer) => {
                self.capacity.suit(writer, bytes);
                Ok(Pin::new(writer))
            }
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl<K: Unpin> AsyncRead for Duplex<K> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}

impl<K: Unpin> AsyncWrite for Duplex<K> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writer(bytes.len())?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.writer(bytes)?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer = None;
        Poll::Ready(Ok(()))
    }
}
