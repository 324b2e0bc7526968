//! Refuses what is too much, at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Layer;
use crate::error::{Code, Error};
use crate::service::{BoxFuture, Descriptor, Request, Service};
use crate::wire::Reply;

/// Runs at most so many calls at once, over all services that it wraps, and answers a call beyond
/// at once with [`Code::Overloaded`], [`Executed::No`](crate::Executed::No) and a time to wait:
/// cheaper for everyone than a call that waits for its deadline.
#[derive(Clone, Debug)]
pub struct LoadShed {
    places: Arc<Semaphore>,
    retry_after: Duration,
}

impl LoadShed {
    /// What a shed call is told to wait unless [`retry_after`](Self::retry_after) says otherwise:
    /// long enough for a queue of short calls to drain.
    pub const RETRY_AFTER: Duration = Duration::from_millis(50);

    /// Runs at most `calls` at once.
    pub fn new(calls: usize) -> Self {
        let places = Arc::new(Semaphore::new(calls.min(Semaphore::MAX_PERMITS)));
        Self {
            places,
            retry_after: Self::RETRY_AFTER,
        }
    }

    /// What a shed call is told to wait before another attempt.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = wait;
        self
    }
}

impl Layer for LoadShed {
    fn layer(&self, inner: Arc<dyn Service>) -> Arc<dyn Service> {
        Arc::new(Shedding {
            inner,
            policy: self.clone(),
        })
    }
}

struct Shedding {
    inner: Arc<dyn Service>,
    policy: LoadShed,
}

impl Service for Shedding {
    fn descriptor(&self) -> &'static Descriptor {
        self.inner.descriptor()
    }

    fn call(&self, request: Request) -> BoxFuture<Reply> {
        let Ok(place) = Arc::clone(&self.policy.places).try_acquire_owned() else {
            let error = Error::new(
                Code::Overloaded,
                "the service runs all the calls that it allows",
            )
            .with_retry_after(self.policy.retry_after);
            return Box::pin(std::future::ready(Reply::Failure(error)));
        };
        let handler = self.inner.call(request);
        Box::pin(async move {
            let reply = handler.await;
            drop(place);
            reply
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Executed;
    use crate::layer::scripted::{Scripted, request};

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_answered_at_once_and_has_not_run() {
        let inner = Scripted::new();
        let service = LoadShed::new(1).layer(Arc::new(inner.clone()));
        let first = tokio::spawn(service.call(request()));
        tokio::task::yield_now().await;
        let Reply::Failure(error) = service.call(request()).await else {
            panic!("answered")
        };
        assert_eq!(
            (error.code(), error.executed()),
            (Code::Overloaded, Executed::No)
        );
        assert_eq!(error.retry_after(), Some(LoadShed::RETRY_AFTER));
        inner.answers.add_permits(2);
        first.await.unwrap();
        assert!(matches!(service.call(request()).await, Reply::Value(_)));
        assert_eq!(inner.started(), 2);
    }
}
