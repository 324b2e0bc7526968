//! Who may connect: the modes and owners of the files, and how each side checks them.

use rustix::fs::{FileType, Mode, Stat};
use rustix::process::geteuid;

/// Whose processes may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Those of the server's own user.
    User,
    /// Those of this group, too.
    Group(u32),
}

/// All bits of a mode that are not the file's type.
const MODE_BITS: u32 = 0o7777;

/// In the directory of a group everybody may make a name, and nobody may list those that are there
/// or remove those of others; what is made there belongs to the group.
const GROUP_DIRECTORY: u32 = 0o3730;

impl Access {
    /// The mode of the directory in which clients make their pipes.
    pub(super) fn directory(self) -> Mode {
        Mode::from_raw_mode(match self {
            Self::User => 0o700,
            Self::Group(_) => GROUP_DIRECTORY,
        })
    }

    /// The mode of the well-known pipe: clients write, and the server alone reads.
    pub(super) fn well_known_pipe(self) -> Mode {
        Mode::from_raw_mode(match self {
            Self::User => 0o600,
            Self::Group(_) => 0o620,
        })
    }

    /// The mode of a pair of pipes.
    pub(super) fn pair(self) -> Mode {
        Mode::from_raw_mode(match self {
            Self::User => 0o600,
            Self::Group(_) => 0o660,
        })
    }

    /// What the mode of a directory says; `None` if it is none that a server makes.
    pub(super) fn of_directory(stat: &Stat) -> Option<Self> {
        match stat.st_mode & MODE_BITS {
            0o700 => Some(Self::User),
            GROUP_DIRECTORY => Some(Self::Group(stat.st_gid)),
            _ => None,
        }
    }

    /// Why the server must not speak over a file that it has opened under the name of a client's
    /// pipe; `None` if it may.
    pub(super) fn objection(self, stat: &Stat) -> Option<&'static str> {
        let (others, is_allowed) = match self {
            Self::User => (0o077, stat.st_uid == geteuid().as_raw()),
            Self::Group(group) => (0o007, stat.st_gid == group),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
            Some("it is no pipe")
        } else if !is_allowed {
            Some("it belongs to somebody who may not connect")
        } else if stat.st_mode & others != 0 {
            Some("others may open it")
        } else {
            None
        }
    }
}

/// The user as whom this process makes files.
pub(super) fn own_user() -> u32 {
    geteuid().as_raw()
}
