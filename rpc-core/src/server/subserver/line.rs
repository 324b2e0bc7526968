//! The line between the main process and a subserver: descriptor 0 of the latter.
//!
//! A pair of sockets that keeps messages apart and carries descriptors. Where a sandbox refuses it,
//! there are no sockets to be handed over either, and a pipe in the same manner does, one way. Both
//! ends are of one program, so what arrives is trusted; what cannot be read all the same ends the
//! line.

use std::future::pending;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::transport::{Letter, Passage};

/// What the main process asks of a subserver.
#[derive(Debug)]
pub(crate) enum Order {
    /// Serve this client.
    Serve(Passage),
    /// Hand what clients call on over these pipes.
    Trunk {
        /// The end to read from.
        reader: OwnedFd,
        /// The end to write to.
        writer: OwnedFd,
    },
    /// Serve the client at the other end of this socket among others.
    Client {
        socket: OwnedFd,
        /// What it is called between the two processes.
        number: u64,
    },
    /// Tell the client at the other end of this socket why it is not served.
    TurnAway {
        socket: OwnedFd,
        /// The reason, as the two processes number them.
        reason: u64,
    },
    /// Take no new calls, finish those that run, and end.
    Drain,
}

/// What a subserver tells the main process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The client has said hello.
    Agreed,
}

const SERVE_SOCKET: u8 = b'S';
const SERVE_PAIR: u8 = b'P';
const TRUNK: u8 = b'T';
const CLIENT: u8 = b'C';
const TURN_AWAY: u8 = b'X';
const DRAIN: u8 = b'D';
const AGREED: u8 = b'A';

/// The most bytes of a message, which is what enters a pipe whole: a path and a record.
const MESSAGE_MAX: usize = 4096;

/// The main process's end.
pub(crate) enum Line {
    /// Both ways, with descriptors.
    Sockets(UnixStream),
    /// To the subserver only.
    Pipe(OwnedFd),
}

impl Line {
    /// A new line, and its other end.
    ///
    /// # Errors
    /// The system's: no descriptor is left.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        match socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None) {
            Ok((ours, theirs)) => {
                // Of this end alone: a subserver has a thread that waits for its orders.
                rustix::io::ioctl_fionbio(&ours, true)?;
                Ok((Self::Sockets(UnixStream::from_std(ours.into())?), theirs))
            }
            Err(error @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(error.into()),
            Err(_) => Self::pipe(),
        }
    }

    fn pipe() -> io::Result<(Self, OwnedFd)> {
        // Reads give one write each.
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        Ok((Self::Pipe(ours), theirs))
    }

    /// Gives an order. It waits in the line until the subserver looks.
    ///
    /// # Errors
    /// The subserver is gone, or does not look at its orders; or a socket cannot be handed over.
    pub(crate) fn order(&self, order: &Order) -> io::Result<()> {
        let mut message = Vec::new();
        let mut descriptors = Vec::new();
        match order {
            Order::Serve(Passage::Socket(socket)) => {
                message.push(SERVE_SOCKET);
                descriptors.push(socket.as_fd());
            }
            Order::Trunk { reader, writer } => {
                message.push(TRUNK);
                descriptors.extend([reader.as_fd(), writer.as_fd()]);
            }
            Order::Client { socket, number } => {
                message.push(CLIENT);
                message.extend(number.to_le_bytes());
                descriptors.push(socket.as_fd());
            }
            Order::TurnAway { socket, reason } => {
                message.push(TURN_AWAY);
                message.extend(reason.to_le_bytes());
                descriptors.push(socket.as_fd());
            }
            Order::Serve(Passage::Pair(letter)) => {
                message.push(SERVE_PAIR);
                message.extend(letter.to_bytes());
            }
            Order::Drain => message.push(DRAIN),
        }
        if message.len() > MESSAGE_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match self {
            Self::Sockets(socket) => send(socket.as_fd(), &message, &descriptors),
            Self::Pipe(pipe) if descriptors.is_empty() => match rustix::io::write(pipe, &message) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.into()),
            },
            Self::Pipe(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// As [`order`](Self::order), and waits where the line is full. Cancel safe.
    ///
    /// # Errors
    /// The subserver is gone; or a socket cannot be handed over.
    pub(crate) async fn order_in_turn(&self, order: &Order) -> io::Result<()> {
        match self {
            Self::Sockets(socket) => {
                socket
                    .async_io(Interest::WRITABLE, || self.order(order))
                    .await
            }
            Self::Pipe(_) => self.order(order),
        }
    }

    /// Whether anything is ever reported over it.
    pub(crate) fn hears(&self) -> bool {
        matches!(self, Self::Sockets(_))
    }

    /// Waits for what the subserver has to say; `None` when it has hung up. Cancel safe.
    ///
    /// # Errors
    /// The system's; the line is of no use then.
    pub(crate) async fn report(&self) -> io::Result<Option<Report>> {
        let Self::Sockets(socket) = self else {
            return pending().await;
        };
        let receive = || receive(socket);
        match socket.async_io(Interest::READABLE, receive).await? {
            Some((message, _)) if message == [AGREED] => Ok(Some(Report::Agreed)),
            Some(_) => Err(io::ErrorKind::InvalidData.into()),
            None => Ok(None),
        }
    }
}

