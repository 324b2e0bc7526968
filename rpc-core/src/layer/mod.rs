//! What stands between a server and its services: one file for each policy.
//!
//! A layer wraps a [`Service`] in another, so that everything a handler sees, and everything that
//! it answers, passes through. It knows requests and replies, and neither connections nor types.
//! Retries and the deadline of a call are the client's business and live in its channel.
//!
//! ```
//! use std::sync::Arc;
//! use rpc_core::layer::{Layer, LoadShed, Trace};
//! # use rpc_core::Service;
//! # fn example(service: Arc<dyn Service>) -> Arc<dyn Service> {
//! // What the builder's `.layer(Trace::new()).layer(LoadShed::new(64))` does to each service:
//! Trace::new().layer(LoadShed::new(64).layer(service))
//! # }
//! ```

#[cfg(feature = "layers")]
mod concurrency;
#[cfg(feature = "layers")]
mod load_shed;
#[cfg(feature = "layers")]
mod timeout;
#[cfg(feature = "layers")]
mod trace;

#[cfg(feature = "layers")]
pub use concurrency::ConcurrencyLimit;
#[cfg(feature = "layers")]
pub use load_shed::LoadShed;
#[cfg(feature = "layers")]
pub use timeout::Timeout;
#[cfg(feature = "layers")]
pub use trace::Trace;

use std::sync::Arc;

use crate::service::Service;

/// Wraps a service in another.
///
/// The wrapper passes [`Service::descriptor`] on. Its [`Service::call`] may answer by itself, change
/// the answer, or do something before and after; the future that it returns is dropped when the call
/// is cancelled, so what must be undone belongs in a destructor.
pub trait Layer: Send + Sync + 'static {
    /// Wraps `inner`.
    fn layer(&self, inner: Arc<dyn Service>) -> Arc<dyn Service>;
}

/// A layer is any function from a service to a service.
impl<F> Layer for F
where
    F: Fn(Arc<dyn Service>) -> Arc<dyn Service> + Send + Sync + 'static,
{
    fn layer(&self, inner: Arc<dyn Service>) -> Arc<dyn Service> {
        self(inner)
    }
}

/// A service that the tests of the layers wrap: it answers when it is told to.
#[cfg(test)]
pub(crate) mod scripted {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use crate::private;
    use crate::service::{BoxFuture, Descriptor, Method, Request, Service};
    use crate::shape::{MethodShape, Shape};
    use crate::wire::{Payload, Reply};

    static METHOD: Method = Method::new("Scripted", "run", &[], "", || MethodShape {
        arguments: Vec::new(),
        returns: Shape::Unit,
        error: None,
    });
    static DESCRIPTOR: Descriptor = Descriptor::new("Scripted", "1.0.0", "", &[&METHOD]);

    /// Counts the calls that reach it; each takes one permit of `answers` to be answered.
    #[derive(Clone)]
    pub(crate) struct Scripted {
        pub(crate) started: Arc<AtomicUsize>,
        pub(crate) answers: Arc<Semaphore>,
    }

    impl Scripted {
        pub(crate) fn new() -> Self {
            Self {
                started: Arc::default(),
                answers: Arc::new(Semaphore::new(0)),
            }
        }

        pub(crate) fn started(&self) -> usize {
            self.started.load(Ordering::SeqCst)
        }
    }

    impl Service for Scripted {
        fn descriptor(&self) -> &'static Descriptor {
            &DESCRIPTOR
        }

        fn call(&self, _: Request) -> BoxFuture<Reply> {
            let this = self.clone();
            Box::pin(async move {
                this.started.fetch_add(1, Ordering::SeqCst);
                this.answers
                    .acquire()
                    .await
                    .expect("the script is not over")
                    .forget();
                Reply::Value(b"done"[..].into())
            })
        }
    }

    pub(crate) fn request() -> Request {
        private::request(&METHOD, Payload::default())
    }
}
