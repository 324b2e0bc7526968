//! `pipe:`: the two pipes that whoever started this process gave it as descriptors 0 and 1. Knows
//! nothing of how the process was started, and nothing of what is said.
//!
//! There is no way to write to a pipe without the signal SIGPIPE, as there is for sockets
//! (`MSG_NOSIGNAL`): a write to a pipe whose reader is gone ends a process that does not ignore it.
//! Rust programs ignore it from their first line on, so that the write fails with EPIPE and the
//! connection ends with an error. A program of another language that embeds this one must do the
//! same before the first connection, with `signal(SIGPIPE, SIG_IGN)`.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use rustix::fs::{FileType, Mode, OFlags};
use tokio::sync::oneshot;

use super::duplex::Duplex;
use super::{Conduit, Connector, Identity, Listener, Peer};
use crate::error::{Code, Error};

const ADDRESS: &str = "pipe:";

impl Conduit {
    /// A connection over two pipes: `reader` is what the peer writes to, `writer` what it reads
    /// from. For a program that makes the pipes itself and gives the other ends to a process that
    /// it starts; that one says [`pipe:`](super::Address::Pipe), or whatever finds the descriptors. Must be
    /// called within a tokio runtime.
    ///
    /// A program that is not written in Rust must ignore SIGPIPE before: see
    /// [`Address::Pipe`](super::Address::Pipe).
    ///
    /// # Errors
    /// One of the two is no pipe or is open in the other direction, or the system has no room for
    /// two more descriptors to watch.
    pub fn over_pipes(
        reader: impl Into<OwnedFd>,
        writer: impl Into<OwnedFd>,
        peer: Peer,
    ) -> io::Result<Self> {
        Ok(Self::new(stream(reader.into(), writer.into())?, peer))
    }
}

/// Two pipes as a stream.
pub(super) fn stream(reader: OwnedFd, writer: OwnedFd) -> io::Result<Duplex> {
    for (fd, wrong) in [(&reader, OFlags::WRONLY), (&writer, OFlags::RDONLY)] {
        if !is_pipe(fd.as_fd())? {
            return Err(invalid("it is not a pipe"));
        }
        if rustix::fs::fcntl_getfl(fd)? & OFlags::RWMODE == wrong {
            return Err(invalid("the pipe is open in the other direction"));
        }
        rustix::io::ioctl_fionbio(fd, true)?;
    }
    Duplex::new(reader, writer)
}

fn is_pipe(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let stat = rustix::fs::fstat(fd)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// Whether the descriptors have been taken: there is one pair, and one life of it.
static TAKEN: Mutex<bool> = Mutex::new(false);

/// Takes descriptors 0 and 1 away for good. From then on 0 reads nothing (`/dev/null`) and 1 is the
/// standard error, so that a `println!` cannot come between the bytes of the connection. `kept` is
/// dropped with the connection.
fn inherited<K: Send + Unpin + 'static>(kept: K) -> Result<Conduit, Error> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if *taken {
        let error = Error::new(Code::InUse, "the inherited descriptors are taken already");
        return Err(error
            .with_hint("a process has one pair of them, for one server or one channel")
            .with_address(ADDRESS));
    }
    let (stream, peer) = take().map_err(|error| {
        Error::new(
            Code::InvalidAddress,
            "the standard input and output are not the pipes of a parent that speaks to this \
             process",
        )
        .with_hint("start the program by `exec:`, or by `spawn` of a client")
        .with_source(error)
        .with_address(ADDRESS)
    })?;
    *taken = true;
    Ok(Conduit::new(stream.keeping(kept), peer))
}

fn take() -> io::Result<(Duplex, Peer)> {
    use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout};

    let reader = rustix::io::fcntl_dupfd_cloexec(stdin(), ABOVE_STANDARD)?;
    let writer = rustix::io::fcntl_dupfd_cloexec(stdout(), ABOVE_STANDARD)?;
    // Nothing has changed yet if these are no pipes.
    let owner = rustix::fs::fstat(&reader)?;
    let answers = rustix::fs::fstat(&writer)?;
    let stream = stream(reader, writer)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
    dup2_stdin(&null)?;
    // `2>&1` would lead every line of the log into the connection.
    if rustix::fs::fstat(stderr())
        .is_ok_and(|log| (log.st_dev, log.st_ino) == (answers.st_dev, answers.st_ino))
    {
        dup2_stderr(&null)?;
    }
    dup2_stdout(stderr()).or_else(|_| dup2_stdout(&null))?;
    // The kernel notes who made a pipe. Which process holds the other end it does not.
    let identity = Identity::process(owner.st_uid, owner.st_gid, None);
    let peer = Peer::new(ADDRESS).with_local(true).with_identity(identity);
    Ok((stream, peer))
}

/// Whether nobody is left who could write to the inherited pipe.
pub(crate) fn is_deserted() -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    let stdin = rustix::stdio::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::empty())];
    let polled = poll(&mut fds, Some(&Timespec::default()));
    polled.is_ok() && fds.iter().any(|fd| fd.revents().contains(PollFlags::HUP))
}

/// The first number that is not of a standard descriptor.
const ABOVE_STANDARD: i32 = 3;

/// Opens the one connection.
pub(super) struct PipeConnector;

#[async_trait]
impl Connector for PipeConnector {
    async fn connect(&self) -> Result<Conduit, Error> {
        inherited(())
    }

    fn address(&self) -> &str {
        ADDRESS
    }

    fn is_lasting(&self) -> bool {
        false
    }
}

/// Hands out the one connection, and is of no use when that has ended.
pub(crate) struct PipeListener {
    conduit: Option<Conduit>,
    /// Resolves when the connection is dropped.
    ended: oneshot::Receiver<()>,
}

impl PipeListener {
    /// Takes the inherited descriptors. `kept` is dropped with the connection.
    pub(crate) fn inherit<K: Send + Unpin + 'static>(kept: K) -> Result<Self, Error> {
        let (connection, ended) = oneshot::channel::<()>();
        Ok(Self {
            conduit: Some(inherited((connection, kept))?),
            ended,
        })
    }
}

#[async_trait]
impl Listener for PipeListener {
    async fn accept(&mut self) -> io::Result<Conduit> {
        match self.conduit.take() {
            Some(conduit) => Ok(conduit),
            None => {
                let _ = (&mut self.ended).await;
                let text = "the one connection over the inherited pipes has ended";
                Err(io::Error::new(io::ErrorKind::NotConnected, text))
            }
        }
    }

    fn address(&self) -> String {
        ADDRESS.to_owned()
    }
}
