//! What every peer must do before its figures mean anything: answer correctly at both places, up to
//! its largest message and with many calls in flight, and close a connection that nobody uses.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use super::{Caller, Place};

/// The echoes of the comparison; a peer whose messages end earlier sends what fits.
const PAYLOADS: [usize; 4] = [0, 1 << 10, 1 << 20, 16 << 20];

/// Far above what any of this takes, even unoptimised on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

macro_rules! peers {
    ($($peer:ident: $path:path),* $(,)?) => {$(
        mod $peer {
            use $path as peer;
            use super::{Socket, accept, answer, hang_up, run, start};
            use peer::{MESSAGE_MAX, connect, serve};
            use crate::peers::Place;

            #[test]
            fn answers_on_a_unix_socket() {
                let socket = Socket::new(concat!(stringify!($peer), "-answers"));
                run(async {
                    let place = start(|ready| serve(socket.place(), ready)).await;
                    answer(connect(&place).await, MESSAGE_MAX).await;
                });
            }

            #[test]
            fn answers_on_tcp() {
                run(async {
                    let place = start(|ready| serve(super::any_port(), ready)).await;
                    assert!(!matches!(place, Place::Tcp(addr) if addr.port() == 0), "{place:?}");
                    answer(connect(&place).await, MESSAGE_MAX).await;
                });
            }

            #[test]
            fn closes_the_connection_with_its_last_caller() {
                let socket = Socket::new(concat!(stringify!($peer), "-caller"));
                run(accept(&socket, connect(&socket.place())));
            }

            #[test]
            fn closes_the_connection_of_a_client_that_left() {
                let socket = Socket::new(concat!(stringify!($peer), "-left"));
                run(async {
                    start(|ready| serve(socket.place(), ready)).await;
                    hang_up(&socket).await;
                });
            }
        }
    )*};
}

peers! {
    ours: crate::peers::ours,
    ceiling: crate::peers::ceiling::calls,
    tarpc: crate::peers::tarpc,
    tonic: crate::peers::tonic,
    capnp: crate::peers::capnp,
    ttrpc: crate::peers::ttrpc,
}

/// Calls `caller` in every way the comparison does and looks at what comes back.
async fn answer(caller: impl Caller, message_max: usize) {
    assert_eq!(caller.add(-2, 44).await, 42);
    assert_eq!(caller.add(i64::MAX, i64::MIN).await, -1);

    let sums = join_all((0..64).map(|a| caller.add(a, -2 * a))).await;
    assert_eq!(sums, (0..64).map(|a| -a).collect::<Vec<i64>>());

    for length in PAYLOADS
        .into_iter()
        .filter(|length| *length < message_max)
        .chain([message_max])
    {
        // Neither constant nor of a period that divides a buffer's size.
        let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let echo = caller.echo(payload.clone()).await;
        assert!(
            echo == payload,
            "an echo of {length} bytes came back otherwise"
        );
    }
}

/// The end of a stream shows at a server's side once `connect`'s caller and its clone are dropped.
async fn accept<C: Caller>(socket: &Socket, connect: impl Future<Output = C>) {
    let listener = UnixListener::bind(&socket.0).expect("bind the socket");
    let caller = connect.await;
    let (mut stream, _) = listener.accept().await.expect("accept the caller");

    let clone = caller.clone();
    drop(caller);
    drop(clone);
    stream
        .read_to_end(&mut Vec::new())
        .await
        .expect("read until the caller closes");
}

/// The end of a stream shows at a client's side once it has hung up.
async fn hang_up(socket: &Socket) {
    let mut stream = UnixStream::connect(&socket.0)
        .await
        .expect("connect to the server");
    stream.shutdown().await.expect("hang up");
    stream
        .read_to_end(&mut Vec::new())
        .await
        .expect("read until the server closes");
}

/// Starts a server beside the test and returns where it listens.
async fn start<S>(serve: impl FnOnce(Box<dyn FnOnce(Place)>) -> S) -> Place
where
    S: Future<Output = Infallible> + 'static,
{
    let (ready, place) = oneshot::channel();
    let server = serve(Box::new(move |place| {
        ready.send(place).expect("the test waits")
    }));
    spawn_local(async move {
        server.await;
    });
    place.await.expect("the server becomes ready")
}

/// Runs `test` as every peer can be run: on one thread, inside a `LocalSet`.
fn run(test: impl Future<Output = ()>) {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new()
        .block_on(&runtime, async { timeout(PATIENCE, test).await })
        .unwrap_or_else(|_| panic!("the test took longer than {PATIENCE:?}"));
}

/// A port of the system's choice.
fn any_port() -> Place {
    Place::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
}

/// The path of a Unix socket, removed when dropped.
struct Socket(PathBuf);

impl Socket {
    fn new(name: &str) -> Self {
        let file = format!("compare-{name}-{}.sock", std::process::id());
        Self(std::env::temp_dir().join(file))
    }

    fn place(&self) -> Place {
        Place::Unix(self.0.clone())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
