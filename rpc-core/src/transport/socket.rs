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
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send, sendmsg, shutdown,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A connected socket, which the runtime would have as an `S`.
pub(super) struct Socket<S>(State<S>);

enum State<S> {
    /// Watched for what arrives.
    Light(Light),
    /// A stream of the runtime's, from the first time that there was no room to write, or that
    /// somebody brought memory to read to that holds nothing yet, which only the runtime can do
    /// without filling it. Either is a sign of large messages, beside which it costs nothing.
    Full(S),
    /// It could not become one, which was told.
    Gone,
}

struct Light {
    socket: Watched,
    /// Who waits for what arrives.
    reader: Option<Waker>,
}

/// A stream of the runtime's.
pub(super) trait Stream: AsyncRead + AsyncWrite + AsFd + Unpin {
    /// Takes over a socket that is connected and set not to block. Must be called within a tokio
    /// runtime.
    fn new(socket: OwnedFd) -> io::Result<Self>
    where
        Self: Sized;
}

impl Stream for TcpStream {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        Self::from_std(socket.into())
    }
}

/// A listener, which is only ever read from.
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
        let mut ready = listener.readable().await?;
        // No further await: what was accepted must be returned.
        match accept(ready.get_inner()) {
            Err(Errno::AGAIN) => ready.clear_ready(),
            accepted => return accepted.map_err(io::Error::from),
        }
    }
}

impl<S: Stream> Socket<S> {
    /// Takes over a socket that is connected and set not to block. Must be called within a tokio
    /// runtime.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = watch(socket)?;
        let reader = None;
        Ok(Self(State::Light(Light { socket, reader })))
    }

    /// The stream of the runtime's that this is from now on.
    fn full(&mut self) -> io::Result<Pin<&mut S>> {
        if let State::Light(_) = self.0 {
            self.grow()?;
        }
        match &mut self.0 {
            State::Full(stream) => Ok(Pin::new(stream)),
            State::Light(_) | State::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn grow(&mut self) -> io::Result<()> {
        let State::Light(light) = mem::replace(&mut self.0, State::Gone) else {
            return Ok(());
        };
        self.0 = State::Full(S::new(light.socket.into_inner())?);
        // The runtime has forgotten who waits.
        if let Some(reader) = light.reader {
            reader.wake();
        }
        Ok(())
    }

    /// The system's name for it.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            State::Light(light) => Some(light.socket.as_fd()),
            State::Full(stream) => Some(stream.as_fd()),
            State::Gone => None,
        }
    }

    /// Writes, if there is room and the runtime need not be asked for it.
    fn write_now(
        &self,
        write: impl FnOnce(&OwnedFd) -> Result<usize, Errno>,
    ) -> Option<io::Result<usize>> {
        let State::Light(light) = &self.0 else {
            return None;
        };
        match write(light.socket.get_ref()) {
            Err(Errno::AGAIN) => None,
            written => Some(written.map_err(io::Error::from)),
        }
    }
}

impl<S> From<S> for Socket<S> {
    fn from(stream: S) -> Self {
        Self(State::Full(stream))
    }
}

impl<S: Stream> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let is_filled = buffer.initialized().len() == buffer.capacity();
        let this = &mut *self;
        let Light { socket, reader } = match &mut this.0 {
            State::Light(light) if is_filled => light,
            _ => return this.full()?.poll_read(cx, buffer),
        };
        loop {
            let Poll::Ready(ready) = socket.poll_read_ready(cx) else {
                if !reader.as_ref().is_some_and(|own| own.will_wake(cx.waker())) {
                    *reader = Some(cx.waker().clone());
                }
                return Poll::Pending;
            };
            let mut ready = ready?;
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
}

