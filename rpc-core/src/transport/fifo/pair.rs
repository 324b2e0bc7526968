//! A pair of pipes: one up to the server, one down to the client.
//!
//! The order in which the ends are opened is what makes an end of file mean death, always. The
//! client opens each pipe so that it has a reader before anybody writes: `up` to read (a stand-in
//! for the server), `up` to write, `down` to read. The server then opens `down` to write and `up` to
//! read; if there is no reader, the client is gone. Once the server is there, the client closes its
//! stand-in.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::fstat;
use rustix::io::Errno;

use super::directory::{Directory, End, Way};
use super::record::{Id, Nonce, Record};
use crate::transport::Identity;
use crate::transport::duplex::Duplex;

/// The ends of a server.
pub(crate) struct Pair {
    up: OwnedFd,
    down: OwnedFd,
    /// Whose pipes they are.
    pub(crate) identity: Identity,
}

impl Pair {
    /// Opens the pair that a record names, removes its names, and says the nonce. It waits for
    /// nothing: what a client writes before its record is there already.
    ///
    /// # Errors
    ///
    /// The client is gone, or the files are not what a client makes; the names are removed. Only
    /// when this process is out of descriptors they stay, and it may be tried again.
    pub(crate) fn open(directory: &Directory, record: &Record) -> io::Result<Self> {
        let opened = Self::open_ends(directory, &record.id);
        if !matches!(&opened, Err(error) if super::is_exhausted(error)) {
            directory.remove(&record.id);
        }
        let pair = opened?;
        pair.check_nameless()?;
        pair.greet(&record.nonce)?;
        Ok(pair)
    }

    /// Checks that both pipes lost their last name. Another's pipe that was linked to a client's name
    /// keeps its own, whatever is swapped when; how many names there were before proves nothing,
    /// because a link that is just being replaced is found and not counted.
    fn check_nameless(&self) -> io::Result<()> {
        for pipe in [&self.down, &self.up] {
            if fstat(pipe)?.st_nlink != 0 {
                let text = "a pipe has another name besides";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
        }
        Ok(())
    }

    fn open_ends(directory: &Directory, id: &Id) -> io::Result<Self> {
        let (down, owner) = directory.open(id, Way::Down, End::Writing)?;
        // While a writer is there, a reader that comes is told when the last one goes. Without it a
        // client that dies in this moment would not be noticed: the system tells nothing to who has
        // never met a writer.
        let (writer, _) = directory.open(id, Way::Up, End::Writing)?;
        let (up, same) = directory.open(id, Way::Up, End::Reading)?;
        drop(writer);
        if owner != same {
            let text = "the two pipes have different owners";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let (uid, gid) = owner;
        Ok(Self {
            up,
            down,
            identity: Identity::process(uid, gid, None),
        })
    }

    /// Checks that the client's pipe begins with the nonce of its record, and begins the other with
    /// it. Both are new, so neither can be full or empty.
    fn greet(&self, nonce: &Nonce) -> io::Result<()> {
        let mut said = [0; 16];
        let count = rustix::io::read(&self.up, &mut said)?;
        if count != said.len() || said != nonce.0 {
            let text = "the pipe does not begin with the nonce of the record";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        match rustix::io::write(&self.down, &nonce.0)? {
            16 => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    /// The pair as a stream. Must run within a tokio runtime.
    pub(crate) fn into_stream(self) -> io::Result<Duplex> {
        Duplex::new(self.up, self.down)
    }
}

/// The ends of a client, and the names under which the server finds the others.
pub(super) struct ClientPair {
    pub(super) up: OwnedFd,
    pub(super) down: OwnedFd,
    pub(super) names: Names,
}

impl ClientPair {
    /// Makes both pipes, opens them, and writes the nonce.
    ///
    /// # Errors
    ///
    /// What the system says; the names are removed.
    pub(super) fn make(directory: Arc<Directory>, record: &Record) -> io::Result<Self> {
        let id = record.id;
        let stand_in = directory.make_pipe(&id, Way::Up)?;
        let names = Names {
            directory: Arc::clone(&directory),
            id,
            stand_in: Some(stand_in),
        };
        let (up, _) = directory.open(&id, Way::Up, End::Writing)?;
        let down = directory.make_pipe(&id, Way::Down)?;
        match rustix::io::write(&up, &record.nonce.0) {
            Ok(16) => Ok(Self { up, down, names }),
            result => Err(result.err().unwrap_or(Errno::PIPE).into()),
        }
    }
}

/// The names of a pair that the server has not opened yet; removed when dropped.
pub(super) struct Names {
    directory: Arc<Directory>,
    id: Id,
    /// Keeps what is written up from meeting no reader, and tells the server's sweeper that this
    /// client lives.
    stand_in: Option<OwnedFd>,
}

impl Names {
    /// The server has both ends, and has removed the names.
    pub(super) fn are_gone(mut self) {
        self.stand_in = None;
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        if self.stand_in.is_some() {
            self.directory.remove(&self.id);
        }
    }
}
