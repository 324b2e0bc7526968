//! What is said to a child and by it, and how it ended.

use std::future::Future;
use std::io::{self, IoSlice, Write as _};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::process::ExitStatus;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::history::Life;
use crate::process::{Child, ending};
use crate::transport::duplex::Duplex;
use crate::transport::{FIRST_BYTE, pipe};

/// What a child may print before it speaks: 64 KiB, far more than a banner. It goes to the standard
/// error, which may be slow.
const PREAMBLE_MAX: usize = 64 * 1024;

/// How long a child that has closed its standard output may take to end, until its calls are told
/// without its status: an exit takes a fraction of a millisecond, a core dump longer.
const EXIT_MAX: Duration = Duration::from_millis(500);

/// A child's standard input and output.
///
/// Its end is the end of what it said: everything that it wrote is read first, and then reading fails
/// with the words for how it ended. That it holds until its output is empty even if a process that
/// the child started has the other end open still.
///
/// Dropping it closes the child's standard input and leaves it its time of grace.
pub(super) struct ChildStream {
    duplex: Duplex,
    /// Resolves when the child is over. Holds the child, which must outlive its standard input.
    wait: Pin<Box<dyn Future<Output = io::Result<ExitStatus>> + Send>>,
    state: State,
    /// Bytes that came before the first of the connection; `None` once that is here.
    preamble: Option<usize>,
    program: Arc<str>,
    life: Life,
}

enum State {
    /// It lives, as far as anybody knows.
    Alive,
    /// It is over. What it said is being read.
    Over(Arc<str>),
    /// Its output has ended. Its status will be known in a moment.
    Silent(Pin<Box<Sleep>>),
    /// All is read, and reading fails with this from now on.
    Done(Arc<str>),
}

impl ChildStream {
    pub(super) fn new(child: Child, program: Arc<str>, life: Life) -> io::Result<Self> {
        let missing = || io::Error::other("the child has no pipes");
        let reader: OwnedFd = child.stdout().ok_or_else(missing)?.into();
        let writer: OwnedFd = child.stdin().ok_or_else(missing)?.into();
        Ok(Self {
            duplex: pipe::stream(reader, writer)?,
            wait: Box::pin(async move { child.wait().await }),
            state: State::Alive,
            preamble: Some(0),
            program,
            life,
        })
    }

    /// Reads what there is, to the last byte, however many hold the other end.
    fn drain(&self, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        let read = match rustix::io::read(self.duplex.reader(), buffer.initialize_unfilled()) {
            Ok(read) => read,
            // Whoever else has the pipe is not the child.
            Err(rustix::io::Errno::AGAIN) => 0,
            Err(error) => return Err(error.into()),
        };
        buffer.advance(read);
        Ok(read)
    }

    /// The child is over, or its status cannot be had.
    fn note(&mut self, status: io::Result<ExitStatus>) -> Arc<str> {
        let (how, is_failure) = match status {
            Ok(status) => (ending(status), !status.success()),
            Err(error) => (
                format!("ended in a way that the system does not tell: {error}"),
                true,
            ),
        };
        self.life.end(&how, is_failure);
        self.text(&how)
    }

    fn text(&self, how: &str) -> Arc<str> {
        format!("the child `{}` {how}", self.program).into()
    }

    /// Passes on what is no part of the connection. What is left in the buffer is.
    fn strip(&mut self, buffer: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Some(noise) = &mut self.preamble else {
            return Ok(());
        };
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        let begin = fresh.iter().position(|byte| *byte == FIRST_BYTE);
        let (printed, said) = fresh.split_at(begin.unwrap_or(fresh.len()));
        // It is for people; nobody can be told that it got lost.
        let _ = io::stderr().write_all(printed);
        *noise = noise.saturating_add(printed.len());
        let is_flood = *noise > PREAMBLE_MAX;
        let said = said.to_vec();
        buffer.set_filled(before);
        buffer.put_slice(&said);
        if begin.is_some() {
            self.preamble = None;
        } else if is_flood {
            let text = self.text("prints and prints, and does not speak the protocol");
            return Err(io::Error::other(&*text));
        }
        Ok(())
    }

    /// Reads once; an end of the child comes out as an error, after everything else.
    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            match &mut self.state {
                State::Alive => match Pin::new(&mut self.duplex).poll_read(cx, buffer)? {
                    Poll::Ready(()) if buffer.filled().len() > before => {
                        return Poll::Ready(Ok(()));
                    }
                    Poll::Ready(()) => {
                        self.state = State::Silent(Box::pin(tokio::time::sleep(EXIT_MAX)));
                    }
                    Poll::Pending => {
                        let status = ready!(self.wait.as_mut().poll(cx));
                        self.state = State::Over(self.note(status));
                    }
                },
                // The runtime may not know yet what came last, the pipe does.
                State::Over(text) => {
                    let text = Arc::clone(text);
                    match self.drain(buffer) {
                        Ok(1..) => return Poll::Ready(Ok(())),
                        Ok(0) | Err(_) => self.state = State::Done(text),
                    }
                }
                State::Silent(limit) => {
                    let text = match (self.wait.as_mut().poll(cx), limit.as_mut().poll(cx)) {
                        (Poll::Ready(status), _) => self.note(status),
                        (Poll::Pending, Poll::Ready(())) => {
                            self.text("has closed its standard output and goes on")
                        }
                        (Poll::Pending, Poll::Pending) => return Poll::Pending,
                    };
                    self.state = State::Done(text);
                }
                State::Done(text) => return Poll::Ready(Err(io::Error::other(&**text))),
            }
        }
    }
}

impl AsyncRead for ChildStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        loop {
            ready!(self.read(cx, buffer))?;
            self.strip(buffer, before)?;
            // An end of file would be an end of the child, which is an error.
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for ChildStream {
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
