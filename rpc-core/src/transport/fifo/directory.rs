//! The directory beside the well-known pipe, in which clients make their pairs.
//!
//! Everything in it is reached by names that this file makes of 128-bit numbers, beneath a
//! descriptor of the directory: no text of a peer ever becomes part of a path.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, fchmod, fchown, fstat, mkdirat,
    mkfifoat, openat, openat2, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::Gid;

use super::access::{self, Access};
use super::record::Id;
use crate::error::{Code, Error};

/// What is appended to the path of the well-known pipe.
const SUFFIX: &str = ".d";

/// The name that the well-known pipe has in here while its server takes nobody.
pub(super) const SUSPENDED: &str = "wkp";

/// Names that are looked at in one go. Ten times the sessions of a user: more of them can only be
/// there if somebody means harm, and then looking must not take long.
const NAMES_MAX: usize = 8_192;

/// Which of the two pipes of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// Which end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Reading,
    Writing,
}

/// An open directory of pairs.
pub(crate) struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
    access: Access,
}

/// Its place beside the well-known pipe.
pub(super) fn beside(pipe: &Path) -> PathBuf {
    with_suffix(pipe, SUFFIX)
}

/// `path` with `suffix` at its end; unlike an extension it replaces nothing.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl Directory {
    /// Makes the directory of a server, or takes over the one that a server of this user left, and
    /// removes what clients of that one left in it.
    ///
    /// # Errors
    ///
    /// It belongs to somebody else, or the system forbids it.
    pub(super) fn make(pipe: &Path, access: Access) -> Result<Self, Error> {
        let path = beside(pipe);
        match mkdirat(CWD, &path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(super::bind_error(error.into())),
        }
        let descriptor = open_directory(&path, OFlags::RDONLY).map_err(super::bind_error)?;
        let own = Self {
            descriptor,
            path,
            access,
        };
        let stat = fstat(&own).map_err(|error| super::bind_error(error.into()))?;
        if stat.st_uid != access::own_user() {
            let path = own.path.display();
            let text = format!("the directory {path} belongs to user {}", stat.st_uid);
            return Err(Error::new(Code::Denied, text)
                .with_hint("remove it if nobody needs it, or choose another path"));
        }
        own.set_access().map_err(super::bind_error)?;
        own.clear().map_err(super::bind_error)?;
        Ok(own)
    }

    /// Opens the directory as a client, who may make names in it and perhaps not list them. `owner`
    /// is whose the well-known pipe is.
    pub(super) fn find(pipe: &Path, owner: u32) -> Result<Self, Error> {
        let path = beside(pipe);
        let (descriptor, stat) =
            open_and_stat(&path, OFlags::PATH).map_err(super::connect_error)?;
        let own = access::own_user();
        let denied = |text: String| Error::new(Code::Denied, text);
        if stat.st_uid != owner {
            let found = stat.st_uid;
            return Err(denied(format!(
                "the well-known pipe belongs to user {owner} and its directory to user {found}"
            ))
            .with_hint("do not trust this path"));
        }
        let Some(access) = Access::of_directory(&stat) else {
            let mode = stat.st_mode & 0o7777;
            let path = path.display();
            return Err(denied(format!(
                "the directory {path} has the mode {mode:o}, which no server gives it"
            ))
            .with_hint("do not trust this path"));
        };
        match access {
            Access::User if owner != own => Err(denied(format!(
                "the server runs as user {owner} and takes clients of that user only, not of \
                 user {own}"
            ))
            .with_hint("allow a group on the server, or use a Unix socket")),
            Access::Group(_) if owner != own && owner != 0 && !is_kept(pipe, owner) => {
                Err(denied(format!(
                    "the well-known pipe belongs to user {owner}, and anybody could have put it \
                     there"
                ))
                .with_hint(
                    "keep the pipe in a directory that only root or the user of the server may \
                     write to",
                ))
            }
            _ => Ok(Self {
                descriptor,
                path,
                access,
            }),
        }
    }

    /// Who may connect here.
    pub(super) fn access(&self) -> Access {
        self.access
    }

    /// Makes a pipe and opens it to read.
    pub(super) fn make_pipe(&self, id: &Id, way: Way) -> io::Result<OwnedFd> {
        mkfifoat(self, name(id, way), self.access.pair())?;
        let (pipe, _) = self.open(id, way, End::Reading)?;
        if let Access::Group(_) = self.access {
            // The mode is set past the mask of this process, which cuts off the group.
            fchmod(&pipe, self.access.pair())?;
        }
        Ok(pipe)
    }

    /// Opens an end of a client's pipe without waiting, and looks whose it is: user and group.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it is not there, `ENXIO` if it is to be written and nobody reads it, permission
    /// denied if it is not what a client makes.
    pub(super) fn open(&self, id: &Id, way: Way, end: End) -> io::Result<(OwnedFd, (u32, u32))> {
        let access = match end {
            End::Reading => OFlags::RDONLY,
            End::Writing => OFlags::WRONLY,
        };
        let flags = access | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let pipe = loop {
            match openat2(self, name(id, way), flags, Mode::empty(), resolve) {
                // Somebody renames something, so the kernel cannot tell whether it stays beneath.
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => break opened?,
            }
        };
        let stat = fstat(&pipe)?;
        match self.access.objection(&stat) {
            None => Ok((pipe, (stat.st_uid, stat.st_gid))),
            Some(text) => Err(io::Error::new(io::ErrorKind::PermissionDenied, text)),
        }
    }

    /// Whose pair it is, as far as a look from outside tells.
    pub(super) fn owner(&self, id: &Id) -> io::Result<u32> {
        let stat = statat(self, name(id, Way::Down), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(stat.st_uid)
    }

    /// Removes the names of a pair, as far as they are there.
    pub(super) fn remove(&self, id: &Id) {
        for way in [Way::Down, Way::Up] {
            let _ = unlinkat(self, name(id, way), AtFlags::empty());
        }
    }

    /// The pairs of which at least one name is there.
    pub(super) fn pairs(&self) -> io::Result<HashSet<Id>> {
        let mut pairs = HashSet::new();
        for entry in Dir::read_from(self)?.take(NAMES_MAX) {
            pairs.extend(id(entry?.file_name().to_bytes()));
        }
        Ok(pairs)
    }

    /// Removes the names of all pairs, and the well-known pipe that a suspended server left here.
    pub(super) fn clear(&self) -> io::Result<()> {
        for entry in Dir::read_from(self)? {
            let entry = entry?;
            let found = entry.file_name();
            let is_ours =
                id(found.to_bytes()).is_some() || found.to_bytes() == SUSPENDED.as_bytes();
            if is_ours && entry.file_type() != FileType::Directory {
                let _ = unlinkat(self, found, AtFlags::empty());
            }
        }
        Ok(())
    }

    /// Removes the directory with what clients have made in it.
    pub(super) fn dispose(&self) {
        // A client may make a name in between, and a second look finds it. What is not a client's
        // stays, and with it the directory.
        for _ in 0..2 {
            if self.clear().is_err() || fs::remove_dir(&self.path).is_ok() {
                return;
            }
        }
    }

    fn set_access(&self) -> io::Result<()> {
        if let Access::Group(group) = self.access {
            fchown(self, None, Some(Gid::from_raw(group)))?;
        }
        Ok(fchmod(self, self.access.directory())?)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn open_directory(path: &Path, access: OFlags) -> io::Result<OwnedFd> {
    let flags = access | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

fn open_and_stat(path: &Path, access: OFlags) -> io::Result<(OwnedFd, Stat)> {
    let descriptor = open_directory(path, access)?;
    let stat = fstat(&descriptor)?;
    Ok((descriptor, stat))
}

/// Whether only root or `owner` can have put a file where `pipe` is.
fn is_kept(pipe: &Path, owner: u32) -> bool {
    let parent = pipe.parent().unwrap_or(pipe);
    let stat = statat(CWD, parent, AtFlags::empty());
    stat.is_ok_and(|stat| [0, owner].contains(&stat.st_uid) && stat.st_mode & 0o022 == 0)
}

fn name(id: &Id, way: Way) -> String {
    match way {
        Way::Up => format!("{id}.up"),
        Way::Down => format!("{id}.down"),
    }
}

/// The pair to which a name belongs, if it is one of a pair.
fn id(name: &[u8]) -> Option<Id> {
    let digits = name
        .strip_suffix(b".up")
        .or_else(|| name.strip_suffix(b".down"))?;
    let digits: &[u8; 32] = digits.try_into().ok()?;
    let mut bytes = [0; 16];
    for (byte, digits) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    // One name for one pair: `+f` and capitals read as numbers, too.
    (Id(bytes).to_string().as_bytes() == digits).then_some(Id(bytes))
}
