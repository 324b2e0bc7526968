//! How much a pipe holds: more than the system gives it, where that helps.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a pipe holds once it carries large messages: four full chunks, so that a writer need not
/// stop after each.
const LARGE: usize = 256 * 1024;

/// What waits to be written when a pipe counts as one that carries large messages: as much as a new
/// pipe holds.
const MUCH: usize = 64 * 1024;

/// Pipes of this process that are large at a time. Linux counts the pages of a user's pipes: 16 of
/// 64 pages and 800 of 16 are below the 16,384 from which on new pipes get 2.
const LARGE_MAX: usize = 16;

/// Pipes that are large now.
static LARGE_NOW: AtomicUsize = AtomicUsize::new(0);

/// The room in one pipe.
#[derive(Default)]
pub(super) struct Capacity(State);

#[derive(Default, PartialEq, Eq)]
enum State {
    /// As the system made it.
    #[default]
    Plain,
    /// Large, and counted.
    Large,
    /// The system gives no more.
    Fixed,
}

impl Capacity {
    /// So many bytes wait to be written to `pipe`, which this is the capacity of.
    pub(super) fn suit(&mut self, pipe: &impl AsFd, bytes: usize) {
        if bytes < MUCH || self.0 != State::Plain {
            return;
        }
        let claim = |now| (now < LARGE_MAX).then_some(now + 1);
        if LARGE_NOW
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim)
            .is_err()
        {
            // A later message may find a place.
            return;
        }
        self.0 = State::Large;
        if !enlarge(pipe) {
            *self = Self(State::Fixed);
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn enlarge(pipe: &impl AsFd) -> bool {
    rustix::pipe::fcntl_setpipe_size(pipe, LARGE).is_ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn enlarge(_: &impl AsFd) -> bool {
    false
}

impl Drop for Capacity {
    fn drop(&mut self) {
        if self.0 == State::Large {
            LARGE_NOW.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use rustix::pipe::{fcntl_getpipe_size, pipe};

    use super::*;

    /// In one test, because the count is that of the process; other tests may hold some of them.
    #[test]
    fn a_pipe_grows_with_its_messages_and_only_so_many_do() {
        let mut pipes: Vec<_> = (0..LARGE_MAX + 4)
            .map(|_| (pipe().unwrap(), Capacity::default()))
            .collect();
        for ((_reader, writer), capacity) in &mut pipes {
            capacity.suit(writer, MUCH - 1);
            assert_eq!(fcntl_getpipe_size(&*writer).unwrap(), MUCH);
            capacity.suit(writer, MUCH);
        }
        let size = |writer: &std::os::fd::OwnedFd| fcntl_getpipe_size(writer).unwrap();
        let large = pipes
            .iter()
            .filter(|((_, writer), _)| size(writer) == LARGE);
        let large = large.count();
        assert!((1..=LARGE_MAX).contains(&large), "{large} are large");

        pipes.retain(|(_, capacity)| capacity.0 == State::Plain);
        let ((_reader, writer), capacity) = &mut pipes[0];
        capacity.suit(writer, MUCH);
        assert_eq!(size(writer), LARGE);
    }
}
