//! Methods and whole services that some configurations do not have.
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

#[service]
trait Conditional {
    #[cfg(unix)]
    async fn place(&self, unix: u8) -> u8;
    #[cfg(not(unix))]
    async fn place(&self, other: Elsewhere) -> Elsewhere;
    #[cfg_attr(all(), cfg(any()), doc = "Never there.")]
    async fn never(&self, a: Elsewhere) -> Elsewhere;
    async fn always(&self) -> u8;
}

#[service]
#[cfg(any())]
trait NeverThere {
    async fn never(&self, a: Elsewhere) -> Elsewhere;
}

struct Here;

#[cfg(unix)]
impl Conditional for Here {
    async fn place(&self, unix: u8) -> u8 {
        unix
    }
    async fn always(&self) -> u8 {
        1
    }
}

fn main() {
    use rpc_core::Service as _;
    let server = ConditionalServer::new(Here);
    assert_eq!(server.descriptor().methods.len(), 2);
    let _twin = DynConditional::new(Here);
    let _call = ConditionalClient::connect_lazy("memory:x").unwrap().place(1);
}
