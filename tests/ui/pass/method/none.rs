//! A service without methods.
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
trait Nothing {}

struct Empty;

impl Nothing for Empty {}

fn main() {
    let _server = NothingServer::new(DynNothing::new(Empty));
    let _client = NothingClient::connect_lazy("memory:x").unwrap();
}