impl<S: Stream> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.write_now(|socket| send(socket, bytes, SendFlags::NOSIGNAL)) {
            Some(written) => Poll::Ready(written),
            None => self.full()?.poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut nothing = SendAncillaryBuffer::default();
        match self.write_now(|socket| sendmsg(socket, slices, &mut nothing, SendFlags::NOSIGNAL)) {
            Some(written) => Poll::Ready(written),
            None => self.full()?.poll_write_vectored(cx, slices),
        }
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
mod tests {
    use std::future::{Future as _, poll_fn};
    use std::net::TcpListener;
    use std::pin::pin;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Two ends of a connection.
    fn pair() -> (Socket<TcpStream>, Socket<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (theirs, _) = listener.accept().unwrap();
        let [ours, theirs] = [ours, theirs].map(|stream| {
            stream.set_nonblocking(true).unwrap();
            Socket::new(stream.into()).unwrap()
        });
        (ours, theirs)
    }

    /// Reads to memory that is filled, as the task of a connection reads what is small.
    async fn read(socket: &mut Socket<TcpStream>, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(bytes);
        poll_fn(|cx| Pin::new(&mut *socket).poll_read(cx, &mut buffer)).await?;
        Ok(buffer.filled().len())
    }

    fn is_light(socket: &Socket<TcpStream>) -> bool {
        matches!(socket.0, State::Light(_))
    }

    #[tokio::test]
    async fn small_messages_go_both_ways_and_the_end_is_seen() {
        let (mut ours, mut theirs) = pair();
        let mut bytes = [0; 16];
        for round in 0..100u8 {
            // Nothing is waited for, from the first time on.
            let mut nobody = Context::from_waker(Waker::noop());
            let written = pin!(ours.write(&[round; 5])).poll(&mut nobody);
            assert!(matches!(written, Poll::Ready(Ok(5))), "{written:?}");
            assert_eq!(read(&mut theirs, &mut bytes).await.unwrap(), 5);
            assert_eq!(bytes[..5], [round; 5]);
            let number = [round];
            let slices = [IoSlice::new(&number), IoSlice::new(b"ok")];
            assert_eq!(theirs.write_vectored(&slices).await.unwrap(), 3);
            assert_eq!(read(&mut ours, &mut bytes).await.unwrap(), 3);
            assert_eq!(bytes[..3], [round, b'o', b'k']);
        }
        theirs.shutdown().await.unwrap();
        assert_eq!(read(&mut ours, &mut bytes).await.unwrap(), 0);
        assert_eq!(ours.write(b"still").await.unwrap(), 5);
        assert_eq!(read(&mut theirs, &mut bytes).await.unwrap(), 5);
        assert!(is_light(&ours) && is_light(&theirs));
        drop(ours);
        assert_eq!(read(&mut theirs, &mut bytes).await.unwrap(), 0);
    }

    /// What arrives is read by another task than the one that finds no room to write.
    #[tokio::test]
    async fn who_waits_to_read_is_not_forgotten_when_there_is_no_room_to_write() {
        let (ours, mut theirs) = pair();
        let (mut reader, mut writer) = tokio::io::split(ours);
        let reading = tokio::spawn(async move {
            let mut bytes = [0; 5];
            reader.read_exact(&mut bytes).await.unwrap();
            bytes
        });
        tokio::task::yield_now().await;
        const LEN: usize = 16 * 1024 * 1024;
        let writing = tokio::spawn(async move {
            writer.write_all(&vec![7; LEN]).await.unwrap();
            writer
        });
        tokio::task::yield_now().await;
        assert!(!writing.is_finished(), "there is room for everything");
        theirs.write_all(b"hello").await.unwrap();
        assert_eq!(&reading.await.unwrap(), b"hello");
        let mut all = Vec::with_capacity(LEN);
        while all.len() < LEN {
            theirs.read_buf(&mut all).await.unwrap();
        }
        assert!(all.iter().all(|&byte| byte == 7));
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error() {
        let (mut ours, theirs) = pair();
        ours.write_all(b"unread").await.unwrap();
        drop(theirs);
        let mut bytes = [0; 16];
        let error = read(&mut ours, &mut bytes).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let error = ours.write(b"hello").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
