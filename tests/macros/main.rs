//! What `#[service]` generates, called without a connection: a request goes straight into the
//! generated server, and the reply is read from what it answers.
#![allow(missing_docs)]

mod recode;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use rpc_core::private::{self, Method};
use rpc_core::{Code, Executed, Reply, Service, service};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub enum MathError {
    DivisionByZero,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    x: i32,
    y: i32,
}

/// An error type behind an alias with one argument.
type MathResult<T> = Result<T, MathError>;

mod math {
    pub(crate) type Result<T> = std::result::Result<T, super::MathError>;
}

/// Integer and real arithmetic.
///
/// In two paragraphs.
#[service(name = "math.Calculator", version = "1.2.0")]
pub trait Calculator {
    /// Adds two numbers.
    async fn add(&self, a: i64, b: i64) -> i64;
    async fn divide(&self, a: f64, b: f64) -> Result<f64, MathError>;
    async fn half(&self, a: i64) -> math::Result<i64>;
    #[rpc(idempotent)]
    async fn constant(&self, name: &str) -> Option<f64>;
    async fn nothing(&self);
    /// Has a body that calls another method and returns early.
    async fn twice(&self, a: i64) -> i64 {
        if a == 0 {
            return 0;
        }
        self.add(a, a).await
    }
    #[rpc(name = "channel")]
    async fn take_channel(&self, r#type: u8) -> u8;
    #[cfg(any())]
    async fn never_there(&self, a: NoSuchType) -> NoSuchType;
}

#[derive(Debug)]
pub struct Calc;

impl Calculator for Calc {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
    async fn divide(&self, a: f64, b: f64) -> Result<f64, MathError> {
        if b == 0.0 {
            Err(MathError::DivisionByZero)
        } else {
            Ok(a / b)
        }
    }
    async fn half(&self, a: i64) -> MathResult<i64> {
        Ok(a / 2)
    }
    async fn constant(&self, name: &str) -> Option<f64> {
        (name == "half").then_some(0.5)
    }
    async fn nothing(&self) {}
    async fn take_channel(&self, r#type: u8) -> u8 {
        r#type
    }
}

/// Every way to borrow from the request.
#[service]
pub trait Borrows {
    async fn text(&self, text: &str) -> usize;
    async fn data(&self, data: &[u8]) -> Vec<u8>;
    async fn point(&self, point: &Point) -> i32;
    async fn points(&self, points: &[Point]) -> i32;
    async fn maybe(&self, text: Option<&str>) -> String;
    async fn cow(&self, text: Cow<'_, str>) -> String;
    async fn pair(&self, pair: (&str, u8)) -> String;
    async fn pair_by_reference(&self, pair: &(&str, u8)) -> String;
    async fn words(&self, words: &[&str]) -> String;
    async fn map(&self, map: BTreeMap<&str, u8>) -> Vec<String>;
    async fn many(&self, a: &str, b: &[u8], c: &Point, d: Option<&str>, e: u64) -> String;
}

pub struct Lender;

impl Borrows for Lender {
    async fn text(&self, text: &str) -> usize {
        tokio::task::yield_now().await;
        text.len()
    }
    async fn data(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }
    async fn point(&self, point: &Point) -> i32 {
        point.x + point.y
    }
    async fn points(&self, points: &[Point]) -> i32 {
        points.iter().map(|point| point.x).sum()
    }
    async fn maybe(&self, text: Option<&str>) -> String {
        text.unwrap_or("none").to_owned()
    }
    async fn cow(&self, text: Cow<'_, str>) -> String {
        text.into_owned()
    }
    async fn pair(&self, pair: (&str, u8)) -> String {
        format!("{pair:?}")
    }
    async fn pair_by_reference(&self, pair: &(&str, u8)) -> String {
        format!("{pair:?}")
    }
    async fn words(&self, words: &[&str]) -> String {
        words.join(" ")
    }
    async fn map(&self, map: BTreeMap<&str, u8>) -> Vec<String> {
        map.into_keys().map(str::to_owned).collect()
    }
    async fn many(&self, a: &str, b: &[u8], c: &Point, d: Option<&str>, e: u64) -> String {
        tokio::task::yield_now().await;
        format!("{a} {b:?} {c:?} {d:?} {e}")
    }
}

/// The boxed shape.
#[service]
#[async_trait]
pub trait Greeter {
    async fn greet(&self, name: &str) -> String;
    async fn shout(&self, name: &str) -> String {
        self.greet(name).await.to_uppercase()
    }
}

struct Polite;

#[async_trait]
impl Greeter for Polite {
    async fn greet(&self, name: &str) -> String {
        format!("good day, {name}")
    }
}

/// A method has the most arguments that there may be.
#[service]
trait Wide {
    #[allow(clippy::too_many_arguments)]
    async fn sum(
        &self,
        a: u8,
        b: u8,
        c: u8,
        d: u8,
        e: u8,
        f: u8,
        g: u8,
        h: u8,
        i: u8,
        j: u8,
        k: u8,
        l: u8,
        m: u8,
        n: u8,
        o: u8,
        p: u8,
    ) -> u8;
}

impl Wide for Calc {
    async fn sum(
        &self,
        a: u8,
        b: u8,
        c: u8,
        d: u8,
        e: u8,
        f: u8,
        g: u8,
        h: u8,
        i: u8,
        j: u8,
        k: u8,
        l: u8,
        m: u8,
        n: u8,
        o: u8,
        p: u8,
    ) -> u8 {
        a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p
    }
}

#[tokio::test]
async fn a_call_runs_the_method_and_replies_with_its_value() {
    assert_eq!(
        value::<i64>(&CalculatorServer::new(Calc), "add", (2_i64, 3_i64)).await,
        5
    );
    value::<()>(&CalculatorServer::new(Calc), "nothing", ()).await;
    assert_eq!(
        value::<u8>(&CalculatorServer::new(Calc), "channel", (7_u8,)).await,
        7
    );
}

#[tokio::test]
async fn a_result_is_flat_on_the_wire() {
    let server = CalculatorServer::new(Calc);
    assert_eq!(value::<f64>(&server, "divide", (1.0, 2.0)).await, 0.5);
    match call(&server, "divide", (1.0, 0.0)).await {
        Reply::ServiceError(bytes) => {
            assert_eq!(decode::<MathError>(&bytes), MathError::DivisionByZero);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_result_with_one_argument_is_flat_too() {
    assert_eq!(
        value::<i64>(&CalculatorServer::new(Calc), "half", (8_i64,)).await,
        4
    );
}

#[tokio::test]
async fn a_default_body_calls_the_other_methods() {
    let server = CalculatorServer::new(Calc);
    assert_eq!(value::<i64>(&server, "twice", (4_i64,)).await, 8);
    assert_eq!(value::<i64>(&server, "twice", (0_i64,)).await, 0);
}

#[tokio::test]
async fn arguments_borrow_from_the_request() {
    let server = BorrowsServer::new(Lender);
    assert_eq!(value::<usize>(&server, "text", ("four",)).await, 4);
    assert_eq!(
        value::<Vec<u8>>(&server, "data", (vec![1_u8, 255],)).await,
        [1, 255]
    );
    assert_eq!(
        value::<i32>(&server, "point", (Point { x: 1, y: 2 },)).await,
        3
    );
    let points = vec![Point { x: 1, y: 0 }, Point { x: 2, y: 0 }];
    assert_eq!(value::<i32>(&server, "points", (points,)).await, 3);
    assert_eq!(
        value::<String>(&server, "maybe", (Some("some"),)).await,
        "some"
    );
    assert_eq!(
        value::<String>(&server, "maybe", (None::<&str>,)).await,
        "none"
    );
    assert_eq!(value::<String>(&server, "cow", ("moo",)).await, "moo");
    assert_eq!(
        value::<String>(&server, "pair", (("a", 1_u8),)).await,
        "(\"a\", 1)"
    );
    assert_eq!(
        value::<String>(&server, "pair_by_reference", (("a", 1_u8),)).await,
        "(\"a\", 1)"
    );
    assert_eq!(
        value::<String>(&server, "words", (["b", "c"].as_slice(),)).await,
        "b c"
    );
    let map = BTreeMap::from([("key", 1_u8)]);
    assert_eq!(value::<Vec<String>>(&server, "map", (map,)).await, ["key"]);
    let many = (
        "a",
        [1_u8].as_slice(),
        Point { x: 1, y: 2 },
        None::<&str>,
        9_u64,
    );
    assert_eq!(
        value::<String>(&server, "many", many).await,
        "a [1] Point { x: 1, y: 2 } None 9"
    );
}

#[tokio::test]
async fn sixteen_arguments_travel() {
    // serde writes an array as it writes a tuple.
    assert_eq!(
        value::<u8>(&WideServer::new(Calc), "sum", [1_u8; 16]).await,
        16
    );
}

#[tokio::test]
async fn arguments_that_do_not_decode_never_reach_the_method() {
    match call(&BorrowsServer::new(Lender), "text", (u64::MAX,)).await {
        Reply::Failure(error) => {
            assert_eq!(error.code(), Code::Codec);
            assert_eq!(error.executed(), Executed::No);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_method_of_another_service_is_unimplemented() {
    let stranger = method(&BorrowsServer::new(Lender), "text");
    let request = private::request(stranger, Bytes::new());
    match CalculatorServer::new(Calc).call(request).await {
        Reply::Failure(error) => {
            assert_eq!(error.code(), Code::Unimplemented);
            assert_eq!(
                (error.service(), error.method()),
                (Some("Borrows"), Some("text"))
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_trait_object_is_served_with_async_trait() {
    let shared: Arc<dyn Greeter> = Arc::new(Polite);
    let server = GreeterServer::from_arc(shared);
    assert_eq!(
        value::<String>(&server, "greet", ("Ann",)).await,
        "good day, Ann"
    );
    assert_eq!(
        value::<String>(&server, "shout", ("Ann",)).await,
        "GOOD DAY, ANN"
    );
    let twin = GreeterServer::new(DynGreeter::new(Polite));
    assert_eq!(
        value::<String>(&twin, "greet", ("Ben",)).await,
        "good day, Ben"
    );
}

#[tokio::test]
async fn the_twin_holds_any_implementation() {
    let twins = [
        DynBorrows::new(Lender),
        DynBorrows::new(DynBorrows::new(Lender)),
    ];
    for twin in twins.clone() {
        assert_eq!(twin.text("four").await, 4);
        assert_eq!(twin.words(&["a", "b"]).await, "a b");
        assert_eq!(
            value::<usize>(&BorrowsServer::new(twin), "text", ("four",)).await,
            4
        );
    }
    // A twin takes nothing from the type that it holds.
    assert_eq!(Lender.text("four").await, 4);
    assert_eq!(format!("{:?}", twins[0]), "DynBorrows { .. }");
}

#[test]
fn the_descriptor_says_what_the_trait_says() {
    let descriptor = CalculatorServer::new(Calc).descriptor();
    assert_eq!(descriptor.name, "math.Calculator");
    assert_eq!(descriptor.version, "1.2.0");
    assert_eq!(
        descriptor.doc,
        "Integer and real arithmetic.\n\nIn two paragraphs."
    );
    let names: Vec<_> = descriptor
        .methods
        .iter()
        .map(|method| method.name)
        .collect();
    assert_eq!(
        names,
        [
            "add", "divide", "half", "constant", "nothing", "twice", "channel"
        ]
    );
    assert_eq!(GreeterServer::new(Polite).descriptor().version, "1.0.0");
}

#[test]
fn a_method_says_what_it_takes() {
    let server = CalculatorServer::new(Calc);
    let add = method(&server, "add");
    assert_eq!(add.service, "math.Calculator");
    assert_eq!(add.doc, "Adds two numbers.");
    assert_eq!(add.arguments, ["a", "b"]);
    assert!(!add.idempotent);
    assert!(method(&server, "constant").idempotent);
    assert_eq!(method(&server, "channel").arguments, ["type"]);
    assert_eq!(add.shape().arguments.len(), 2);
    assert!(add.shape().error.is_none());
    assert!(method(&server, "divide").shape().error.is_some());
    assert!(method(&server, "half").shape().error.is_some());
}

#[test]
fn futures_of_calls_move_between_threads_and_borrow_nothing() {
    fn moves<T: Send + 'static>(_: &T) {}
    let client = CalculatorClient::connect_lazy("memory:nowhere").unwrap();
    let name = String::from("half");
    let call = client.constant(&name);
    drop(name);
    moves(&call);
    moves(&client.with_deadline(std::time::Duration::from_secs(1)));
    let _: &rpc_core::Channel = client.channel();
    moves(&client.clone().divide(1.0, 2.0));
}

#[test]
fn stubs_are_debuggable() {
    fn debuggable(_: &dyn fmt::Debug) {}
    let client = CalculatorClient::connect_lazy("memory:nowhere").unwrap();
    debuggable(&client);
    assert_eq!(
        format!("{:?}", CalculatorServer::new(Calc).clone()),
        "CalculatorServer { .. }"
    );
}

async fn call(server: &impl Service, name: &str, arguments: impl Serialize) -> Reply {
    server
        .call(private::request(method(server, name), encode(arguments)))
        .await
}

fn encode(value: impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::legacy()).unwrap()
}

async fn value<T: DeserializeOwned>(
    server: &impl Service,
    name: &str,
    arguments: impl Serialize,
) -> T {
    match call(server, name, arguments).await {
        Reply::Value(bytes) => decode(&bytes),
        other => panic!("{other:?}"),
    }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> T {
    let (value, read) =
        bincode::serde::decode_from_slice(bytes, bincode::config::legacy()).unwrap();
    assert_eq!(read, bytes.len());
    value
}

fn method(server: &impl Service, name: &str) -> &'static Method {
    server
        .descriptor()
        .methods
        .iter()
        .find(|method| method.name == name)
        .unwrap()
}
