//! Lets so many handlers run at once; the others wait.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Layer;
use crate::error::{Code, Error};
use crate::service::{BoxFuture, Descriptor, Request, Service};
use crate::wire::Reply;

/// Runs at most so many calls at once, over all services that it wraps. A call beyond waits, in
/// order, for at most its deadline; how many can wait is bounded by the server's limits on calls in
/// flight.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    places: Arc<Semaphore>,
}

impl ConcurrencyLimit {
    /// Runs at most `calls` at once.
    pub fn new(calls: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(calls.min(Semaphore::MAX_PERMITS))),
        }
    }
}

impl Layer for ConcurrencyLimit {
    fn layer(&self, inner: Arc<dyn Service>) -> Arc<dyn Service> {
        Arc::new(Limited {
            inner,
            places: Arc::clone(&self.places),
        })
    }
}

struct Limited {
    inner: Arc<dyn Service>,
    places: Arc<Semaphore>,
}

impl Service for Limited {
    fn descriptor(&self) -> &'static Descriptor {
        self.inner.descriptor()
    }

    fn call(&self, request: Request) -> BoxFuture<Reply> {
        let inner = Arc::clone(&self.inner);
        let places = Arc::clone(&self.places);
        Box::pin(async move {
            // The place is given back with the future, also when the call is cancelled.
            match places.acquire().await {
                Ok(_place) => inner.call(request).await,
                Err(_) => Reply::Failure(Error::new(Code::Draining, "the limiter is closed")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::scripted::{Scripted, request};

    #[tokio::test(start_paused = true)]
    async fn the_third_of_two_waits_for_a_place_and_a_cancelled_call_leaves_one() {
        let inner = Scripted::new();
        let service = ConcurrencyLimit::new(2).layer(Arc::new(inner.clone()));
        let spawn = || tokio::spawn(service.call(request()));
        let (first, _second, third) = (spawn(), spawn(), spawn());
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(inner.started(), 2);
        first.abort();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(inner.started(), 3);
        inner.answers.add_permits(2);
        assert!(matches!(third.await.unwrap(), Reply::Value(_)));
    }
}
