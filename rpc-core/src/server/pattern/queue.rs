//! The clients that wait for a place: so many at most, and each for so long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Places, and a queue for them. Who comes first is served first.
pub(super) struct Queue {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
    wait_max: Duration,
    /// Whether a place is free.
    free: watch::Sender<bool>,
}

/// The right to be served, given back when it is dropped.
pub(super) struct Place {
    queue: Arc<Queue>,
    permit: Option<OwnedSemaphorePermit>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// So many wait that nobody else may.
    Full,
    /// None became free in time.
    Late,
}

impl Queue {
    pub(super) fn new(places: usize, waiting_max: usize, wait_max: Duration) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicUsize::new(0),
            waiting_max,
            wait_max,
            free: watch::Sender::new(places > 0),
        }
    }

    /// A place, if one is free and nobody waits for it.
    pub(super) fn try_place(self: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        Some(self.place(permit))
    }

    /// Waits for a place in turn. Cancel safe: who gives up is out of the queue.
    pub(super) async fn wait(self: &Arc<Self>) -> Result<Place, Denied> {
        let _waiting = Waiting::count(self).ok_or(Denied::Full)?;
        let acquired = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(self.wait_max, acquired).await {
            Ok(Ok(permit)) => Ok(self.place(permit)),
            // The places are never closed.
            Ok(Err(_)) | Err(_) => Err(Denied::Late),
        }
    }

    /// Whether a place is free, now and from now on.
    pub(super) fn free(&self) -> watch::Receiver<bool> {
        self.free.subscribe()
    }

    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        self.look();
        Place {
            queue: Arc::clone(self),
            permit: Some(permit),
        }
    }

    /// Says anew whether a place is free, after anything that may have changed it. The places are
    /// counted under the lock of what is said, so that the last to say it is right.
    fn look(&self) {
        self.free.send_if_modified(|free| {
            let now = self.places.available_permits() > 0;
            std::mem::replace(free, now) != now
        });
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.queue.look();
    }
}

/// One who waits.
struct Waiting<'a>(&'a Queue);

impl<'a> Waiting<'a> {
    fn count(queue: &'a Queue) -> Option<Self> {
        let room = |waiting| (waiting < queue.waiting_max).then_some(waiting + 1);
        let counted = queue
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, room);
        counted.ok().map(|_| Self(queue))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        // A place may have been meant for the one who gave up.
        self.0.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn places_are_given_in_turn() {
        let queue = Arc::new(Queue::new(1, 2, LONG));
        let first = queue.try_place().unwrap();
        assert!(queue.try_place().is_none());
        let mut second = one_who_waits(&queue).await;
        let third = one_who_waits(&queue).await;
        assert_eq!(queue.wait().await.err(), Some(Denied::Full));
        drop(first);
        let second = (&mut second).await.unwrap().ok().unwrap();
        assert!(!third.is_finished(), "one place, one at a time");
        drop(second);
        assert!(third.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_allowed() {
        let queue = Arc::new(Queue::new(1, 9, Duration::from_secs(3)));
        let _held = queue.try_place().unwrap();
        let began = tokio::time::Instant::now();
        assert_eq!(queue.wait().await.err(), Some(Denied::Late));
        assert_eq!(began.elapsed().as_secs(), 3);
    }

    #[tokio::test]
    async fn whether_a_place_is_free_is_told_after_every_change() {
        let queue = Arc::new(Queue::new(1, 9, LONG));
        let free = queue.free();
        assert!(*free.borrow());
        let first = queue.try_place().unwrap();
        assert!(!*free.borrow());
        let second = one_who_waits(&queue).await;
        drop(first);
        assert!(!*free.borrow(), "it has gone to the next");
        // Who was given it has gone before he could take it.
        second.abort();
        let _ = second.await;
        assert!(*free.borrow());
        assert!(queue.try_place().is_some());
    }

    /// One who waits already.
    async fn one_who_waits(queue: &Arc<Queue>) -> tokio::task::JoinHandle<Result<Place, Denied>> {
        let before = queue.waiting.load(Ordering::Relaxed);
        let waits = tokio::spawn({
            let queue = Arc::clone(queue);
            async move { queue.wait().await }
        });
        while queue.waiting.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
        waits
    }
}
