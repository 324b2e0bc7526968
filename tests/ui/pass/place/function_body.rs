//! A trait inside a function body, beside a type that only that body knows.
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

use serde::{Deserialize, Serialize};

fn main() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Local(u8);

    #[service]
    trait Inner {
        async fn echo(&self, local: Local) -> Local;
    }

    struct Echo;

    impl Inner for Echo {
        async fn echo(&self, local: Local) -> Local {
            local
        }
    }

    let _server = InnerServer::new(Echo);
    let _twin = DynInner::new(Echo);
    let _call = InnerClient::connect_lazy("memory:x").unwrap().echo(Local(1));
}
