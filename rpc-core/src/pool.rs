//! Large buffers that are used again: memory that the system has just handed out costs more to touch
//! for the first time than a copy of it. Knows nothing of what is in them.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Bytes of memory that idle buffers take up together, in the whole process: 32 MiB, eight of the
/// largest messages that a connection accepts by default. More would be memory that one burst leaves
/// behind for ever.
const IDLE_MAX: usize = 32 * 1024 * 1024;

/// The smallest buffer that is kept: 64 KiB. The allocator is as good with smaller ones.
pub(crate) const LARGE: usize = 64 * 1024;

/// All idle buffers, in no order. No more than [`IDLE_MAX`] over [`LARGE`] of them, so they are
/// looked through.
static IDLE: Mutex<Idle> = Mutex::new(Idle {
    buffers: Vec::new(),
    bytes: 0,
});

struct Idle {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// An empty buffer: the largest idle one, or a new one without any room.
pub(crate) fn take() -> Vec<u8> {
    lock().take()
}

/// Gives up a buffer, for the next who wants one.
pub(crate) fn give(mut buffer: Vec<u8>) {
    buffer.clear();
    let refused = lock().give(buffer);
    // Not under the lock: it may go back to the system, which takes time.
    drop(refused);
}

/// Bytes that many may hold. The buffer is given up with the last of them.
pub(crate) fn share(buffer: Vec<u8>) -> Bytes {
    match buffer.capacity() {
        LARGE.. => Bytes::from_owner(Pooled(buffer)),
        _ => buffer.into(),
    }
}

/// A buffer that is given up when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Pooled(pub(crate) Vec<u8>);

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        give(mem::take(&mut self.0));
    }
}

fn lock() -> MutexGuard<'static, Idle> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Idle {
    fn take(&mut self) -> Vec<u8> {
        let sizes = self.buffers.iter().map(Vec::capacity).enumerate();
        let Some((at, capacity)) = sizes.max_by_key(|&(_, capacity)| capacity) else {
            return Vec::new();
        };
        self.bytes = self.bytes.saturating_sub(capacity);
        self.buffers.swap_remove(at)
    }

    /// The buffer itself, where there is no place for it.
    fn give(&mut self, buffer: Vec<u8>) -> Option<Vec<u8>> {
        let capacity = buffer.capacity();
        let bytes = self.bytes.saturating_add(capacity);
        if capacity < LARGE || bytes > IDLE_MAX {
            return Some(buffer);
        }
        self.bytes = bytes;
        self.buffers.push(buffer);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle() -> Idle {
        Idle {
            buffers: Vec::new(),
            bytes: 0,
        }
    }

    #[test]
    fn the_largest_goes_first_and_none_is_made() {
        let mut idle = idle();
        assert_eq!(idle.take().capacity(), 0);
        for capacity in [LARGE, 3 * LARGE, 2 * LARGE] {
            assert!(idle.give(Vec::with_capacity(capacity)).is_none());
        }
        assert!(idle.take().capacity() >= 3 * LARGE);
        assert!(idle.take().capacity() >= 2 * LARGE);
        assert!(idle.take().capacity() >= LARGE);
        assert_eq!(idle.bytes, 0);
    }

    #[test]
    fn small_buffers_and_those_over_the_limit_are_not_kept() {
        let mut idle = idle();
        assert!(idle.give(Vec::with_capacity(LARGE - 1)).is_some());
        assert!(idle.give(Vec::with_capacity(IDLE_MAX + 1)).is_some());
        assert!(idle.give(Vec::with_capacity(IDLE_MAX / 2)).is_none());
        assert!(idle.give(Vec::with_capacity(IDLE_MAX / 4)).is_none());
        assert!(idle.give(Vec::with_capacity(IDLE_MAX / 2)).is_some());
        assert!(idle.bytes <= IDLE_MAX);
    }

    #[test]
    fn what_is_shared_is_the_bytes_of_the_buffer() {
        let bytes = share(vec![7; LARGE]);
        let part = bytes.slice(1..3);
        drop(bytes);
        assert_eq!(part, [7, 7][..]);
        assert_eq!(share(vec![1]), [1][..]);
    }
}
