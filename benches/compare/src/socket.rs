//! Stream sockets under one type: what the peers that bring no transport of their own run on. Knows
//! nothing about what travels in them.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::peers::Place;

/// Bytes that a bounded socket holds: enough for the throughput of loopback.
const SEND_BUFFER: usize = 256 * 1024;

/// A connected stream. On TCP `TCP_NODELAY` is set, for all peers alike.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    /// Connects to a server.
    pub(crate) async fn connect(place: &Place) -> io::Result<Self> {
        Ok(match place {
            Place::Unix(path) => Self::Unix(UnixStream::connect(path).await?),
            Place::Tcp(address) => Self::tcp(TcpStream::connect(address).await?)?,
        })
    }

    /// Bounds what the kernel holds of what was written. On TCP it takes megabytes of its own accord,
    /// and everything small waits behind them.
    pub(crate) fn bound(&self) -> io::Result<()> {
        match self {
            Self::Unix(_) => Ok(()),
            Self::Tcp(stream) => Ok(set_socket_send_buffer_size(stream, SEND_BUFFER)?),
        }
    }

    fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self::Tcp(stream))
    }
}

/// Binds `place`, says where through `ready`, and hands each connection to `serve` for good.
pub(crate) async fn accept(
    place: Place,
    ready: impl FnOnce(Place),
    mut serve: impl FnMut(Socket),
) -> io::Result<Infallible> {
    match place {
        Place::Unix(path) => {
            let listener = UnixListener::bind(&path)?;
            ready(Place::Unix(path));
            loop {
                serve(Socket::Unix(listener.accept().await?.0));
            }
        }
        Place::Tcp(address) => {
            let listener = TcpListener::bind(address).await?;
            ready(Place::Tcp(listener.local_addr()?));
            loop {
                serve(Socket::tcp(listener.accept().await?.0)?);
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
