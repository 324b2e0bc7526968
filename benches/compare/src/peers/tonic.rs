//! tonic: gRPC over HTTP/2, with prost's messages.
//!
//! Tuned for one busy connection, on both sides: windows larger than anything measured, so that
//! flow control never pauses a payload; the largest frames that still let calls take turns; as many
//! streams as calls are ever in flight; the client's queue as long; TCP_NODELAY; message limits
//! raised. The rest, the generated code with its `Vec<u8>` payloads included, is as tonic's users
//! have it: payloads generated as `Bytes` moved no figure by more than runs differ.

use std::convert::Infallible;

use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use super::{Caller, Place};
use calls::calls_client::CallsClient;
use calls::calls_server::{Calls, CallsServer};
use calls::{AddReply, AddRequest, Payload};

#[rustfmt::skip]
#[allow(warnings)]
#[path = "generated/tonic/calls.rs"]
mod calls;

/// The largest payload of `echo`, in bytes. tonic would allow any: this is four times what the
/// comparison sends.
pub(crate) const MESSAGE_MAX: usize = 64 << 20;

/// What a message may hold: the payload and the fields around it.
const MESSAGE_LIMIT: usize = MESSAGE_MAX + 1024;

/// Twice the largest payload measured, so that a window never closes during a call.
const WINDOW: u32 = 32 << 20;

/// The default of 16 KiB costs a payload of 16 MiB a thousand frames each way.
const FRAME_MAX: u32 = 1 << 20;

/// Above the 1,024 calls that are in flight at most, so that none waits for a stream or for a place
/// in the client's queue, which holds 1,024 by default.
const STREAMS_MAX: u32 = 4096;

/// Serves at `place`, for ever; `ready` learns where that is once connections are accepted.
///
/// # Panics
///
/// If the place cannot be bound.
pub(crate) async fn serve(place: Place, ready: impl FnOnce(Place)) -> Infallible {
    let service = CallsServer::new(Service)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    let server = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .add_service(service);
    let ended = match place {
        Place::Unix(path) => {
            let listener = UnixListener::bind(&path).expect("bind tonic's Unix socket");
            ready(Place::Unix(path));
            server
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
        }
        Place::Tcp(addr) => {
            let listener = TcpListener::bind(addr)
                .await
                .expect("bind tonic's TCP port");
            ready(Place::Tcp(
                listener.local_addr().expect("read tonic's TCP port"),
            ));
            // The builder's own switch is ignored for listeners made by somebody else.
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            server.serve_with_incoming(incoming).await
        }
    };
    panic!("tonic's server ended by itself: {ended:?}")
}

/// Connects to the server at `place`. The connection closes with the last clone of the caller.
///
/// # Panics
///
/// If nobody listens there.
pub(crate) async fn connect(place: &Place) -> Connection {
    let uri = match place {
        Place::Unix(path) => format!("unix://{}", path.display()),
        Place::Tcp(addr) => format!("http://{addr}"),
    };
    let channel = Endpoint::from_shared(uri)
        .expect("the place is a URI")
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME_MAX)
        .buffer_size(STREAMS_MAX as usize)
        .tcp_nodelay(true)
        .connect()
        .await
        .expect("connect to tonic's server");
    let client = CallsClient::new(channel)
        .max_decoding_message_size(MESSAGE_LIMIT)
        .max_encoding_message_size(MESSAGE_LIMIT);
    Connection(client)
}

/// A connection to a tonic server. Its methods panic when a call fails.
#[derive(Clone, Debug)]
pub(crate) struct Connection(CallsClient<Channel>);

impl Caller for Connection {
    async fn add(&self, a: i64, b: i64) -> i64 {
        // The generated methods want the client to themselves; a clone is how tonic shares it.
        let mut client = self.0.clone();
        let reply = client.add(AddRequest { a, b }).await.expect("add by tonic");
        reply.into_inner().sum
    }

    async fn echo(&self, payload: Vec<u8>) -> Vec<u8> {
        let mut client = self.0.clone();
        let reply = client
            .echo(Payload { data: payload })
            .await
            .expect("echo by tonic");
        reply.into_inner().data
    }
}

/// What the server answers.
struct Service;

#[tonic::async_trait]
impl Calls for Service {
    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddReply>, Status> {
        let AddRequest { a, b } = request.into_inner();
        Ok(Response::new(AddReply {
            sum: a.wrapping_add(b),
        }))
    }

    async fn echo(&self, request: Request<Payload>) -> Result<Response<Payload>, Status> {
        Ok(Response::new(request.into_inner()))
    }
}
