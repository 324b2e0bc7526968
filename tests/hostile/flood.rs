//! Who opens connections faster, or more of them, than anybody needs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rpc_core::{Channel, ServerBuilder};

use super::prey::{Fort, PreyClient, TCP, eventually, unix_address};
use super::wire::*;

/// Connections of the flood, all from one host.
const FLOOD: usize = 20_000;

/// How many of them may stay; the server's own number for one peer.
const STAY: usize = ServerBuilder::CONNECTIONS_PER_PEER_MAX;

/// What became of a connection.
enum Outcome {
    Accepted(TcpStream),
    /// By a refusal that says why.
    Refused,
}

impl Outcome {
    /// Connects, says hello and waits for the answer.
    fn of(address: &str) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        socket.write_all(&opening()).unwrap();
        let (mut magic, mut head) = ([0; 8], [0; 16]);
        socket.read_exact(&mut magic).unwrap();
        socket.read_exact(&mut head).unwrap();
        let mut body = vec![0; u32::from_le_bytes(head[..4].try_into().unwrap()) as usize];
        socket.read_exact(&mut body).unwrap();
        assert_eq!((magic.as_slice(), head[4]), (MAGIC, ANSWER));
        match body[0] {
            0 => Self::Accepted(socket),
            code::OVERLOADED => {
                let text = String::from_utf8_lossy(&body);
                assert!(text.contains("allows to one peer"), "{text}");
                Self::Refused
            }
            other => panic!("refused for another reason: {other}"),
        }
    }
}

/// Calls one after another until `done`: how long each took, the longest last.
async fn honest_calls(client: &PreyClient, done: impl Fn() -> bool) -> Vec<Duration> {
    let mut took = Vec::new();
    while !done() {
        let began = Instant::now();
        assert_eq!(client.add(1, 1).await, Ok(2), "an honest client suffers");
        took.push(began.elapsed());
        // One call a millisecond is what somebody does who is not in a hurry.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    took.sort_unstable();
    took
}

fn in_99_of_100(took: &[Duration]) -> Duration {
    took[took.len() * 99 / 100]
}

/// What the flood may not move is who is served: the times depend on the machine, which the flood
/// shares with the server here, and are printed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_a_flood_of_connections_is_refused_with_a_reason_and_others_are_served() {
    let beside = unix_address();
    let fort = Fort::built(TCP, |builder| {
        builder.connections_per_peer_max(STAY).listen(&*beside)
    })
    .await;
    let honest = PreyClient::new(Channel::connect(&*beside).await.unwrap());
    let began = Instant::now();
    let quiet = honest_calls(&honest, || began.elapsed() > Duration::from_millis(300)).await;

    let address = fort.address().trim_start_matches("tcp://").to_owned();
    let began = Instant::now();
    let flood = tokio::task::spawn_blocking(move || {
        let mut accepted = Vec::new();
        let mut refused = 0;
        for _ in 0..FLOOD {
            match Outcome::of(&address) {
                Outcome::Accepted(socket) => accepted.push(socket),
                Outcome::Refused => refused += 1,
            }
        }
        (accepted, refused)
    });
    let flooded = honest_calls(&honest, || flood.is_finished()).await;
    let (accepted, refused) = flood.await.unwrap();
    println!(
        "{FLOOD} connections in {:?}; an honest call beside them {:?}, before them {:?} (p99)",
        began.elapsed(),
        in_99_of_100(&flooded),
        in_99_of_100(&quiet),
    );
    assert_eq!((accepted.len(), refused), (STAY, FLOOD - STAY));
    let newcomer = PreyClient::new(Channel::connect(&*beside).await.unwrap());
    assert_eq!(newcomer.add(2, 3).await, Ok(5));
    assert_eq!(fort.server.connections(), STAY + 2);

    drop((accepted, honest, newcomer));
    eventually("they are gone", || fort.server.connections() == 0).await;
    fort.stands().await;
}

/// Connects and goes, without a word or in the middle of one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_connections_that_come_and_go_leave_nothing() {
    let beside = unix_address();
    let fort = Fort::built(TCP, |builder| builder.listen(&*beside)).await;
    let honest = PreyClient::new(Channel::connect(&*beside).await.unwrap());
    let address = fort.address().trim_start_matches("tcp://").to_owned();
    let churn = tokio::task::spawn_blocking(move || {
        let opening = opening();
        for i in 0..FLOOD {
            let mut socket = TcpStream::connect(&address).unwrap();
            // A server that was quick to close may have reset it.
            let _ = socket.write_all(&opening[..i % (opening.len() + 1)]);
        }
    });
    let took = honest_calls(&honest, || churn.is_finished()).await;
    churn.await.unwrap();
    println!(
        "an honest call beside them: {:?} (p99)",
        in_99_of_100(&took)
    );
    drop(honest);
    eventually("they are gone", || fort.server.connections() == 0).await;
    fort.stands().await;
}
