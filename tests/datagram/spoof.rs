//! Senders who are not who they say, or say nothing that makes sense (row 40).
//!
//! A false source address needs privileges; to a server, an address that never showed a cookie is the
//! same. What it sends to such an address must never be more than what came from there.

use std::net::UdpSocket;
use std::time::Duration;

use fastrand::Rng;

use super::ledger::{Book, LedgerClient};
use super::rng;

const SENDERS: usize = 100;
const DATAGRAMS: usize = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_40_ten_thousand_spoofed_requests_are_not_amplified_and_leave_nothing() {
    let book = Book::default();
    let server = book.serve("udp://127.0.0.1:0").await;
    let address = server.addresses()[0].clone();
    let honest = LedgerClient::connect(&address).await.unwrap();
    assert_eq!(honest.note(0).await, Ok(0));
    let to = address.trim_start_matches("udp://").to_owned();
    let mut rng = rng();
    let flood = tokio::task::spawn_blocking(move || {
        let mut totals = (0, 0);
        for sender in 0..SENDERS {
            // Many addresses of this host, and a port of each.
            let from = format!("127.0.{}.{}:0", sender / 250, 2 + sender % 250);
            let socket = UdpSocket::bind(from).unwrap();
            socket.connect(&to).unwrap();
            let (sent, received) = attack(&socket, &mut rng);
            assert!(received <= sent, "{received} bytes for {sent}");
            totals = (totals.0 + sent, totals.1 + received);
        }
        totals
    });
    // Beside them an honest client goes on.
    let mut number = 1;
    while !flood.is_finished() {
        assert_eq!(honest.note(number).await, Ok(number));
        number += 1;
    }
    let (sent, received) = flood.await.unwrap();
    println!(
        "{} datagrams of {sent} bytes were answered with {received} bytes: {:.2}; {number} honest calls",
        SENDERS * DATAGRAMS,
        received as f64 / sent as f64
    );
    assert!(received <= sent && received > 0);
    assert_eq!(server.connections(), 1, "the honest one");
    assert_eq!(book.totals().0 as u64, number, "nothing else ran");
}

/// Sends all that can be sent without a cookie; bytes that were sent and received.
fn attack(socket: &UdpSocket, rng: &mut Rng) -> (usize, usize) {
    socket
        .set_read_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let (mut sent, mut received) = (0, 0);
    let mut buffer = [0; 4096];
    for index in 0..DATAGRAMS {
        let datagram = match index % 5 {
            0 => hello(rng),
            1 => hello(rng)[..rng.usize(..1200)].to_vec(),
            2 => shown(0x10, 100, rng),
            3 => shown(0x03, 40, rng),
            _ => (0..rng.usize(1..1200)).map(|_| rng.u8(..)).collect(),
        };
        sent += socket.send(&datagram).unwrap();
        // Answers are taken now and then, so that none is lost for want of room.
        if index % 10 == 9 {
            while let Ok(length) = socket.recv(&mut buffer) {
                received += length;
            }
        }
    }
    (sent, received)
}

/// What a datagram begins with, of a client of no name.
fn header(kind: u8, rng: &mut Rng) -> Vec<u8> {
    let mut header = vec![0xf8, b'R', b'P', b'D', 1, kind, 0, 0];
    header.extend(rng.u64(..).to_le_bytes());
    let number = u64::from(kind == 0x10);
    header.extend(number.to_le_bytes());
    header
}

/// A hello as it should be.
fn hello(rng: &mut Rng) -> Vec<u8> {
    let mut hello = header(0x01, rng);
    hello.extend([1, 0, 1, 0]);
    for parameter in [4 << 20, 256, 1 << 20, 1 << 16] {
        hello.extend(u32::to_le_bytes(parameter));
    }
    hello.extend([1, 1]);
    let padding = 1200 - hello.len() - 3;
    hello.push(0);
    hello.extend(u16::try_from(padding).unwrap().to_le_bytes());
    hello.resize(1200, 0);
    hello
}

/// A datagram of a client that has a cookie, which is made up.
fn shown(kind: u8, length: usize, rng: &mut Rng) -> Vec<u8> {
    let mut datagram = header(kind, rng);
    datagram.resize_with(length, || rng.u8(..));
    datagram
}
