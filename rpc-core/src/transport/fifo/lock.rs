//! The lock of a well-known pipe: one server at a time.
//!
//! It is a lock on an open file, so it goes with the process that holds it, however that ends.
//! Clients never take it: a client that did could keep a server from starting.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, ftruncate, openat,
    statat, unlinkat,
};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::access;
use super::directory::with_suffix;
use crate::error::{Code, Error};

/// What is appended to the path of the well-known pipe.
const SUFFIX: &str = ".lock";

/// How long a start waits for a server that is just leaving.
const WAIT: Duration = Duration::from_millis(100);

/// How often it looks again.
const POLL: Duration = Duration::from_millis(5);

/// The right to read a well-known pipe, until dropped.
pub(super) struct Lock {
    path: PathBuf,
    file: OwnedFd,
}

impl Lock {
    /// Takes the lock of the well-known pipe at `pipe`.
    ///
    /// # Errors
    ///
    /// [`Code::InUse`], with the number of the process that holds it.
    pub(super) async fn acquire(pipe: &Path) -> Result<Self, Error> {
        let path = with_suffix(pipe, SUFFIX);
        let begin = Instant::now();
        loop {
            let file = open(&path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // The holder before us removed the file, and then let the lock go that we have now:
                // it locks nothing any more.
                Ok(()) if !is_at(&file, &path) => continue,
                Ok(()) => {
                    let lock = Self { path, file };
                    lock.sign().map_err(super::bind_error)?;
                    return Ok(lock);
                }
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if begin.elapsed() < WAIT => sleep(POLL).await,
                Err(Errno::WOULDBLOCK) => return Err(in_use(&file)),
                Err(error) => return Err(super::bind_error(error.into())),
            }
        }
    }

    /// Writes down who holds it, for people and for the error of who comes next.
    fn sign(&self) -> io::Result<()> {
        ftruncate(&self.file, 0)?;
        let text = format!("{}\n", std::process::id());
        rustix::io::pwrite(&self.file, text.as_bytes(), 0)?;
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The name goes first, while the lock is held: who has the file open already finds that it
        // has no name any more, and starts over with a new one.
        if is_at(&self.file, &self.path) {
            let _ = unlinkat(CWD, &self.path, AtFlags::empty());
        }
    }
}

/// Whether `path` is the name of this open file.
fn is_at(file: &OwnedFd, path: &Path) -> bool {
    let same = |a: &Stat, b: &Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
    let found = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW);
    matches!((fstat(file), found), (Ok(file), Ok(found)) if same(&file, &found))
}

fn open(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Should it be a pipe or a device, nobody is waited for.
    let flags = flags | OFlags::NONBLOCK;
    let file = openat(CWD, path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| super::bind_error(error.into()))?;
    let stat = fstat(&file).map_err(|error| super::bind_error(error.into()))?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file || stat.st_uid != access::own_user() {
        let path = path.display();
        let text = format!("{path} is not a lock that this user has made");
        return Err(Error::new(Code::Denied, text)
            .with_hint("remove it if nobody needs it, or choose another path"));
    }
    Ok(file)
}

fn in_use(file: &OwnedFd) -> Error {
    /// A number and the end of the line.
    const TEXT_MAX: usize = 16;
    let mut text = [0; TEXT_MAX];
    let count = rustix::io::pread(file, &mut text, 0).unwrap_or(0);
    let holder = text
        .get(..count)
        .and_then(|text| std::str::from_utf8(text).ok())
        .and_then(|text| text.trim().parse::<u32>().ok());
    let text = match holder {
        Some(pid) => format!("process {pid} serves this well-known pipe"),
        None => "another process serves this well-known pipe".into(),
    };
    Error::new(Code::InUse, text).with_hint("stop it first, or choose another path")
}
