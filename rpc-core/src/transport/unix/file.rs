//! The file of a Unix socket.
//!
//! It outlives a process that was killed, so a path where nobody listens is taken over. A path
//! where somebody listens never is: starting and taking over happen under a lock on the directory,
//! and a file is removed only after its inode was seen to be the dead one.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, sleep};

use super::bind_error;
use crate::error::{Code, Error};

/// How long a starting server waits for another that starts in the same directory. Each holds the
/// lock for well under a millisecond, so who waits longer waits for something that is stuck.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// How often it looks whether the directory is free.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// The file of a socket that this process listens at; removed when dropped, if it is still ours.
///
/// Must be dropped before the listener: while that is open, nobody can have taken the path over
/// lawfully, and between looking and removing nothing changes.
pub(super) struct SocketFile {
    path: PathBuf,
    id: FileId,
}

impl SocketFile {
    /// Listens at `path`, which may be left over from a process that is gone.
    pub(super) async fn bind(path: &Path) -> Result<(Self, UnixListener), Error> {
        let lock = DirectoryLock::acquire(path.parent().unwrap_or(path)).await?;
        let listener = match UnixListener::bind(path) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                remove_stale(path, &lock).await?;
                UnixListener::bind(path)
            }
            other => other,
        }
        .map_err(bind_error)?;
        let id = FileId::of(path).map_err(bind_error)?;
        Ok((
            Self {
                path: path.to_owned(),
                id,
            },
            listener,
        ))
    }
}

impl SocketFile {
    /// Lets everybody connect who comes as far as the file.
    #[cfg(target_os = "linux")]
    pub(super) fn open_to_everybody(&self) -> Result<(), Error> {
        use std::os::fd::AsRawFd as _;

        use rustix::fs::{Mode, OFlags, open};

        // By a descriptor of it, so that what somebody may have put in its place stays as it is.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = open(&self.path, flags, Mode::empty()).map_err(io::Error::from);
        let file: File = file.map_err(bind_error)?.into();
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let found = file.metadata().map_err(bind_error)?;
        let found = FileId {
            device: found.dev(),
            inode: found.ino(),
        };
        if found != self.id {
            return Err(bind_error(ErrorKind::AddrInUse.into()));
        }
        fs::set_permissions(by_descriptor, Permissions::from_mode(EVERYBODY)).map_err(bind_error)
    }

    /// Lets everybody connect who comes as far as the file.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn open_to_everybody(&self) -> Result<(), Error> {
        fs::set_permissions(&self.path, Permissions::from_mode(EVERYBODY)).map_err(bind_error)
    }
}

/// The mode of a socket that everybody may connect to.
const EVERYBODY: u32 = 0o666;

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another file was put here by hand, and is not ours to remove.
        if FileId::of(&self.path).is_ok_and(|found| found == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// Makes room for a socket at a path that is taken, if whoever took it is gone.
async fn remove_stale(path: &Path, lock: &DirectoryLock) -> Result<(), Error> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        // Its owner removed it in this moment.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(bind_error(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(Error::new(
            Code::InUse,
            "the path is taken by something that is no socket",
        )
        .with_hint("remove it by hand if nobody needs it, or choose another path"));
    }
    let stale = FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    };
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(Error::new(
                Code::Denied,
                "the path is taken by a socket of another user",
            )
            .with_hint("choose another path")
            .with_source(error));
        }
        // It answers, its queue is full, or it is a socket of another kind: somebody is there.
        _ => return Err(bind_error(ErrorKind::AddrInUse.into())),
    }
    if !lock.is_held {
        return Err(Error::new(
            Code::InUse,
            "the path is left over from a process that is gone, and this file system has no lock \
             under which it could be taken over safely",
        )
        .with_hint("remove the file by hand"));
    }
    if FileId::of(path).is_ok_and(|found| found == stale) {
        fs::remove_file(path).map_err(bind_error)?;
    }
    Ok(())
}

/// The right to bring up a socket in a directory. A socket that is bound but does not listen yet
/// looks like a dead one, so both steps are taken under this lock.
struct DirectoryLock {
    /// The lock goes when this is closed.
    _directory: Option<File>,
    /// Some file systems have no locks, and some directories may be written but not opened.
    is_held: bool,
}

