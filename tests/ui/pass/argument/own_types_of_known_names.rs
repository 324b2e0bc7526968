//! Types of the user with the names of well-known ones: a name is never a meaning.
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
struct Bytes(u8);

#[derive(Debug, Serialize, Deserialize)]
struct Vec<T>(T);

#[derive(Debug, Serialize, Deserialize)]
struct String;

#[derive(Debug, Serialize, Deserialize)]
struct Box;

#[derive(Debug, Serialize, Deserialize)]
struct S;

#[derive(Debug, Serialize, Deserialize)]
struct Send;

#[derive(Debug, Serialize, Deserialize)]
struct Future;

#[derive(Debug, Serialize, Deserialize)]
struct Option(S, Box, Send, Future);

#[service]
trait Known {
    async fn bytes(&self, a: Bytes, b: Vec<u8>, c: &Bytes, d: &Vec<u8>) -> Bytes;
    async fn option(&self, a: Option, b: String) -> Option;
}

fn main() {
    let _call = KnownClient::connect_lazy("memory:x").unwrap().option(
        Option(S, Box, Send, Future),
        String,
    );
}
