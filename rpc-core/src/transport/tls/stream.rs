//! The bytes of a connection over TLS. At a server the handshake is a part of the first read, so
//! that a client which is slow at it, or silent, is held to the limits of the connection and keeps
//! nobody else waiting.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream as ServerStream;
use tokio_rustls::{Accept, FallibleAccept, TlsStream};

use super::fault::{self, Whose};
use super::trust::Verdict;
use crate::error::Error;
use crate::transport::tcp::Stream;
use crate::transport::{Certificate, Identity};

/// What is known beside the bytes, for the words of a failure.
pub(super) struct Terms {
    /// Which side this is.
    pub(super) us: Whose,
    pub(super) verdict: Arc<Verdict>,
    pub(super) own: Option<Certificate>,
}

impl Terms {
    pub(super) fn explain(&self, error: io::Error) -> Error {
        fault::of_connection(self.us, error, &self.verdict, self.own.as_ref())
    }
}

/// A connection over TLS.
pub(super) struct Secured {
    state: State,
    terms: Terms,
}

enum State {
    Shaking(Box<Shaking>),
    Open(Box<TlsStream<Stream>>),
    Parting(Box<Parting>),
    /// It failed, and that was told.
    Over,
}

/// A server's connection whose client has not proved itself.
struct Shaking {
    accept: FallibleAccept<Stream>,
    /// Where its identity goes.
    proof: Arc<OnceLock<Identity>>,
    at: SocketAddr,
}

/// A handshake that failed. The client is told by an alert, which the system would take back if the
/// socket were closed while something that the client sent is unread.
struct Parting {
    stream: Stream,
    error: Option<io::Error>,
    is_shut: bool,
    until: Pin<Box<Sleep>>,
}

impl Parting {
    /// How long the client has to close first.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// What is read over while it lasts: more than an honest client sends along with its handshake.
    const READS: usize = 64;

    /// Reads over what comes until the client has closed, or the time is over.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if !self.is_shut {
            self.is_shut = Pin::new(&mut self.stream).poll_shutdown(cx).is_ready();
        }
        let over = self.until.as_mut().poll(cx).is_ready();
        let mut scrap = [0; 1024];
        for _ in 0..Self::READS {
            let mut buffer = ReadBuf::new(&mut scrap);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Pending if !over => return Poll::Pending,
                _ => break,
            }
        }
        let error = self.error.take();
        Poll::Ready(error.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into()))
    }
}

impl Secured {
    /// A connection whose handshake is over.
    pub(super) fn open(stream: TlsStream<Stream>, terms: Terms) -> Self {
        Self {
            state: State::Open(Box::new(stream)),
            terms,
        }
    }

    /// A server's connection, whose client is at `at`. Its identity goes into `proof`.
    pub(super) fn shaking(
        accept: Accept<Stream>,
        terms: Terms,
        proof: Arc<OnceLock<Identity>>,
        at: SocketAddr,
    ) -> Self {
        let accept = accept.into_fallible();
        Self {
            state: State::Shaking(Box::new(Shaking { accept, proof, at })),
            terms,
        }
    }

    /// The bytes, once the handshake is over.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TlsStream<Stream>>>> {
        loop {
            match &mut self.state {
                State::Open(_) => break,
                State::Shaking(shaking) => {
                    let shaken = ready!(Pin::new(&mut shaking.accept).poll(cx));
                    self.state = self.shaken(shaken);
                }
                State::Parting(parting) => {
                    let error = ready!(parting.poll(cx));
                    self.state = State::Over;
                    return Poll::Ready(Err(error));
                }
                State::Over => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
        }
        match &mut self.state {
            State::Open(stream) => Poll::Ready(Ok(Pin::new(stream.as_mut()))),
            _ => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// What becomes of the connection when the handshake has ended so.
    fn shaken(&self, shaken: Result<ServerStream<Stream>, (io::Error, Stream)>) -> State {
        let State::Shaking(shaking) = &self.state else {
            return State::Over;
        };
        match shaken {
            Ok(stream) => {
                // Where clients are not asked, or need not answer, nobody was looked at.
                let shown = self.terms.verdict.shown.get().cloned();
                let identity = shown.map_or(Identity::Unknown, Identity::Certificate);
                let _ = shaking.proof.set(identity);
                State::Open(Box::new(stream.into()))
            }
            Err((error, stream)) => {
                let error = self.terms.explain(error);
                // The client learns little from an alert, and often nobody reads it.
                tracing::info!(client = %shaking.at, "{error}");
                State::Parting(Box::new(Parting {
                    stream,
                    error: Some(io::Error::other(error)),
                    is_shut: false,
                    until: Box::pin(sleep(Parting::PATIENCE)),
                }))
            }
        }
    }

    /// A failure after the handshake, in words. A client may hear only now that it was refused.
    fn told<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| match error.get_ref() {
            Some(inner) if inner.is::<rustls::Error>() => {
                io::Error::other(self.terms.explain(error))
            }
            _ => error,
        })
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = match ready!(self.poll_open(cx)) {
            Ok(stream) => stream.poll_read(cx, buffer),
            Err(error) => return Poll::Ready(Err(error)),
        };
        match ready!(polled) {
            // TLS without its own goodbye. The protocol above has one too, and takes an end without
            // it for a loss, so that cutting a connection off gains nobody anything.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
            result => Poll::Ready(self.told(result)),
        }
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = ready!(self.poll_open(cx))?.poll_write(cx, bytes);
        Poll::Ready(self.told(ready!(polled)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = ready!(self.poll_open(cx))?.poll_write_vectored(cx, slices);
        Poll::Ready(self.told(ready!(polled)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = ready!(self.poll_open(cx))?.poll_flush(cx);
        Poll::Ready(self.told(ready!(polled)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Open(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
            // Nothing was said that could still be on its way.
            _ => Poll::Ready(Ok(())),
        }
    }
}
