//! Two services beside each other, with methods of the same names.
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
trait First {
    async fn name(&self) -> String;
}

#[service]
trait Second {
    async fn name(&self) -> String;
}

struct Both;

impl First for Both {
    async fn name(&self) -> String {
        "first".to_owned()
    }
}

impl Second for Both {
    async fn name(&self) -> String {
        "second".to_owned()
    }
}

fn main() {
    let _servers = (FirstServer::new(Both), SecondServer::new(Both));
    let _twins = (DynFirst::new(Both), DynSecond::new(Both));
    let _clients = (
        FirstClient::connect_lazy("memory:x").unwrap().name(),
        SecondClient::connect_lazy("memory:x").unwrap().name(),
    );
}
