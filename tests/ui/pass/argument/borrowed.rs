//! Everything that can be borrowed from a request.
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
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Point(i32, i32);

#[derive(Debug, Serialize, Deserialize)]
struct Name<'a> {
    first: &'a str,
    last: Cow<'a, str>,
}

type Text = str;

#[service]
trait Borrows {
    async fn text(&self, a: &str, b: &Text, c: &String) -> u8;
    async fn data(&self, a: &[u8], b: &Vec<u8>, c: &[u8; 4]) -> u8;
    async fn point(&self, a: &Point, b: &[Point], c: &Option<Point>) -> u8;
    async fn option(&self, a: Option<&str>, b: Option<&[u8]>, c: &Option<&str>) -> u8;
    async fn cow(&self, a: Cow<'_, str>, b: Cow<'_, [u8]>, c: &Cow<'_, str>) -> u8;
    async fn tuple(&self, a: (&str, u8), b: (&str, Cow<'_, str>, (&[u8],)), c: &(&str, u8)) -> u8;
    async fn nested(&self, a: &[&str], b: Vec<Option<&str>>, c: HashMap<&str, &str>) -> u8;
    async fn own(&self, a: Name<'_>, b: &Name<'_>, c: &[Name<'_>], d: Option<Name<'_>>) -> u8;
    async fn strange(&self, a: &&str, b: Box<str>, c: &'_ str, d: (), e: [&str; 2]) -> u8;
}

fn main() {
    let client = BorrowsClient::connect_lazy("memory:x").unwrap();
    let name = String::from("short-lived");
    let _call = client.text(&name, &name, &name);
}

mod implementation {
    use super::*;

    struct Lender;

    impl Borrows for Lender {
        async fn text(&self, _: &str, _: &Text, _: &String) -> u8 {
            1
        }
        async fn data(&self, _: &[u8], _: &Vec<u8>, _: &[u8; 4]) -> u8 {
            1
        }
        async fn point(&self, _: &Point, _: &[Point], _: &Option<Point>) -> u8 {
            1
        }
        async fn option(&self, _: Option<&str>, _: Option<&[u8]>, _: &Option<&str>) -> u8 {
            1
        }
        async fn cow(&self, _: Cow<'_, str>, _: Cow<'_, [u8]>, _: &Cow<'_, str>) -> u8 {
            1
        }
        async fn tuple(
            &self,
            _: (&str, u8),
            _: (&str, Cow<'_, str>, (&[u8],)),
            _: &(&str, u8),
        ) -> u8 {
            1
        }
        async fn nested(&self, _: &[&str], _: Vec<Option<&str>>, _: HashMap<&str, &str>) -> u8 {
            1
        }
        async fn own(&self, a: Name<'_>, b: &Name<'_>, _: &[Name<'_>], _: Option<Name<'_>>) -> u8 {
            (a.first.len() + b.last.len()) as u8
        }
        async fn strange(&self, _: &&str, _: Box<str>, _: &'_ str, _: (), _: [&str; 2]) -> u8 {
            1
        }
    }

    #[allow(dead_code)]
    fn serve() {
        let _server = BorrowsServer::new(DynBorrows::new(Lender));
    }
}
