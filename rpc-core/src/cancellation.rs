//! Tells any number of waiters, once, that something is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Fires once and stays fired. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Cancellation {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    fired: AtomicBool,
    waiters: Notify,
}

impl Cancellation {
    pub(crate) fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                fired: AtomicBool::new(false),
                waiters: Notify::new(),
            }),
        }
    }

    pub(crate) fn cancel(&self) {
        self.inner.fired.store(true, Ordering::Release);
        self.inner.waiters.notify_waiters();
    }

    /// Whether somebody else holds it too.
    #[inline]
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.inner) > 1
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.inner.fired.load(Ordering::Acquire)
    }

    /// Waits until it fires. Cancel safe.
    pub(crate) async fn cancelled(&self) {
        // The waiter is made before the flag is read: `notify_waiters` wakes every waiter that
        // exists, polled or not, so nothing is missed between the two.
        let waiter = self.inner.waiters.notified();
        if !self.is_cancelled() {
            waiter.await;
        }
    }
}
