//! The well-known pipe, as its server has it: a name that clients know, and the records that come.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fchmod, fstat, mkfifoat, openat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;
use tokio::net::unix::pipe::Receiver;

use super::access::{self, Access};
use super::directory::{Directory, SUSPENDED};
use super::record::{Id, Record, Records};
use crate::error::{Code, Error};

/// An open well-known pipe; its name goes when it is dropped.
pub(crate) struct WellKnownPipe {
    /// Open to write as well, so that there always is a writer: the last client that closes it makes
    /// no end of file.
    pipe: Receiver,
    records: Records,
    path: PathBuf,
    directory: Arc<Directory>,
    /// Which file it is, whatever is at `path`.
    file: Stat,
    is_suspended: bool,
}

impl WellKnownPipe {
    /// Makes the pipe at `path`, in place of one that a server left behind.
    ///
    /// It is made under another name, opened, and only then given its own: no client finds it
    /// without a reader, and a new pipe holds no records that were meant for somebody else.
    ///
    /// # Errors
    ///
    /// The path is taken by something else, or the system forbids it.
    pub(super) fn make(path: &Path, directory: Arc<Directory>) -> Result<Self, Error> {
        check_path(path)?;
        Self::make_at(path, directory).map_err(super::bind_error)
    }

    fn make_at(path: &Path, directory: Arc<Directory>) -> io::Result<Self> {
        // Nobody can have taken a name that nobody can guess.
        let fresh = format!("{}.wkp", Id(super::random()?));
        let access = directory.access();
        mkfifoat(&*directory, &fresh, access.well_known_pipe())?;
        let made = Self::open(&directory, &fresh, access).and_then(|(pipe, file)| {
            renameat(&*directory, &fresh, CWD, path)?;
            Ok((pipe, file))
        });
        let (pipe, file) = made.inspect_err(|_| {
            let _ = unlinkat(&*directory, &fresh, AtFlags::empty());
        })?;
        Ok(Self {
            pipe,
            records: Records::new(),
            path: path.to_owned(),
            directory,
            file,
            is_suspended: false,
        })
    }

    fn open(directory: &Directory, name: &str, access: Access) -> io::Result<(Receiver, Stat)> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let pipe = openat(directory, name, flags, Mode::empty())?;
        // The group is the directory's already; the mask of this process cut the mode.
        fchmod(&pipe, access.well_known_pipe())?;
        let file = fstat(&pipe)?;
        Ok((Receiver::from_owned_fd_unchecked(pipe)?, file))
    }

    /// The next record. Cancel safe.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) async fn record(&mut self) -> io::Result<Record> {
        loop {
            if let Some(record) = self.records.next() {
                return Ok(record);
            }
            let garbage = self.records.take_garbage();
            if garbage > 0 {
                let path = self.path.display();
                tracing::debug!(%path, garbage, "passes over bytes that are no record");
            }
            self.pipe.readable().await?;
            match self.pipe.try_read(self.records.space()) {
                Ok(count) => self.records.filled(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the name away: new clients wait. Records that are here already stay.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        if !self.is_suspended {
            renameat(CWD, &self.path, &*self.directory, SUSPENDED)?;
            self.is_suspended = true;
        }
        Ok(())
    }

    /// Gives the name back.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        if self.is_suspended {
            renameat(&*self.directory, SUSPENDED, CWD, &self.path)?;
            self.is_suspended = false;
        }
        Ok(())
    }
}

impl Drop for WellKnownPipe {
    fn drop(&mut self) {
        // What is in the directory goes with it. Another file at the path was put there by hand.
        let found = statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW);
        let is_ours =
            |found: Stat| (found.st_dev, found.st_ino) == (self.file.st_dev, self.file.st_ino);
        if found.is_ok_and(is_ours) {
            let _ = unlinkat(CWD, &self.path, AtFlags::empty());
        }
    }
}

/// Whether a pipe may be put at `path`: nothing is there, or a pipe that this user left.
fn check_path(path: &Path) -> Result<(), Error> {
    let found = match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        found => found.map_err(|error| super::bind_error(error.into()))?,
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::Fifo {
        let text = "the path is taken by something that is no pipe";
        return Err(Error::new(Code::InUse, text)
            .with_hint("remove it by hand if nobody needs it, or choose another path"));
    }
    if found.st_uid != access::own_user() {
        let text = format!(
            "the path is taken by a pipe that belongs to user {}",
            found.st_uid
        );
        return Err(Error::new(Code::Denied, text).with_hint("choose another path"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
