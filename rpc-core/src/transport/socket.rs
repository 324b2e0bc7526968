//! A socket that the runtime watches for what arrives, and for room to write only once a write has found
//! none.
//!
//! The runtime's own streams are watched for both from the first moment, when there is room and
//! nothing to read: each end of each connection is woken once to hear so, and one that was just
//! connected is not written to before.

use std::io::{self, IoSlice};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tokio::task::consume_budget;

/// A connected socket, which the runtime would have as an `S`.
pub(super) struct Socket<S> {
    state: State<S>,
    /// Who waits for what arrives.
    reader: Option<Waker>,
    /// What is to be asked of the system from the second write on.
    wishes: Option<Wishes>,
    /// One write was made, or more.
    has_spoken: bool,
}

/// Asks the system for something that matters between one write and the next: who has but one thing to say
/// needs none of it.
pub(super) type Wishes = fn(&OwnedFd);

enum State<S> {
    /// Watched for what arrives.
    Light {
        socket: Watched,
        /// It was just accepted, and most likely holds what the peer said first: that is read before
        /// the runtime knows.
        is_fresh: bool,
    },
    /// A stream of the runtime's, from when there was no room to write, or somebody brought memory to
    /// read to that holds nothing yet, which only the runtime can do without filling it. Either is a
    /// sign of large messages, beside which it costs nothing.
    Full {
        stream: S,
        /// So many writes have found room since the last such sign.
        calm: u32,
    },
    /// It could not become what it should, for this reason.
    Gone(io::Error),
}

/// A stream of the runtime's.
pub(super) trait Stream: AsyncRead + AsyncWrite + AsFd + Unpin {
    /// Takes over a socket that is connected and set not to block. Must be called within a tokio
    /// runtime.
    fn new(socket: OwnedFd) -> io::Result<Self>
    where
        Self: Sized;

    /// The socket, which the runtime forgets.
    fn into_socket(self) -> io::Result<OwnedFd>;
}

impl Stream for TcpStream {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        Self::from_std(socket.into())
    }

    fn into_socket(self) -> io::Result<OwnedFd> {
        Ok(self.into_std()?.into())
    }
}

impl Stream for UnixStream {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        Self::from_std(socket.into())
    }

    fn into_socket(self) -> io::Result<OwnedFd> {
        Ok(self.into_std()?.into())
    }
}

/// A socket that the runtime watches for what arrives alone, or a listener.
pub(super) type Watched = AsyncFd<OwnedFd>;

