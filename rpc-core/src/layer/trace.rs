//! Tells a subscriber of `tracing` about each call.

use std::future::poll_fn;
use std::sync::Arc;

use tracing::Level;

use super::Layer;
use crate::context::Context;
use crate::driver::now;
use crate::service::{BoxFuture, Descriptor, Request, Service};
use crate::wire::Reply;

/// Opens a span for each call, with its service, method, peer and trace context, in which the handler runs, and
/// records how the call ended and how long it took. Arguments and returns are never recorded. While
/// nobody listens to the target `rpc_core::layer::trace` at the level `info`, a call costs one look
/// at a flag.
///
/// The trace context is the metadata entry `traceparent` of the W3C recommendation. A caller that
/// sets it with [`Metadata::insert_travelling`](crate::Metadata::insert_travelling) finds it in the
/// spans of every process that its call reaches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace {}

impl Trace {
    /// Traces at the level `info`.
    pub const fn new() -> Self {
        Self {}
    }
}

impl Layer for Trace {
    fn layer(&self, inner: Arc<dyn Service>) -> Arc<dyn Service> {
        Arc::new(Traced { inner })
    }
}

struct Traced {
    inner: Arc<dyn Service>,
}

impl Service for Traced {
    fn descriptor(&self) -> &'static Descriptor {
        self.inner.descriptor()
    }

    fn call(&self, request: Request) -> BoxFuture<Reply> {
        if !tracing::enabled!(Level::INFO) {
            return self.inner.call(request);
        }
        let context = Context::current();
        let span = tracing::info_span!(
            "call",
            service = request.method().service,
            method = request.method().name,
            peer = context.peer().map(|peer| peer.address()),
            traceparent = traceparent(&context),
        );
        let started = now();
        let mut handler = self.inner.call(request);
        Box::pin(async move {
            // The span is entered for each poll and not across awaits, where other tasks run.
            let reply = poll_fn(|cx| span.in_scope(|| handler.as_mut().poll(cx))).await;
            let took = now().saturating_duration_since(started);
            span.in_scope(|| match &reply {
                Reply::Value(_) => tracing::info!(?took, "answered"),
                Reply::ServiceError(_) => tracing::info!(?took, "answered with a service error"),
                Reply::Failure(error) => {
                    tracing::info!(?took, code = %error.code(), executed = %error.executed(), "failed");
                }
            });
            reply
        })
    }
}

/// The trace context of the call: 55 characters of ASCII, and nothing else is recorded, because the
/// text comes from a peer.
fn traceparent(context: &Context) -> Option<&str> {
    let value = context.metadata().value("traceparent")?;
    let text = std::str::from_utf8(value).ok()?;
    let plain = text.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-');
    (text.len() == 55 && plain).then_some(text)
}
