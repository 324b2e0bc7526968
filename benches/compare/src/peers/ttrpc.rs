//! ttrpc: gRPC's services with a ten-byte header in the place of HTTP/2, made for containerd.
//!
//! Used as its documentation shows, asynchronous, with the messages of the protobuf crate and
//! without a deadline per call; it has no settings. TCP_NODELAY is set on the streams it is given,
//! because its own TCP listener leaves it off. Streams that buffer what they read, in the place of
//! its two reads a message, left small calls as they were and cost large payloads a sixth.
//!
//! Its messages end at 4 MiB, a constant of the protocol, so larger payloads cannot be compared:
//! [`MESSAGE_MAX`] is what fits.

use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use ttrpc::asynchronous::transport::{Listener, Socket};
use ttrpc::asynchronous::{Client, Server, TtrpcContext};
use ttrpc::context::Context;

use super::{Caller, Place};
use calls::{AddReply, AddRequest, Payload};
use calls_ttrpc::{Calls, CallsClient};

#[rustfmt::skip]
#[allow(warnings)]
#[path = "generated/ttrpc/calls.rs"]
mod calls;
#[rustfmt::skip]
#[allow(warnings)]
#[path = "generated/ttrpc/calls_ttrpc.rs"]
mod calls_ttrpc;

/// The largest payload of `echo`, in bytes: ttrpc's 4 MiB, less room for the names of service and
/// method and the other fields of its envelope.
pub(crate) const MESSAGE_MAX: usize = ttrpc::proto::MESSAGE_LENGTH_MAX - 1024;

/// Serves at `place`, for ever; `ready` learns where that is once connections are accepted.
///
/// # Panics
///
/// If the place cannot be bound.
pub(crate) async fn serve(place: Place, ready: impl FnOnce(Place)) -> Infallible {
    let (listener, place) = match place {
        Place::Unix(path) => {
            let listener = UnixListener::bind(&path).expect("bind ttrpc's Unix socket");
            (Listener::from(listener), Place::Unix(path))
        }
        Place::Tcp(addr) => {
            let listener = TcpListener::bind(addr)
                .await
                .expect("bind ttrpc's TCP port");
            let addr = listener.local_addr().expect("read ttrpc's TCP port");
            let incoming = TcpListenerStream::new(listener).map(|accepted| {
                let stream = accepted?;
                stream.set_nodelay(true)?;
                Ok(stream)
            });
            (Listener::new(incoming), Place::Tcp(addr))
        }
    };
    let mut server = Server::new()
        .add_listener(listener)
        .register_service(calls_ttrpc::create_calls(Arc::new(Service)));
    server.start().await.expect("start ttrpc's server");
    ready(place);
    std::future::pending().await
}

/// Connects to the server at `place`. The connection closes with the last clone of the caller.
///
/// # Panics
///
/// If nobody listens there.
pub(crate) async fn connect(place: &Place) -> Connection {
    let socket = match place {
        Place::Unix(path) => Socket::from(
            UnixStream::connect(path)
                .await
                .expect("connect to ttrpc's server"),
        ),
        Place::Tcp(addr) => {
            let stream = TcpStream::connect(addr)
                .await
                .expect("connect to ttrpc's server");
            stream.set_nodelay(true).expect("set TCP_NODELAY for ttrpc");
            Socket::from(stream)
        }
    };
    Connection(CallsClient::new(Client::new(socket)))
}

/// A connection to a ttrpc server. Its methods panic when a call fails.
#[derive(Clone)]
pub(crate) struct Connection(CallsClient);

impl Caller for Connection {
    async fn add(&self, a: i64, b: i64) -> i64 {
        let request = AddRequest {
            a,
            b,
            ..AddRequest::default()
        };
        self.0
            .add(Context::default(), &request)
            .await
            .expect("add by ttrpc")
            .sum
    }

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        let length = payload.len();
        assert!(
            length <= MESSAGE_MAX,
            "ttrpc carries {MESSAGE_MAX} bytes at most, not {length}"
        );
        let request = Payload {
            data: payload,
            ..Payload::default()
        };
        self.0
            .echo(Context::default(), &request)
            .await
            .expect("echo by ttrpc")
            .data
    }
}

/// What the server answers.
struct Service;

#[async_trait]
impl Calls for Service {
    async fn add(&self, _: &TtrpcContext, request: AddRequest) -> ttrpc::Result<AddReply> {
        Ok(AddReply {
            sum: request.a.wrapping_add(request.b),
            ..AddReply::default()
        })
    }

    async fn echo(&self, _: &TtrpcContext, request: Payload) -> ttrpc::Result<Payload> {
        Ok(request)
    }
}
