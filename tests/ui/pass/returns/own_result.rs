//! A type of the user that is called `Result` and has no arguments.
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

#[derive(Debug, Serialize, Deserialize)]
struct Result {
    score: u8,
}

#[service]
trait Match {
    async fn play(&self) -> Result;
    async fn replay(&self, of: Result) -> std::result::Result<Result, u8>;
}

struct Field;

impl Match for Field {
    async fn play(&self) -> Result {
        Result { score: 1 }
    }
    async fn replay(&self, of: Result) -> std::result::Result<Result, u8> {
        if of.score > 1 { Err(of.score) } else { Ok(of) }
    }
}

fn main() {
    let _server = MatchServer::new(Field);
    let _call: rpc_core::TryCall<Result, u8> =
        MatchClient::connect_lazy("memory:x").unwrap().replay(Result { score: 1 });
}