/// Has the runtime tell when there is something to read. Must be called within a tokio runtime.
#[allow(
    deprecated,
    reason = "its successor is unsafe; what is asked of its caller, the type `OwnedFd` promises"
)]
pub(super) fn watch(socket: OwnedFd) -> io::Result<Watched> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// What `accept` takes out of the listener, which says that there is nothing. Cancel safe.
pub(super) async fn next<T>(
    listener: &Watched,
    mut accept: impl FnMut(&OwnedFd) -> Result<T, Errno>,
) -> io::Result<T> {
    loop {
        // A flood of clients must not keep all other tasks from their turns.
        consume_budget().await;
        let mut ready = listener.readable().await?;
        // No further await: what was accepted must be returned.
        match accept(ready.get_inner()) {
            Err(Errno::AGAIN) => ready.clear_ready(),
            Ok(accepted) => {
                if is_drained(ready.get_inner()) {
                    ready.clear_ready();
                }
                return Ok(accepted);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether nobody is left to be accepted. Linux makes the socket and its file before it looks whether
/// there is somebody for them, so that this question costs an eighth of an `accept` in vain, with which
/// every accept of a single client would end.
fn is_drained(listener: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut asked, Some(&Timespec::default())) == Ok(0)
}

impl<S: Stream> Socket<S> {
    /// After so many writes that found room it is light again: seldom enough that the change, two system
    /// calls, costs nothing beside them.
    const CALM: u32 = 64;

    /// What the system takes in one call: its `UIO_MAXIOV`.
    const SLICES_MAX: usize = 1024;

    /// Takes over a socket that is connected and set not to block. Must be called within a tokio
    /// runtime.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        Self::light(socket, false)
    }

    /// The same for one that came out of a listener.
    pub(super) fn accepted(socket: OwnedFd) -> io::Result<Self> {
        Self::light(socket, true)
    }

    /// With something that is to be asked of the system.
    pub(super) fn with_wishes(mut self, wishes: Wishes) -> Self {
        self.wishes = Some(wishes);
        self
    }

    fn light(socket: OwnedFd, is_fresh: bool) -> io::Result<Self> {
        let socket = watch(socket)?;
        Ok(Self::of(State::Light { socket, is_fresh }))
    }

    fn of(state: State<S>) -> Self {
        Self {
            state,
            reader: None,
            wishes: None,
            has_spoken: false,
        }
    }

    /// Asks for what is wished, if it has not been asked for.
    fn make_wishes(&mut self) {
        if let (Some(wishes), State::Light { socket, .. }) = (self.wishes.take(), &self.state) {
            wishes(socket.get_ref());
        }
    }

    /// The stream of the runtime's that this is from now on, for a large message.
    fn full(&mut self) -> io::Result<Pin<&mut S>> {
        if let State::Light { .. } = self.state {
            self.make_wishes();
            self.change(|state| {
                let socket = state.into_socket()?;
                let stream = S::new(socket)?;
                Ok(State::Full { stream, calm: 0 })
            });
        }
        match &mut self.state {
            State::Full { stream, calm } => {
                *calm = 0;
                Ok(Pin::new(stream))
            }
            State::Light { .. } => Err(io::ErrorKind::NotConnected.into()),
            State::Gone(why) => Err(again(why)),
        }
    }

    /// Becomes light if it has been calm for long. Elsewhere than in a runtime it stays what it is.
    fn rest(&mut self) {
        let is_calm = matches!(self.state, State::Full { calm, .. } if calm >= Self::CALM);
        if is_calm && Handle::try_current().is_ok() {
            self.change(|state| {
                let socket = watch(state.into_socket()?)?;
                let is_fresh = false;
                Ok(State::Light { socket, is_fresh })
            });
        }
    }

    /// Becomes something else. The runtime forgets who waits, so that it is told now.
    fn change(&mut self, into: impl FnOnce(State<S>) -> io::Result<State<S>>) {
        let before = State::Gone(io::ErrorKind::NotConnected.into());
        let before = mem::replace(&mut self.state, before);
        self.state = into(before).unwrap_or_else(State::Gone);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// The system's name for it.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Light { socket, .. } => Some(socket.as_fd()),
            State::Full { stream, .. } => Some(stream.as_fd()),
            State::Gone(_) => None,
        }
    }

    /// Reads to memory that is filled.
    fn poll_read_filled(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (socket, is_fresh) = match &mut self.state {
            State::Light { socket, is_fresh } => (socket, is_fresh),
            State::Full { stream, .. } => return Pin::new(stream).poll_read(cx, buffer),
            State::Gone(why) => return Poll::Ready(Err(again(why))),
        };
        if mem::take(is_fresh) {
            let room = buffer.initialize_unfilled();
            match recv(socket.get_ref(), room, RecvFlags::empty()) {
                Ok((read, _)) => {
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                // The system says it once.
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
        loop {
            let mut ready = ready!(socket.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            match recv(ready.get_inner(), &mut *room, RecvFlags::empty()) {
                Ok((read, _)) => {
                    // Less than there was room for is all that there was.
                    if 0 < read && read < room.len() {
                        ready.clear_ready();
                    }
                    buffer.advance(read);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(errno) => return Poll::Ready(Err(errno.into())),
            }
        }
    }

    /// Writes up to `len` bytes: by itself, if there is room and the runtime need not be asked for it.
    fn poll_write_up_to(
        &mut self,
        len: usize,
        write: impl FnOnce(&OwnedFd) -> Result<usize, Errno>,
        poll_write: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.rest();
        if self.wishes.is_some() && mem::replace(&mut self.has_spoken, true) {
            self.make_wishes();
        }
        match &mut self.state {
            State::Light { socket, .. } => match write(socket.get_ref()) {
                Err(Errno::AGAIN) => poll_write(self.full()?),
                written => Poll::Ready(written.map_err(io::Error::from)),
            },
            State::Full { stream, calm } => {
                let polled = poll_write(Pin::new(stream));
                match &polled {
                    Poll::Ready(Ok(written)) if *written == len => *calm = calm.saturating_add(1),
                    _ => *calm = 0,
                }
                polled
            }
            State::Gone(why) => Poll::Ready(Err(again(why))),
        }
    }

    /// Whoever polls waits for what arrives.
    fn wait(&mut self, cx: &Context<'_>) {
        let own = self.reader.as_ref();
        if !own.is_some_and(|own| own.will_wake(cx.waker())) {
            self.reader = Some(cx.waker().clone());
        }
    }
}

impl<S: Stream> State<S> {
    /// The socket, which the runtime forgets.
    fn into_socket(self) -> io::Result<OwnedFd> {
        match self {
            Self::Light { socket, .. } => Ok(socket.into_inner()),
            Self::Full { stream, .. } => stream.into_socket(),
            Self::Gone(why) => Err(why),
        }
    }
}

/// The same error once more.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => error.kind().into(),
    }
}

impl<S: Stream> From<S> for Socket<S> {
    fn from(stream: S) -> Self {
        Self::of(State::Full { stream, calm: 0 })
    }
}

impl<S: Stream> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = match buffer.initialized().len() == buffer.capacity() {
            true => self.poll_read_filled(cx, buffer),
            false => self.full()?.poll_read(cx, buffer),
        };
        if polled.is_pending() {
            self.wait(cx);
        }
        polled
    }
}

impl<S: Stream> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_up_to(
            bytes.len(),
            |socket| send(socket, bytes, SendFlags::NOSIGNAL),
            |stream| stream.poll_write(cx, bytes),
        )
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let slices = slices.get(..Self::SLICES_MAX).unwrap_or(slices);
        let len = slices.iter().map(|slice| slice.len()).sum();
        let mut nothing = SendAncillaryBuffer::default();
        self.poll_write_up_to(
            len,
            |socket| sendmsg(socket, slices, &mut nothing, SendFlags::NOSIGNAL),
            |stream| stream.poll_write_vectored(cx, slices),
        )
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = self.descriptor() else {
            return Poll::Ready(Ok(()));
        };
        Poll::Ready(shutdown(socket, Shutdown::Write).map_err(io::Error::from))
    }
}

#[cfg(test)]
mod tests;
