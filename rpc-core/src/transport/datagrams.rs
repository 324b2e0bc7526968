//! What carries datagrams, and who may come in by them.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

/// Datagrams to and from one peer: each arrives whole, or more than once, or not at all, in any
/// order.
pub trait Datagrams: Send + 'static {
    /// Waits for the next datagram. One that the system cut off is not handed out.
    ///
    /// # Errors
    ///
    /// [`ConnectionRefused`](io::ErrorKind::ConnectionRefused) where the system says that nobody
    /// receives what was sent; [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) once nothing can come
    /// any more; anything else may pass.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>;

    /// Sends a datagram, now or not at all: what the system has no room for counts as lost.
    ///
    /// # Errors
    ///
    /// As of [`poll_receive`](Self::poll_receive). An error may be that of a datagram before.
    fn send(&mut self, datagram: &[u8]) -> io::Result<()>;
}

/// Tells a listener of datagrams which of them come from clients. Anybody can write any address on a
/// datagram, so nothing may be kept for one before this.
pub trait Gate: Send + 'static {
    /// Looks at a datagram and keeps nothing of it. What is to be sent back is appended to `answer`,
    /// which is never longer than the datagram. Once a listener is no longer `open`, nobody new is
    /// let in.
    fn examine(
        &mut self,
        from: SocketAddr,
        open: bool,
        datagram: &[u8],
        answer: &mut Vec<u8>,
    ) -> Examined;

    /// How long a client that is gone must be remembered, counted from when it came.
    fn memory(&self) -> Duration;
}

/// What a [`Gate`] says of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Examined {
    /// It is for nobody; the answer is due.
    Nobody,
    /// It comes from the client of this id, which receives what is sent to its address.
    #[non_exhaustive]
    Client {
        /// Distinguishes the clients at one address.
        id: u64,
        /// Whether the client may be a new one. Where it may not, and is not known, the answer is
        /// due.
        fresh: bool,
    },
}

impl Examined {
    /// A client that has proved to be at its address.
    pub fn client(id: u64, fresh: bool) -> Self {
        Self::Client { id, fresh }
    }
}
