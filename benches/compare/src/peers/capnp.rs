//! capnp-rpc: Cap'n Proto's object protocol, whose messages are laid out as they are sent.
//!
//! Tuned as its documentation advises: buffered halves, and no traversal limit, which would refuse
//! large payloads. TCP_NODELAY, which is the user's to set here. Telling each request its size, so
//! that its first segment fits, gained 7 % at most, on echoes of 16 MiB; the generated methods leave
//! it out, and so does this.
//!
//! Everything in it is tied to one thread, so [`serve`], [`connect`] and every call must run inside
//! one `LocalSet`, on a current_thread runtime. [`Connection`] is `Send` by [`SendWrapper`] only,
//! to fit the interface of the comparison: used from another thread, it panics. A multi_thread
//! runtime is therefore not measured.

use std::convert::Infallible;
use std::rc::Rc;

use capnp::message::ReaderOptions;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use futures::io::{BufReader, BufWriter};
use send_wrapper::SendWrapper;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::{JoinHandle, spawn_local};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use super::{Caller, Place};
use calls_capnp::calls;

#[rustfmt::skip]
#[allow(warnings)]
#[path = "generated/capnp/calls_capnp.rs"]
mod calls_capnp;

/// The largest payload of `echo`, in bytes. The format ends at 512 MiB: this is four times what the
/// comparison sends.
pub(crate) const MESSAGE_MAX: usize = 64 << 20;

/// Serves at `place`, for ever; `ready` learns where that is once connections are accepted.
///
/// # Panics
///
/// If the place cannot be bound, and outside a `LocalSet`.
pub(crate) async fn serve(place: Place, ready: impl FnOnce(Place)) -> Infallible {
    let service: calls::Client = capnp_rpc::new_client(Service);
    match place {
        Place::Unix(path) => {
            let listener = UnixListener::bind(&path).expect("bind capnp's Unix socket");
            ready(Place::Unix(path));
            loop {
                let (stream, _) = listener.accept().await.expect("accept for capnp");
                let (read, write) = stream.into_split();
                attend(read, write, service.clone());
            }
        }
        Place::Tcp(addr) => {
            let listener = TcpListener::bind(addr)
                .await
                .expect("bind capnp's TCP port");
            ready(Place::Tcp(
                listener.local_addr().expect("read capnp's TCP port"),
            ));
            loop {
                let (stream, _) = listener.accept().await.expect("accept for capnp");
                stream.set_nodelay(true).expect("set TCP_NODELAY for capnp");
                let (read, write) = stream.into_split();
                attend(read, write, service.clone());
            }
        }
    }
}

/// Connects to the server at `place`. The connection closes with the last clone of the caller.
///
/// # Panics
///
/// If nobody listens there, and outside a `LocalSet`.
pub(crate) async fn connect(place: &Place) -> Connection {
    match place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path)
                .await
                .expect("connect to capnp's server");
            let (read, write) = stream.into_split();
            open(read, write)
        }
        Place::Tcp(addr) => {
            let stream = TcpStream::connect(addr)
                .await
                .expect("connect to capnp's server");
            stream.set_nodelay(true).expect("set TCP_NODELAY for capnp");
            let (read, write) = stream.into_split();
            open(read, write)
        }
    }
}

/// A connection to a capnp-rpc server, bound to the thread that made it. Its methods panic when a
/// call fails.
#[derive(Clone)]
pub(crate) struct Connection(SendWrapper<Rc<Session>>);

impl Caller for Connection {
    fn add(&self, a: i64, b: i64) -> impl Future<Output = i64> + Send {
        let mut request = self.0.calls.add_request();
        request.get().set_a(a);
        request.get().set_b(b);
        SendWrapper::new(async move {
            let response = request.send().promise.await.expect("add by capnp");
            response.get().expect("a sum from capnp").get_sum()
        })
    }

    fn echo(&self, payload: Vec<u8>) -> impl Future<Output = Vec<u8>> + Send {
        let mut request = self.0.calls.echo_request();
        request.get().set_payload(&payload);
        SendWrapper::new(async move {
            // The request holds the payload now.
            drop(payload);
            let response = request.send().promise.await.expect("echo by capnp");
            let results = response.get().expect("a reply from capnp");
            results
                .get_payload()
                .expect("a payload from capnp")
                .to_vec()
        })
    }
}

/// The client's end, shared by the clones of a [`Connection`].
struct Session {
    calls: calls::Client,
    /// Moves the messages. It would keep the socket open after the last caller is gone, so it ends
    /// with the session.
    driver: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// The client's side of a connected stream.
fn open(
    read: impl AsyncRead + Unpin + 'static,
    write: impl AsyncWrite + Unpin + 'static,
) -> Connection {
    let mut system = RpcSystem::new(network(read, write, Side::Client), None);
    let calls = system.bootstrap(Side::Server);
    let driver = spawn_local(async move {
        // How it ended, the calls in flight are told.
        let _ = system.await;
    });
    Connection(SendWrapper::new(Rc::new(Session { calls, driver })))
}

/// The server's side of an accepted stream.
fn attend(
    read: impl AsyncRead + Unpin + 'static,
    write: impl AsyncWrite + Unpin + 'static,
    service: calls::Client,
) {
    let system = RpcSystem::new(network(read, write, Side::Server), Some(service.client));
    spawn_local(async move {
        // A client that goes away is no news.
        let _ = system.await;
    });
}

/// What carries the messages of one connection; `side` is ours.
fn network(
    read: impl AsyncRead + Unpin + 'static,
    write: impl AsyncWrite + Unpin + 'static,
    side: Side,
) -> Box<dyn capnp_rpc::VatNetwork<Side>> {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(None);
    let read = BufReader::new(read.compat());
    let write = BufWriter::new(write.compat_write());
    Box::new(VatNetwork::new(read, write, side, options))
}

/// What the server answers.
struct Service;

impl calls::Server for Service {
    async fn add(
        self: Rc<Self>,
        params: calls::AddParams,
        mut results: calls::AddResults,
    ) -> Result<(), capnp::Error> {
        let params = params.get()?;
        results
            .get()
            .set_sum(params.get_a().wrapping_add(params.get_b()));
        Ok(())
    }

    async fn echo(
        self: Rc<Self>,
        params: calls::EchoParams,
        mut results: calls::EchoResults,
    ) -> Result<(), capnp::Error> {
        results.get().set_payload(params.get()?.get_payload()?);
        Ok(())
    }
}
