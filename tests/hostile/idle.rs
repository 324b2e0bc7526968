//! What a connection costs the server that nobody uses: who may open one may open many.
//!
//! The clients have nothing on the heap, so that all that is counted is the server's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};

use rpc_core::Limits;

use super::memory::{Memory, measures};
use super::prey::{Fort, TCP, method, unix_address};
use super::wire::*;

/// Bytes that an idle connection may take.
const EACH: usize = 3 * 1024;

/// Connections that are counted, after as many that are not: what all share is there by then.
const CONNECTIONS: usize = 500;

/// A client that is a socket and no more.
trait Bare: Read + Write + Send + 'static {}

impl<T: Read + Write + Send + 'static> Bare for T {}

fn tcp(address: &str) -> TcpStream {
    TcpStream::connect(address.strip_prefix("tcp://").unwrap()).unwrap()
}

fn unix(address: &str) -> UnixStream {
    let name = address.strip_prefix("unix:@").unwrap();
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

/// Says something and reads until so many calls are answered.
fn converse(socket: &mut impl Bare, bytes: &[u8], answered: usize) {
    socket.write_all(bytes).unwrap();
    let mut left = answered;
    while left > 0 {
        let (mut header, mut body) = ([0; 16], [0; 1024]);
        socket.read_exact(&mut header).unwrap();
        let length = u32::from_le_bytes(header[..4].try_into().unwrap());
        socket.read_exact(&mut body[..length as usize]).unwrap();
        left -= usize::from(header[4] == RESPONSE);
    }
}

/// Shakes hands, and calls once.
fn greet(socket: &mut impl Bare) {
    let call = method("add").request(1, 5000, ADD);
    socket
        .write_all(&[MAGIC, &hello(), &call].concat())
        .unwrap();
    let mut magic = [0; 8];
    socket.read_exact(&mut magic).unwrap();
    assert_eq!(magic, MAGIC);
    converse(socket, &[], 1);
    converse(socket, &frame(READY, 0, 0, &[]), 0);
}

/// What each of many connections takes once it has been used so.
async fn measure<S: Bare>(
    address: &str,
    open: impl Fn(&str) -> S + Copy + Send + 'static,
    using: impl Fn(&mut S) + Copy + Send + 'static,
) {
    let fort = Fort::built(address, |builder| {
        let mut limits = Limits::default();
        limits.calls = 1024;
        builder.limits(limits)
    })
    .await;
    let connect = async || {
        let address = fort.address().to_owned();
        let connecting = tokio::task::spawn_blocking(move || {
            let mut sockets: [Option<S>; CONNECTIONS] = std::array::from_fn(|_| None);
            for place in &mut sockets {
                let socket = place.insert(open(&address));
                greet(socket);
                using(socket);
            }
            sockets
        });
        connecting.await.unwrap()
    };
    let first = connect().await;
    settle().await;
    let before = Memory::now();
    let second = connect().await;
    settle().await;
    assert_eq!(fort.server.connections(), 2 * CONNECTIONS);
    before.assert_allocated_at_most(CONNECTIONS * EACH);
    drop((first, second));
    fort.stands().await;
}

/// What is left of calls goes within a second of the last.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
}

/// Calls that are answered at once and calls that are given up, many at a time.
fn crowd(socket: &mut impl Bare) {
    let (add, hold) = (method("add"), method("hang"));
    let mut bytes = Vec::new();
    for id in 0..300 {
        bytes.extend(add.request(2 + 2 * id, 5000, ADD));
        bytes.extend(hold.request(3 + 2 * id, 60_000, &[]));
    }
    converse(socket, &bytes, 300);
    bytes.clear();
    for id in 0..300 {
        bytes.extend(frame(CANCEL, 0, 3 + 2 * id, &[]));
    }
    converse(socket, &bytes, 0);
}

#[tokio::test]
async fn row_01_an_idle_connection_over_tcp_is_small() {
    if measures("idle::row_01_an_idle_connection_over_tcp_is_small") {
        measure(TCP, tcp, |_| {}).await;
    }
}

#[tokio::test]
async fn row_01_an_idle_connection_over_a_unix_socket_is_small() {
    if measures("idle::row_01_an_idle_connection_over_a_unix_socket_is_small") {
        measure(&unix_address(), unix, |_| {}).await;
    }
}

#[tokio::test]
async fn row_01_a_connection_that_was_crowded_is_small_again() {
    if measures("idle::row_01_a_connection_that_was_crowded_is_small_again") {
        measure(&unix_address(), unix, crowd).await;
    }
}
