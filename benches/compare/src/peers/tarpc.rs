//! tarpc over its serde transport with bincode, in frames with a length. Tuned: buffers and calls in
//! flight 4,096 (100 and 1,000), frames of 16 MiB (8 MiB), deadline 60 s (10 s), `TCP_NODELAY`.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use tarpc::server::{BaseChannel, Channel as _};
use tarpc::tokio_serde::formats::Bincode;
use tarpc::tokio_util::codec::{Framed, LengthDelimitedCodec};
use tarpc::{client, context, serde_transport, server};

use super::{Caller, Place};
use crate::socket::{self, Socket};

const IN_FLIGHT: usize = 4096;
/// The largest payload of `echo`, in bytes: what the comparison sends.
pub(crate) const MESSAGE_MAX: usize = 16 * 1024 * 1024;

/// A payload and what stands around it.
const FRAME_MAX: usize = MESSAGE_MAX + 1024;

const DEADLINE: Duration = Duration::from_secs(60);

#[tarpc::service]
trait Bench {
    async fn add(a: i64, b: i64) -> i64;
    async fn echo(payload: Vec<u8>) -> Vec<u8>;
}

#[derive(Clone)]
struct Handler;

impl Bench for Handler {
    async fn add(self, _: context::Context, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }

    async fn echo(self, _: context::Context, payload: Vec<u8>) -> Vec<u8> {
        payload
    }
}

/// Serves for good.
pub(crate) async fn serve(place: Place, ready: impl FnOnce(Place)) -> Infallible {
    let accepting = socket::accept(place, ready, |socket| {
        let config = server::Config {
            pending_response_buffer: IN_FLIGHT,
        };
        let transport = serde_transport::new(framed(socket), Bincode::default());
        let calls = BaseChannel::new(config, transport).execute(Handler.serve());
        tokio::spawn(calls.for_each(|call| async {
            tokio::spawn(call);
        }));
    });
    accepting.await.expect("the server can accept")
}

/// Connects.
pub(crate) async fn connect(place: &Place) -> impl Caller + use<> {
    let socket = Socket::connect(place).await;
    let socket = socket.expect("the server can be reached");
    let mut config = client::Config::default();
    config.max_in_flight_requests = IN_FLIGHT;
    config.pending_request_buffer = IN_FLIGHT;
    let transport = serde_transport::new(framed(socket), Bincode::default());
    Client(BenchClient::new(config, transport).spawn())
}

#[derive(Clone)]
struct Client(BenchClient);

impl Caller for Client {
    async fn add(&self, a: i64, b: i64) -> i64 {
        self.0.add(context(), a, b).await.expect("add succeeds")
    }

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        let reply = self.0.echo(context(), payload).await;
        reply.expect("echo succeeds")
    }
}

fn context() -> context::Context {
    let mut context = context::current();
    context.deadline = Instant::now() + DEADLINE;
    context
}

fn framed(socket: Socket) -> Framed<Socket, LengthDelimitedCodec> {
    LengthDelimitedCodec::builder()
        .max_frame_length(FRAME_MAX)
        .new_framed(socket)
}
