//! Tells any number of waiters, once, that something is over.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Fires once and stays fired.
#[derive(Debug)]
pub(crate) struct Latch {
    fired: AtomicBool,
    waiters: Notify,
}

impl Latch {
    pub(crate) const fn new() -> Self {
        Self {
            fired: AtomicBool::new(false),
            waiters: Notify::const_new(),
        }
    }

    pub(crate) fn cancel(&self) {
        self.fired.store(true, Ordering::Release);
        self.waiters.notify_waiters();
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.fired.load(Ordering::Acquire)
    }

    /// Waits until it fires. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        // The waiter is made before the flag is read: `notify_waiters` wakes every waiter that
        // exists, polled or not, so nothing is missed between the two.
        let waiter = self.waiters.notified();
        if !self.is_cancelled() {
            waiter.await;
        }
    }
}

/// A [`Latch`] that nobody owns. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Cancellation {
    latch: Arc<Latch>,
}

impl Cancellation {
    pub(crate) fn new() -> Self {
        Self {
            latch: Arc::new(Latch::new()),
        }
    }

    /// Whether somebody else holds it too.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.latch) > 1
    }
}

impl Deref for Cancellation {
    type Target = Latch;

    #[inline]
    fn deref(&self) -> &Latch {
        &self.latch
    }
}