/// Waits, blocking, for the next order over a subserver's end of the line; `None` when the main
/// process is gone.
pub(crate) fn next_order(line: &OwnedFd) -> io::Result<Option<Order>> {
    let Some((message, descriptors)) = receive(line)? else {
        return Ok(None);
    };
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
    let order = match (message.split_first(), descriptors) {
        (Some((&SERVE_SOCKET, [])), [Some(socket), None]) => {
            Some(Order::Serve(Passage::Socket(socket)))
        }
        (Some((&SERVE_PAIR, letter)), [None, None]) => {
            Letter::from_bytes(letter).map(|letter| Order::Serve(Passage::Pair(letter)))
        }
        (Some((&TRUNK, [])), [Some(reader), Some(writer)]) => Some(Order::Trunk { reader, writer }),
        (Some((&CLIENT, bytes)), [Some(socket), None]) => {
            number(bytes).map(|number| Order::Client { socket, number })
        }
        (Some((&TURN_AWAY, bytes)), [Some(socket), None]) => {
            number(bytes).map(|reason| Order::TurnAway { socket, reason })
        }
        (Some((&DRAIN, [])), [None, None]) => Some(Order::Drain),
        _ => None,
    };
    order
        .map(Some)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Tells the main process something, if the line goes that way.
pub(crate) fn report(line: &OwnedFd, report: Report) -> io::Result<()> {
    let Report::Agreed = report;
    send(line.as_fd(), &[AGREED], &[])
}

/// The most descriptors in one message.
const DESCRIPTORS: usize = 2;

/// What arrived at once.
type Received = (Vec<u8>, [Option<OwnedFd>; DESCRIPTORS]);

fn send(line: BorrowedFd<'_>, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        // The space is for as many.
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    // A subserver that is gone is an error and no signal.
    let flags = SendFlags::NOSIGNAL;
    loop {
        match sendmsg(line, &[IoSlice::new(message)], &mut ancillary, flags) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn receive(line: impl AsFd) -> io::Result<Option<Received>> {
    let mut message = vec![0; MESSAGE_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        let mut into = [IoSliceMut::new(&mut message)];
        let received = recvmsg(&line, &mut into, &mut ancillary, RecvFlags::CMSG_CLOEXEC);
        let received = match received {
            Err(Errno::NOTSOCK) => rustix::io::read(&line, &mut message),
            received => received.map(|received| received.bytes),
        };
        match received {
            Ok(length) => break length,
            Err(Errno::INTR) => {}
            // The other end was closed with something unread in it.
            Err(Errno::CONNRESET) => break 0,
            Err(error) => return Err(error.into()),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    message.truncate(length);
    let mut descriptors = [None, None];
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            for (place, descriptor) in descriptors.iter_mut().zip(received) {
                *place = Some(descriptor);
            }
        }
    }
    Ok(Some((message, descriptors)))
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
        line.order(&Order::Serve(Passage::Socket(theirs.into())))
            .unwrap();
        line.order(&Order::Drain).unwrap();
        let Some(Order::Serve(Passage::Socket(client))) = next_order(&end).unwrap() else {
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

    /// Where a sandbox refuses sockets.
    #[tokio::test]
    async fn a_pipe_carries_what_needs_no_descriptor() {
        let (line, end) = Line::pipe().unwrap();
        assert!(!line.hears());
        line.order(&Order::Drain).unwrap();
        line.order(&Order::Drain).unwrap();
        assert!(matches!(next_order(&end).unwrap(), Some(Order::Drain)));
        assert!(matches!(next_order(&end).unwrap(), Some(Order::Drain)));
        let (_ours, theirs) = StdStream::pair().unwrap();
        let refused = line.order(&Order::Serve(Passage::Socket(theirs.into())));
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::Unsupported);
        drop(line);
        assert!(next_order(&end).unwrap().is_none());
    }
}
