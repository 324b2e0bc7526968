//! Every key, a bound that is there anyway, and the crate under another path.
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

mod facade {
    pub(crate) use rpc_core;
}

use facade::rpc_core::service as remote;

#[remote(name = "math.Calculator", version = "1.2.0-rc.1+build.7", crate = "crate::facade::rpc_core")]
trait Calculator: Send + Sync + 'static {
    #[rpc(name = "plus", idempotent)]
    async fn add(&self, a: i64, b: i64) -> i64;
}

fn main() {
    let _call = CalculatorClient::connect_lazy("memory:x").unwrap().add(1, 2);
}
