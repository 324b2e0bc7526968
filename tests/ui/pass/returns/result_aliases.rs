//! Aliases with one argument keep their error type, with two they are the thing itself.
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

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct MathError;

mod math {
    pub(crate) type Result<T, E = super::MathError> = std::result::Result<T, E>;
}

#[service]
trait Aliases {
    async fn one(&self) -> math::Result<f64>;
    async fn two(&self) -> math::Result<f64, String>;
    async fn full(&self) -> Result<(), MathError>;
    async fn owned_cow(&self) -> Cow<'static, str>;
    async fn nested(&self) -> Option<Result<u8, u8>>;
}

struct All;

impl Aliases for All {
    async fn one(&self) -> math::Result<f64> {
        Err(MathError)
    }
    async fn two(&self) -> math::Result<f64, String> {
        Ok(1.0)
    }
    async fn full(&self) -> Result<(), MathError> {
        Ok(())
    }
    async fn owned_cow(&self) -> Cow<'static, str> {
        "cow".into()
    }
    async fn nested(&self) -> Option<Result<u8, u8>> {
        None
    }
}

fn main() {
    let _server = AliasesServer::new(DynAliases::new(All));
    let client = AliasesClient::connect_lazy("memory:x").unwrap();
    let _unused: rpc_core::TryCall<f64, MathError> = client.one();
    let _unused: rpc_core::TryCall<f64, String> = client.two();
    let _unused: rpc_core::TryCall<(), MathError> = client.full();
    let _unused: rpc_core::Call<Option<Result<u8, u8>>> = client.nested();
}
