//! Who wakes the task of a connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The task, while it sleeps.
#[derive(Default)]
pub(super) struct Sleeper {
    is_asleep: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Sleeper {
    #[inline]
    pub(super) fn is_asleep(&self) -> bool {
        // What has to be known in order is known by the locks of the desks.
        self.is_asleep.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn lie_down(&self, waker: &Waker) {
        let before = self.waker().replace(waker.clone());
        self.is_asleep.store(true, Ordering::Relaxed);
        drop(before);
    }

    #[inline]
    pub(super) fn get_up(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }

    /// Wakes the task, if it sleeps. Not under the lock of a desk, which is the first thing it will want.
    #[inline]
    pub(super) fn wake(&self) {
        if self.is_asleep() && self.is_asleep.swap(false, Ordering::Relaxed) {
            let waker = self.waker().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    #[inline]
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
