//! This framework. Raised are the limit of a message, the calls in flight on one connection and the
//! connections from one host; deadlines, cancellation, the other limits and the budgets of decoding
//! are what every user has.

use std::convert::Infallible;
use std::future::pending;

use rpc_core::{Channel, Limits, Server, ServerBuilder, service};

use super::{Caller, Place};

pub(crate) mod growth;

/// What all peers serve.
#[service]
trait Bench {
    /// The sum of two numbers.
    async fn add(&self, a: i64, b: i64) -> i64;

    /// The same bytes again.
    async fn echo(&self, payload: Vec<u8>) -> Vec<u8>;
}

struct Handler;

impl Bench for Handler {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        payload
    }
}

/// The largest payload of `echo`, in bytes: what the comparison sends.
pub(crate) const MESSAGE_MAX: usize = 16 * 1024 * 1024;

/// Serves for good.
pub(crate) async fn serve(place: Place, ready: impl FnOnce(Place)) -> Infallible {
    start(
        Server::builder().service(BenchServer::new(Handler)),
        place,
        ready,
    )
    .await
}

async fn start(builder: ServerBuilder, place: Place, ready: impl FnOnce(Place)) -> Infallible {
    let server = builder
        .limits(limits())
        .connections_max(CONNECTIONS_MAX)
        .connections_per_peer_max(CONNECTIONS_MAX)
        .listen(address(&place))
        .start()
        .await
        .expect("the server starts");
    let bound = match place {
        Place::Unix(path) => Place::Unix(path),
        Place::Tcp(_) => {
            let address = server.addresses()[0].trim_start_matches("tcp://");
            Place::Tcp(address.parse().expect("the server is bound to an address"))
        }
    };
    ready(bound);
    pending().await
}

/// Connects.
pub(crate) async fn connect(place: &Place) -> impl Caller + use<> {
    let channel = Channel::builder(address(place)).limits(limits());
    let channel = channel.connect().await.expect("the server can be reached");
    Client(BenchClient::new(channel))
}

#[derive(Clone)]
struct Client(BenchClient);

impl Caller for Client {
    async fn add(&self, a: i64, b: i64) -> i64 {
        self.0.add(a, b).await.expect("add succeeds")
    }

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        self.0.echo(payload).await.expect("echo succeeds")
    }
}

/// Room for the 10,100 connections of the row with idle ones: all of them come from one host.
const CONNECTIONS_MAX: usize = 16_384;

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.message = MESSAGE_MAX + 1024;
    // The rows go up to 1,024 in flight on one connection.
    limits.calls = 4096;
    limits
}

fn address(place: &Place) -> String {
    match place {
        Place::Unix(path) => format!("unix:{}", path.display()),
        Place::Tcp(address) => format!("tcp://{address}"),
    }
}
