//! Bounds how long a handler may take.

use std::sync::Arc;
use std::time::Duration;

use super::Layer;
use crate::error::{Code, Error, Executed};
use crate::service::{BoxFuture, Descriptor, Request, Service};
use crate::wire::Reply;

/// Ends a handler after a time of the server's choosing, whatever deadline its caller allowed. The
/// caller gets [`Code::DeadlineExceeded`], [`Executed::Maybe`].
#[derive(Clone, Copy, Debug)]
pub struct Timeout {
    allowed: Duration,
}

impl Timeout {
    /// Allows each call at most `allowed`, counted from the moment it reaches this layer.
    pub const fn new(allowed: Duration) -> Self {
        Self { allowed }
    }
}

impl Layer for Timeout {
    fn layer(&self, inner: Arc<dyn Service>) -> Arc<dyn Service> {
        Arc::new(Bounded {
            inner,
            allowed: self.allowed,
        })
    }
}

struct Bounded {
    inner: Arc<dyn Service>,
    allowed: Duration,
}

impl Service for Bounded {
    fn descriptor(&self) -> &'static Descriptor {
        self.inner.descriptor()
    }

    fn call(&self, request: Request) -> BoxFuture<Reply> {
        let allowed = self.allowed;
        let handler = tokio::time::timeout(allowed, self.inner.call(request));
        Box::pin(async move {
            handler.await.unwrap_or_else(|_| {
                let text = format!("the server allows a handler {allowed:?}");
                let error = Error::new(Code::DeadlineExceeded, text);
                Reply::Failure(error.with_executed(Executed::Maybe))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::scripted::{Scripted, request};

    #[tokio::test(start_paused = true)]
    async fn a_slow_handler_is_dropped_and_a_fast_one_is_not() {
        let inner = Scripted::new();
        let service = Timeout::new(Duration::from_secs(1)).layer(Arc::new(inner.clone()));
        let Reply::Failure(error) = service.call(request()).await else {
            panic!("answered")
        };
        assert_eq!(
            (error.code(), error.executed()),
            (Code::DeadlineExceeded, Executed::Maybe)
        );
        inner.answers.add_permits(1);
        assert!(matches!(service.call(request()).await, Reply::Value(_)));
    }
}
