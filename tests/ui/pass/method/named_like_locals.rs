//! Methods and arguments named like what generated code works with.
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
trait Names {
    async fn request(&self, request: u8, service: u8, output: u8, decoded: u8, reply: u8) -> u8;
    async fn call(&self, a0: u8, a1: &str) -> u8;
    async fn descriptor(&self, method: u8, arguments: u8) -> u8;
    async fn fmt(&self, f: u8) -> u8;
    async fn poll(&self, private: u8, rpc_core: u8) -> u8;
    async fn drop(&self, core: u8, std: u8) -> u8;
    #[rpc(name = "new")]
    async fn r#type(&self, r#match: u8) -> u8;
}

struct All;

impl Names for All {
    async fn request(&self, request: u8, service: u8, output: u8, decoded: u8, reply: u8) -> u8 {
        request + service + output + decoded + reply
    }
    async fn call(&self, a0: u8, _: &str) -> u8 {
        a0
    }
    async fn descriptor(&self, method: u8, arguments: u8) -> u8 {
        method + arguments
    }
    async fn fmt(&self, f: u8) -> u8 {
        f
    }
    async fn poll(&self, private: u8, rpc_core: u8) -> u8 {
        private + rpc_core
    }
    async fn drop(&self, core: u8, std: u8) -> u8 {
        core + std
    }
    async fn r#type(&self, r#match: u8) -> u8 {
        r#match
    }
}

fn main() {
    let _server = NamesServer::new(DynNames::new(All));
    let client = NamesClient::connect_lazy("memory:x").unwrap();
    let _calls = (client.r#type(1), client.fmt(1), client.call(1, "x"));
    assert!(format!("{client:?}").starts_with("NamesClient"));
}
