//! A directory of a test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// An empty directory that nobody else uses; removed with everything in it when dropped.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Makes the directory. Its path is short, because the path of a Unix socket has to be.
    ///
    /// # Panics
    /// It cannot be made.
    #[expect(clippy::new_without_default, reason = "it makes something on the disk")]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rpc-{}-{number}", std::process::id()));
        // What a process of the same number left behind.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path }
    }

    /// The path of `name` in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The address of a well-known pipe called `name` in the directory.
    pub fn fifo(&self, name: &str) -> String {
        format!("fifo:{}", self.file(name).display())
    }

    /// The address of a Unix socket called `name` in the directory.
    pub fn unix(&self, name: &str) -> String {
        format!("unix:{}", self.file(name).display())
    }
}

/// Whether other users may enter directories that are made here. Where they may not, it says so.
///
/// # Panics
/// The directory for temporary files is not there.
#[cfg(unix)]
pub fn others_may_enter() -> bool {
    use std::os::unix::fs::PermissionsExt as _;

    let here = fs::canonicalize(std::env::temp_dir()).expect("there are temporary files");
    let closed = here.ancestors().find(|directory| {
        let mode = fs::metadata(directory).map_or(0, |found| found.permissions().mode());
        mode & 0o001 == 0
    });
    if let Some(closed) = closed {
        let closed = closed.display();
        println!("!!! SKIPPED: other users may not enter {closed}; set TMPDIR to where they may");
    }
    closed.is_none()
}

impl AsRef<Path> for TempDir {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
