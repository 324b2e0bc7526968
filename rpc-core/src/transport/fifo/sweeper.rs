//! Removes the pairs of clients that died before the server opened them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::directory::{Directory, End, Way};
use super::is_exhausted;
use super::record::Id;
use crate::transport::spawn;

/// How often it looks. What a dead client left is gone after the second look that finds it, so
/// within 2 s of its death, or 3 s where the machine is busy.
const EVERY: Duration = Duration::from_secs(1);

/// A task that looks after a directory until dropped.
///
/// A client holds its own `up` open to read from before it makes `down` until the server has both,
/// so it is dead if `up` cannot be opened to write. (Asking `down` instead would end a client that
/// lives: it would see a writer come and go.) One that has made `up` and not opened it looks dead as
/// well, so only the second look counts; a client that was stopped right there for so long makes
/// another pair.
pub(super) struct Sweeper(JoinHandle<()>);

impl Sweeper {
    pub(super) fn start(directory: Arc<Directory>) -> Self {
        Self(spawn(Box::pin(async move {
            let mut ticks = interval(EVERY);
            // After a stop of this process, both looks must not follow upon each other.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut suspects = HashSet::new();
            loop {
                ticks.tick().await;
                suspects = sweep(&directory, &suspects);
            }
        })))
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Removes the pairs that look dead for the second time; which do for the first.
fn sweep(directory: &Directory, suspects: &HashSet<Id>) -> HashSet<Id> {
    // Where the directory cannot be read, nothing is removed; the next look may be luckier.
    let pairs = directory.pairs().unwrap_or_default();
    let dead = pairs.into_iter().filter(|id| looks_dead(directory, id));
    let (dead, new): (Vec<_>, Vec<_>) = dead.partition(|id| suspects.contains(id));
    for id in dead {
        tracing::debug!(%id, "removes the pipes of a client that is gone");
        directory.remove(&id);
    }
    new.into_iter().collect()
}

fn looks_dead(directory: &Directory, id: &Id) -> bool {
    match directory.open(id, Way::Up, End::Writing) {
        Ok(_) => false,
        Err(error) if is_exhausted(&error) => false,
        // Nobody reads it, it is not there though `down` is, or it is nothing that a client makes.
        Err(error) => error.raw_os_error() != Some(Errno::INTR.raw_os_error()),
    }
}
