//! The boxed shape: served and held as `dyn`.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    missing_debug_implementations,
    unnameable_types,
    single_use_lifetimes,
    trivial_casts,
    unused_lifetimes,
    let_underscore_drop
)]

use rpc_core::service;

use std::sync::Arc;

use async_trait::async_trait;

#[service(name = "math.Boxed")]
#[async_trait]
trait Boxed {
    async fn length(&self, text: &str, other: Option<&str>) -> Result<u64, String>;
    #[rpc(idempotent)]
    async fn default(&self) -> u64 {
        self.length("four", None).await.unwrap_or_default()
    }
}

struct Plain;

#[async_trait]
impl Boxed for Plain {
    async fn length(&self, text: &str, other: Option<&str>) -> Result<u64, String> {
        Ok((text.len() + other.map_or(0, str::len)) as u64)
    }
}

fn main() {
    let shared: Arc<dyn Boxed> = Arc::new(Plain);
    let _server = BoxedServer::from_arc(Arc::clone(&shared));
    let twin = DynBoxed::new(Plain);
    let _again = BoxedServer::new(twin.clone());
    let _future = twin.default();
}
