//! Random bytes at every stage of a connection, at either end.
//!
//! `SEED=` repeats a run; the seed of a failed one is printed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use fastrand::Rng;
use rpc_core::transport::{Conduit, Connector, Peer};
use rpc_core::{Channel, Error, Limits};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::memory::{MIB, Memory, measures};
use super::prey::{
    Fort, PreyClient, TCP, assert_no_panic_inside, method, unix_address, watch_for_panics,
};
use super::wire::*;

fn seed() -> u64 {
    let given = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    seed
}

/// How many streams of each test run at once.
const AT_ONCE: u64 = 16;

/// How much larger a process may be after all the streams of a test: twice what the measuring
/// takes, and less than a kilobyte for each stream.
const GROWTH_MAX: usize = 8 * MIB;

/// Everything that an honest client may say, in one go.
fn transcript() -> Vec<u8> {
    let mut bytes = opening();
    bytes.extend(method("add").request(1, 5000, ADD));
    bytes.extend(frame(PING, 0, 0, &[1; 8]));
    bytes.extend(method("string").request(2, 5000, &[&length(3)[..], b"abc"].concat()));
    let head = method("blob").head(5000);
    bytes.extend(frame(REQUEST, MORE, 3, &[head, vec![200]].concat()));
    bytes.extend(frame(CHUNK, MORE, 3, &[7; 100]));
    bytes.extend(frame(CHUNK, 0, 3, &[7; 100]));
    bytes.extend(method("hang").request(4, 50, &[]));
    bytes.extend(frame(CANCEL, 0, 4, &[]));
    let mut metadata = method("add").head(5000);
    metadata.extend([1, 1, 1, 1, 0, b'k', b'v', 2, 2]);
    bytes.extend(frame(REQUEST, METADATA, 5, &metadata));
    bytes.extend(frame(CREDIT, 0, 0, &[0, 1, 0, 0]));
    bytes.extend(frame(PONG, 0, 0, &[1; 8]));
    bytes.extend(go_away(0, 14, "done"));
    bytes
}

/// What a hostile server may say to one call.
fn server_transcript() -> Vec<u8> {
    let mut bytes = [MAGIC, &answer(GENEROUS)].concat();
    bytes.extend(frame(PING, 0, 0, &[1; 8]));
    bytes.extend(Target::UNKNOWN.request(1, 100, &[1]));
    bytes.extend(frame(CREDIT, 0, 0, &[0, 1, 0, 0]));
    bytes.extend(frame(RESPONSE, MORE, 1, &value(FIVE)));
    bytes.extend(frame(CHUNK, MORE | CALLEE, 1, &[1; 50]));
    bytes.extend(frame(CHUNK, CALLEE, 1, &[1; 50]));
    bytes.extend(go_away(1, 14, "done"));
    bytes
}