impl DirectoryLock {
    async fn acquire(directory: &Path) -> Result<Self, Error> {
        let file = match File::open(directory) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Ok(Self {
                    _directory: None,
                    is_held: false,
                });
            }
            Err(error) => return Err(bind_error(error)),
        };
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    return Ok(Self {
                        _directory: Some(file),
                        is_held: true,
                    });
                }
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => sleep(LOCK_POLL).await,
                Err(error @ Errno::WOULDBLOCK) => {
                    return Err(Error::new(
                        Code::InUse,
                        format!("another process holds the lock on {}", directory.display()),
                    )
                    .with_hint("use a directory that belongs to the service alone")
                    .with_source(io::Error::from(error)));
                }
                Err(Errno::INTR) => {}
                Err(_) => {
                    return Ok(Self {
                        _directory: Some(file),
                        is_held: false,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixListener as StdListener};

    use super::*;
    use crate::transport::tests::TempPath;

    async fn bind(path: &TempPath) -> Result<(SocketFile, UnixListener), Error> {
        SocketFile::bind(path.as_ref()).await
    }

    /// What a killed server leaves behind: a file at which nobody listens.
    fn leave_stale(path: &TempPath) {
        drop(StdListener::bind(path).unwrap());
        assert!(path.as_ref().exists());
    }

    #[tokio::test]
    async fn row_47_a_stale_socket_is_taken_over() {
        let path = TempPath::new();
        leave_stale(&path);
        let (_file, listener) = bind(&path).await.unwrap();
        let (client, server) = tokio::join!(UnixStream::connect(&path), listener.accept());
        client.unwrap();
        server.unwrap();
    }

    #[tokio::test]
    async fn row_47_a_live_owner_is_never_unlinked() {
        let path = TempPath::new();
        let (_file, owner) = bind(&path).await.unwrap();
        let error = bind(&path).await.err().unwrap();
        assert_eq!(error.code(), Code::InUse);

        // The first connection is the other server's look at who is there.
        owner.accept().await.unwrap();
        let (client, server) = tokio::join!(UnixStream::connect(&path), owner.accept());
        client.unwrap();
        server.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn row_47_of_many_that_take_over_at_once_one_wins_and_is_reachable() {
        for _ in 0..20 {
            let path = TempPath::new();
            leave_stale(&path);
            let starts: Vec<_> = (0..8)
                .map(|_| {
                    let path = path.as_ref().to_owned();
                    tokio::spawn(async move { SocketFile::bind(&path).await })
                })
                .collect();
            let mut winners = Vec::new();
            for start in starts {
                match start.await.unwrap() {
                    Ok(listener) => winners.push(listener),
                    Err(error) => assert_eq!(error.code(), Code::InUse, "{error}"),
                }
            }
            assert_eq!(winners.len(), 1);
            UnixStream::connect(&path).await.unwrap();
        }
    }

    /// Without this, a server between binding and listening would be taken for a dead one.
    #[tokio::test(start_paused = true)]
    async fn row_47_who_starts_waits_for_who_is_starting() {
        let directory = TempPath::new();
        fs::create_dir(&directory).unwrap();
        let path = directory.as_ref().join("socket");

        let other = DirectoryLock::acquire(directory.as_ref()).await.unwrap();
        let error = SocketFile::bind(&path).await.err().unwrap();
        assert_eq!(error.code(), Code::InUse);
        assert!(error.to_string().contains(directory.as_str()), "{error}");
        assert!(!path.exists());

        drop(other);
        let bound = SocketFile::bind(&path).await.unwrap();
        drop(bound);
        fs::remove_dir(&directory).unwrap();
    }

    #[tokio::test]
    async fn the_file_goes_when_dropped() {
        let path = TempPath::new();
        let bound = bind(&path).await.unwrap();
        assert!(path.as_ref().exists());
        drop(bound);
        assert!(!path.as_ref().exists());
    }

    #[tokio::test]
    async fn the_file_of_another_stays() {
        let path = TempPath::new();
        let bound = bind(&path).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _other = StdListener::bind(&path).unwrap();
        drop(bound);
        assert!(path.as_ref().exists());
    }

    #[tokio::test]
    async fn what_is_no_stream_socket_stays() {
        let path = TempPath::new();
        fs::write(&path, "precious").unwrap();
        let error = bind(&path).await.err().unwrap();
        assert_eq!(error.code(), Code::InUse);
        assert!(error.to_string().contains("no socket"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");

        let path = TempPath::new();
        let _datagram = UnixDatagram::bind(&path).unwrap();
        assert_eq!(bind(&path).await.err().unwrap().code(), Code::InUse);
        assert!(path.as_ref().exists());

        let path = TempPath::new();
        std::os::unix::fs::symlink("/nonexistent/target", &path).unwrap();
        assert_eq!(bind(&path).await.err().unwrap().code(), Code::InUse);
        assert!(fs::symlink_metadata(&path).is_ok());
    }
}
