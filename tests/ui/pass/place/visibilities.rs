//! A public service, one for the crate, and one for a module's parent.
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

/// Public.
#[service]
pub trait Public {
    /// A method.
    async fn run(&self) -> u8;
}

mod inner {
    use rpc_core::service;

    #[service]
    pub(crate) trait InCrate {
        async fn run(&self) -> u8;
    }

    #[service]
    pub(super) trait InParent {
        async fn run(&self) -> u8;
    }

    #[service]
    pub(in crate::inner) trait InPath {
        async fn run(&self) -> u8;
    }

    pub(super) fn run() {
        let _call = InPathClient::connect_lazy("memory:x").unwrap().run();
    }
}

fn main() {
    inner::run();
    let _calls = (
        inner::InCrateClient::connect_lazy("memory:x").unwrap().run(),
        inner::InParentClient::connect_lazy("memory:x").unwrap().run(),
    );
}