fn noise(rng: &mut Rng, most: usize) -> Vec<u8> {
    let length = rng.usize(..=most);
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

/// Frames with a sound header and anything in them.
fn frames(rng: &mut Rng) -> Vec<u8> {
    const KINDS: [u8; 13] = [
        HELLO, ANSWER, READY, REQUEST, RESPONSE, CHUNK, CANCEL, ITEM, END, CREDIT, PING, PONG,
        GO_AWAY,
    ];
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(1..8) {
        let kind = rng.choice(KINDS).unwrap_or(PING);
        let flags = rng.choice([0, MORE, METADATA, CALLEE, MORE | CALLEE]);
        let id = rng.u64(..6);
        let mut body = noise(rng, 40);
        if kind == REQUEST && rng.bool() {
            let names = [
                "add", "string", "blob", "tree", "units", "swelling", "scalars",
            ];
            let target = method(rng.choice(names).unwrap_or("add"));
            body = [target.head(rng.u32(..)), body].concat();
        }
        bytes.extend(frame(kind, flags.unwrap_or(0), id, &body));
    }
    bytes
}

/// A conversation with some damage.
fn damaged(rng: &mut Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..rng.usize(1..6) {
        let at = rng.usize(..bytes.len().max(1));
        match rng.u8(..5) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes[at] ^= 1 << rng.u8(..8),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..(at + rng.usize(1..20)).min(bytes.len()))),
            _ => {
                let piece = bytes[at..(at + rng.usize(1..60)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

/// One hostile client's stream, at any stage.
fn attack(rng: &mut Rng) -> Vec<u8> {
    let hello = [MAGIC, &hello()].concat();
    match rng.u8(..8) {
        0 => noise(rng, 200),
        1 => [MAGIC.to_vec(), noise(rng, 200)].concat(),
        2 => [MAGIC.to_vec(), frames(rng)].concat(),
        3 => [hello, noise(rng, 200)].concat(),
        4 => [hello, frames(rng)].concat(),
        5 => [opening(), noise(rng, 200)].concat(),
        6 => [opening(), frames(rng)].concat(),
        _ => damaged(rng, transcript()),
    }
}

/// One hostile server's stream, at any stage.
fn counterattack(rng: &mut Rng) -> Vec<u8> {
    let accepted = [MAGIC, &answer(GENEROUS)].concat();
    match rng.u8(..5) {
        0 => noise(rng, 200),
        1 => [MAGIC.to_vec(), noise(rng, 200)].concat(),
        2 => [accepted, noise(rng, 200)].concat(),
        3 => [accepted, frames(rng)].concat(),
        _ => damaged(rng, server_transcript()),
    }
}

/// The slowest of a hundred calls but one.
async fn p99(client: &PreyClient) -> Duration {
    let mut times = Vec::new();
    for i in 0..100 {
        let start = Instant::now();
        assert_eq!(
            client.add(i, 1).await,
            Ok(i + 1),
            "an honest client suffers"
        );
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[98]
}

/// Where attackers run: on a thread of their own, as if they were elsewhere, so that what an honest
/// client waits for is the server.
fn camp() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

/// Sends so many streams to the server, each over a connection of its own; the worst that an honest
/// client saw meanwhile.
async fn send(
    fort: &Fort,
    honest: &PreyClient,
    streams: u64,
    seed: u64,
    stream: fn(&mut Rng) -> Vec<u8>,
) -> Duration {
    let next = Arc::new(AtomicU64::new(0));
    let camp = camp();
    let mut senders = JoinSet::new();
    for _ in 0..AT_ONCE {
        let next = Arc::clone(&next);
        let address = fort.address().to_owned();
        let sender = async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= streams {
                    return;
                }
                let mut rng = Rng::with_seed(seed.wrapping_add(number));
                let bytes = stream(&mut rng);
                let mut raw = Raw::connect(&address).await;
                // Sometimes in two pieces.
                let (first, second) = bytes.split_at(rng.usize(..=bytes.len()));
                raw.send(first).await;
                if rng.u8(..4) == 0 {
                    tokio::task::yield_now().await;
                }
                raw.send(second).await;
                raw.finish().await;
                raw.drain().await;
            }
        };
        senders.spawn_on(sender, camp.handle());
    }
    let mut worst = Duration::ZERO;
    while next.load(Ordering::Relaxed) < streams {
        worst = worst.max(p99(honest).await);
    }
    senders.join_all().await;
    camp.shutdown_background();
    worst
}

/// Attacks the server at `address` with so many streams while an honest client works, and sees that
/// they leave nothing in memory.
async fn besiege(address: &str, streams: u64) {
    let before = Memory::now();
    let seed = seed();
    let fort = Fort::at(address).await;
    let honest = fort.client().await;
    // The measure is a crowd of well-behaved clients, because the machine has other work, too.
    let crowd = send(&fort, &honest, streams / 10, seed, |_| transcript()).await;
    let attack = send(&fort, &honest, streams, seed, attack).await;
    println!("99 of 100 calls: within {crowd:?} in a crowd, {attack:?} under attack");
    let bearable = (crowd * 10).max(Duration::from_millis(250));
    assert!(
        attack <= bearable,
        "{crowd:?} in a crowd, {attack:?} under attack"
    );
    drop(honest);
    fort.stands().await;
    before.assert_grew_at_most(GROWTH_MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_streams_at_a_server_over_tcp() {
    if !measures("random::random_streams_at_a_server_over_tcp") {
        return;
    }
    besiege(TCP, 10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_streams_at_a_server_over_unix() {
    if !measures("random::random_streams_at_a_server_over_unix") {
        return;
    }
    besiege(&unix_address(), 20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_streams_at_a_server_in_memory() {
    if !measures("random::random_streams_at_a_server_in_memory") {
        return;
    }
    let address = format!("memory:hostile-{}", std::process::id());
    besiege(&address, 50_000).await;
}

/// Leads to a server that says `bytes` and leaves.
struct Scripted {
    bytes: Vec<u8>,
    dials: Arc<AtomicUsize>,
}

#[async_trait]
impl Connector for Scripted {
    async fn connect(&self) -> Result<Conduit, Error> {
        self.dials.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let bytes = self.bytes.clone();
        tokio::spawn(async move {
            let mut raw = Raw::new(theirs);
            raw.send(&bytes).await;
            raw.finish().await;
            raw.drain().await;
        });
        Ok(Conduit::new(ours, Peer::new("scripted")))
    }

    fn address(&self) -> &str {
        "scripted"
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_56_random_streams_at_a_client() {
    const STREAMS: u64 = 20_000;
    if !measures("random::row_56_random_streams_at_a_client") {
        return;
    }
    watch_for_panics();
    let before = Memory::now();
    let seed = seed();
    let dials = Arc::new(AtomicUsize::new(0));
    let next = Arc::new(AtomicU64::new(0));
    let mut limits = Limits::default();
    limits.handshake = Duration::from_secs(2);
    let mut victims = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (next, dials) = (Arc::clone(&next), Arc::clone(&dials));
        victims.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= STREAMS {
                    return;
                }
                let mut rng = Rng::with_seed(seed.wrapping_add(number));
                let connector = Scripted {
                    bytes: counterattack(&mut rng),
                    dials: Arc::clone(&dials),
                };
                let channel = Channel::builder_over(connector).limits(limits);
                let client = PreyClient::new(channel.connect_lazy().unwrap());
                // An answer or an error, but an end; the server has said all it will.
                let call = client.with_deadline(Duration::from_secs(20)).give_blob();
                let ended = tokio::time::timeout(Duration::from_secs(15), call).await;
                assert!(ended.is_ok(), "SEED={seed}, stream {number}: a call hangs");
            }
        });
    }
    victims.join_all().await;
    assert!(dials.load(Ordering::Relaxed) as u64 >= STREAMS);
    assert_no_panic_inside();
    before.assert_grew_at_most(GROWTH_MAX);
}
