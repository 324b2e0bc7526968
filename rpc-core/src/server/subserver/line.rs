//! The line between the main process and a subserver: descriptor 0 of the latter.
//!
//! A pair of sockets that keeps messages apart and carries descriptors. Both ends are of one
//! program, so what arrives is trusted; what cannot be read all the same ends the line.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// What the main process asks of a subserver.
#[derive(Debug)]
pub(crate) enum Order {
    /// Serve the client at the other end of this socket.
    Serve(OwnedFd),
    /// Take no new calls, finish those that run, and end.
    Drain,
}

/// What a subserver tells the main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The client has said hello.
    Agreed,
}

const SERVE: u8 = b'S';
const DRAIN: u8 = b'D';
const AGREED: u8 = b'A';

/// The main process's end.
pub(crate) struct Line {
    socket: UnixStream,
}

impl Line {
    /// A new line, and its other end.
    ///
    /// # Errors
    /// The system's: no descriptor is left, or a sandbox refuses pairs of sockets.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        // Of this end alone: a subserver has a thread that waits for its orders.
        rustix::io::ioctl_fionbio(&ours, true)?;
        let socket = UnixStream::from_std(ours.into())?;
        Ok((Self { socket }, theirs))
    }

    /// Gives an order. It waits in the line until the subserver looks.
    ///
    /// # Errors
    /// The subserver is gone, or does not look at its orders.
    pub(crate) fn order(&self, order: &Order) -> io::Result<()> {
        let line = self.socket.as_fd();
        match order {
            Order::Serve(client) => send(line, SERVE, Some(client.as_fd())),
            Order::Drain => send(line, DRAIN, None),
        }
    }

    /// Waits for what the subserver has to say; `None` when it has hung up. Cancel safe.
    ///
    /// # Errors
    /// The system's; the line is of no use then.
    pub(crate) async fn report(&self) -> io::Result<Option<Report>> {
        let receive = || receive(&self.socket);
        match self.socket.async_io(Interest::READABLE, receive).await? {
            Some((AGREED, None)) => Ok(Some(Report::Agreed)),
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
            None => Ok(None),
        }
    }
}

/// Waits, blocking, for the next order over a subserver's end of the line; `None` when the main
/// process is gone.
pub(crate) fn next_order(line: &OwnedFd) -> io::Result<Option<Order>> {
    match receive(line)? {
        Some((SERVE, Some(client))) => Ok(Some(Order::Serve(client))),
        Some((DRAIN, None)) => Ok(Some(Order::Drain)),
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
        None => Ok(None),
    }
}

/// Tells the main process something.
pub(crate) fn report(line: &OwnedFd, report: Report) -> io::Result<()> {
    let Report::Agreed = report;
    send(line.as_fd(), AGREED, None)
}

fn send(line: BorrowedFd<'_>, word: u8, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() {
        // The space is for one.
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    // A subserver that is gone is an error and no signal.
    let flags = SendFlags::NOSIGNAL;
    loop {
        match sendmsg(line, &[IoSlice::new(&[word])], &mut ancillary, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn receive(line: impl AsFd) -> io::Result<Option<(u8, Option<OwnedFd>)>> {
    let mut word = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    loop {
        let mut into = [IoSliceMut::new(&mut word)];
        match recvmsg(&line, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) if received.bytes == 0 => return Ok(None),
            Ok(_) => break,
            Err(Errno::INTR) => {}
            // The other end was closed with something unread in it.
            Err(Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    let mut descriptor = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            descriptor = descriptors.last();
        }
    }
    let [word] = word;
    Ok(Some((word, descriptor)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream as StdStream;

    use super::*;

    #[tokio::test]
    async fn orders_and_descriptors_arrive_in_order() {
        let (line, end) = Line::pair().unwrap();
        let (ours, theirs) = StdStream::pair().unwrap();
        line.order(&Order::Serve(theirs.into())).unwrap();
        line.order(&Order::Drain).unwrap();
        let Some(Order::Serve(client)) = next_order(&end).unwrap() else {
            panic!("the first order is to serve");
        };
        assert!(matches!(next_order(&end).unwrap(), Some(Order::Drain)));
        // It is the same socket, and now the only one.
        StdStream::from(client).write_all(b"!").unwrap();
        let mut heard = String::new();
        (&ours).read_to_string(&mut heard).unwrap();
        assert_eq!(heard, "!");

        report(&end, Report::Agreed).unwrap();
        assert_eq!(line.report().await.unwrap(), Some(Report::Agreed));
    }

    #[tokio::test]
    async fn either_end_sees_the_end_of_the_other() {
        let (line, end) = Line::pair().unwrap();
        drop(line);
        assert!(next_order(&end).unwrap().is_none());

        let (line, end) = Line::pair().unwrap();
        line.order(&Order::Drain).unwrap();
        drop(end);
        assert_eq!(line.report().await.unwrap(), None);
        assert!(line.order(&Order::Drain).is_err());
    }
}
