//! What nobody thought of: random bytes, random operations, and valid streams with random damage.
//!
//! Each test prints its seed, and `SEED=` repeats a run.

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

use super::pair::{
    Pair, Side, accepted, chunk, hello, reply_chunk, request, request_in, request_more, response,
};
use super::{MIB, SECOND};
use crate::error::Executed;
use crate::proto::{CallId, Fault};
use crate::wire::{Frame, MAGIC, Reply};

fn rng() -> Rng {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("SEED={seed}");
    Rng::with_seed(seed)
}

fn bytes_of(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.put(&mut bytes);
    }
    bytes
}

/// Both sides at every stage at which a peer can surprise them.
const STAGES: [fn() -> Side; 8] = [
    // A server that waits for hello, without and with the magic behind it.
    || Pair::new().server,
    || {
        let mut server = Pair::new().server;
        server.hear_bytes(&MAGIC);
        server
    },
    // A server that waits for ready.
    || {
        let mut server = Pair::new().server;
        server.hear_bytes(&MAGIC);
        server.hear(&hello());
        server
    },
    || Side::server(|_| ()),
    // A server in the middle of a request.
    || {
        let mut server = Side::server(|_| ());
        server.hear(&request(1, "hi"));
        server.hear(&request_more(2, "half"));
        server
    },
    // A client that waits for the answer, and has early calls.
    || {
        let mut client = Pair::new().client;
        client.call("hi");
        client.hear_bytes(&MAGIC);
        client
    },
    || Side::client(|_| ()),
    // A client in the middle of a reply, and of a request of its own.
    || {
        let mut client = Side::client(|_| ());
        client.call("hi");
        client.call("hi");
        client.call(vec![0; 100_000]);
        client.hear(&response(1, "half", true));
        client
    },
];

/// Whatever a peer sent, this side holds little because of it.
fn assert_bounded(side: &Side) {
    let audit = side.audit();
    let bounded = audit.frames < 100_000
        && audit.events == 0
        && audit.served <= 256
        && audit.calls <= 3
        && audit.queue <= 3
        && audit.replies < MIB;
    assert!(bounded, "{audit:?}");
}

/// Bytes that mean nothing, or frames whose headers are right and whose bodies are not.
fn noise(rng: &mut Rng) -> Vec<u8> {
    const KINDS: [u8; 13] = [
        0x01, 0x02, 0x03, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x20, 0x21, 0x22,
    ];
    let mut bytes = Vec::new();
    if rng.bool() {
        bytes.resize(rng.usize(..100), 0);
        rng.fill(&mut bytes);
        return bytes;
    }
    for _ in 0..rng.usize(1..8) {
        let length = rng.u8(..40);
        let kind = KINDS[rng.usize(..KINDS.len())];
        let flags = [0, 0, 1, 2, 4, 0x80, 0x81][rng.usize(..7)];
        bytes.extend_from_slice(&[length, 0, 0, 0, kind, flags, 0, 0]);
        bytes.extend_from_slice(&[rng.u8(..6), 0, 0, 0, 0, 0, 0, 0]);
        for _ in 0..length {
            // Small numbers are lengths and tags more often than large ones are.
            let byte = if rng.bool() { rng.u8(..4) } else { rng.u8(..) };
            bytes.push(byte);
        }
    }
    bytes
}

#[test]
fn row_56_a_hundred_thousand_streams_of_noise() {
    let mut rng = rng();
    for run in 0..100_000 {
        let mut side = STAGES[run % STAGES.len()]();
        let bytes = noise(&mut rng);
        let cut = rng.usize(..=bytes.len());
        side.hear_bytes(&bytes[..cut]);
        assert_bounded(&side);
        side.hear_bytes(&bytes[cut..]);
        assert_bounded(&side);
        side.transmit();
        side.connection.handle_eof();
        side.poll_events();
        assert!(side.closed.is_some());
        side.respond_all();
        assert_eq!(side.audit().calls + side.audit().queue, 0);
    }
}

/// Who hears it, and what.
type Conversation = (fn() -> Side, Vec<Frame>);

/// Valid conversations, as heard by a server and by a client with three calls under way.
fn conversations() -> [Conversation; 2] {
    let heard_by_a_server = vec![
        hello(),
        request(1, "early"),
        Frame::Ready,
        request(2, "hi"),
        request_more(3, vec![3; 1000]),
        Frame::Ping(1),
        chunk(3, vec![3; 1000], true),
        request_in(4, 0, "late"),
        chunk(3, vec![3; 1000], false),
        Frame::Cancel { id: 2 },
        Frame::Credit {
            id: 0,
            bytes: 1000,
            callee: false,
        },
        request(9, "skipped some"),
        Frame::GoAway {
            last_id: 0,
            code: 14,
            text: "bye".into(),
        },
    ];
    let heard_by_a_client = vec![
        accepted(),
        response(2, "second", false),
        response(1, "first", true),
        request(1, "from the server"),
        reply_chunk(1, vec![1; 1000], true),
        Frame::Ping(1),
        reply_chunk(1, vec![1; 1000], false),
        Frame::Cancel { id: 1 },
        Frame::GoAway {
            last_id: 3,
            code: 14,
            text: "bye".into(),
        },
        response(3, "third", false),
    ];
    let server = || Pair::new().server;
    let client = || {
        let mut client = Pair::new().client;
        for _ in 0..3 {
            client.call("hi");
        }
        client.transmit();
        client
    };
    [(server, heard_by_a_server), (client, heard_by_a_client)]
}

#[test]
fn row_56_damaged_conversations() {
    let mut rng = rng();
    let conversations = conversations();
    for run in 0..40_000 {
        let (side, frames) = &conversations[run % 2];
        let mut side = side();
        let mut frames = frames.clone();
        for _ in 0..rng.usize(..3) {
            let (from, to) = (rng.usize(..frames.len()), rng.usize(..frames.len()));
            match rng.u8(..3) {
                0 => frames.insert(to, frames[from].clone()),
                1 => frames.swap(from, to),
                _ => frames.truncate(to.max(1)),
            }
        }
        let mut bytes = Vec::from(&MAGIC[..]);
        bytes.extend_from_slice(&bytes_of(&frames));
        for _ in 0..rng.usize(..3) {
            let at = rng.usize(..bytes.len());
            match rng.u8(..3) {
                0 => bytes[at] ^= 1 << rng.u8(..8),
                1 => bytes[at] = rng.u8(..),
                _ => bytes.truncate(at.max(1)),
            }
        }
        for part in bytes.chunks(rng.usize(1..2000)) {
            side.hear_bytes(part);
            side.transmit();
            assert_bounded(&side);
        }
        side.respond_all();
        side.pass(SECOND * 3600);
        side.connection.handle_eof();
        side.poll_events();
        assert_eq!(side.audit().calls + side.audit().served, 0);
    }
}

/// A call of a random run: whose, which, and what it carried.
struct Made {
    by_client: bool,
    id: CallId,
    payload: Bytes,
}

#[test]
fn every_call_ends_once_and_tells_the_truth() {
    let mut rng = rng();
    for _ in 0..10_000 {
        run(&mut rng);
    }
}

fn run(rng: &mut Rng) {
    let large = rng.u8(..8) == 0;
    let pieces: &[usize] = if large {
        &[1000, 65_536, usize::MAX]
    } else {
        &[1, 13, 1000, usize::MAX]
    };
    let mut pair = Pair::with(|setup| {
        for limits in [&mut setup.client, &mut setup.server] {
            limits.calls = rng.u32(1..6);
            limits.queued_calls = rng.usize(..8);
            limits.connection_window = rng.u32(1000..200_000);
            limits.message = rng.usize(100..400_000);
            limits.assembly = rng.usize(100_000..400_000);
            limits.out_queue = rng.usize(20_000..300_000);
        }
    });
    pair.piece = pieces[rng.usize(..pieces.len())];
    pair.latency = Duration::from_millis(rng.u64(..3) * 20);
    let mut made = Vec::new();
    for _ in 0..rng.usize(..40) {
        operation(rng, &mut pair, large, &mut made);
    }
    if rng.u8(..4) == 0 {
        pair.cut();
    }
    settle(&mut pair);
    for call in made {
        check(&mut pair, &call);
    }
}

fn operation(rng: &mut Rng, pair: &mut Pair, large: bool, made: &mut Vec<Made>) {
    let by_client = rng.u8(..3) > 0;
    let side = match by_client {
        true => &mut pair.client,
        false => &mut pair.server,
    };
    match rng.u8(..20) {
        0..=6 => {
            let length = match rng.u8(..3) {
                0 if large => rng.usize(..300_000),
                _ => rng.usize(..300),
            };
            let payload = Bytes::from(vec![rng.u8(..); length]);
            let deadline = side.now + Duration::from_millis(rng.u64(..3000));
            if let Ok(id) = side.try_call(deadline, payload.clone()) {
                made.push(Made {
                    by_client,
                    id,
                    payload,
                });
            }
        }
        7..=9 if !side.requests.is_empty() => {
            let at = rng.usize(..side.requests.len());
            if let Some(request) = side.requests.remove(at) {
                side.respond(request.id, Reply::Value(request.payload));
            }
        }
        10..=11 if !made.is_empty() => {
            let call = &made[rng.usize(..made.len())];
            let side = match call.by_client {
                true => &mut pair.client,
                false => &mut pair.server,
            };
            side.poll_events();
            if !side.has_ended(call.id) {
                side.cancel(call.id);
            }
        }
        12..=15 => drop(pair.step()),
        16..=17 => pair.advance(Duration::from_millis(rng.u64(..300))),
        18 if rng.u8(..10) == 0 => side.go_away(),
        19 => side.writable = !side.writable,
        _ => pair.drive(),
    }
}

/// Lets all calls come to their end, by reply or by deadline, and all handlers be gone.
fn settle(pair: &mut Pair) {
    pair.client.writable = true;
    pair.server.writable = true;
    for _ in 0..20 {
        pair.advance(SECOND / 5);
        pair.client.respond_all();
        pair.server.respond_all();
    }
    pair.drive();
    for side in [&pair.client, &pair.server] {
        let audit = side.audit();
        let left = audit.calls + audit.queue + audit.served + audit.bulk + audit.replies;
        assert_eq!(left, 0, "{audit:?}");
    }
    for side in [&pair.client, &pair.server] {
        let accused = matches!(side.closed, Some(Fault::Violation(_) | Fault::Malformed(_)));
        assert!(!accused, "an honest peer is accused: {:?}", side.closed);
    }
}

/// The call ended, and what was said about its execution is so.
fn check(pair: &mut Pair, call: &Made) {
    let (caller, callee) = match call.by_client {
        true => (&mut pair.client, &pair.server),
        false => (&mut pair.server, &pair.client),
    };
    assert!(caller.has_ended(call.id), "{:?} never ended", call.id);
    let ran = callee.has_run(call.id);
    match caller.reply_to(call.id) {
        Some(Reply::Value(payload)) => {
            assert!(ran);
            assert_eq!(payload[..], call.payload[..]);
        }
        Some(Reply::Failure(error)) => match error.executed() {
            Executed::No => assert!(!ran, "it ran: {error}"),
            Executed::Yes => assert!(ran, "it never ran: {error}"),
            Executed::Maybe => {}
        },
        Some(Reply::ServiceError(_)) => panic!("nobody sent a service error"),
        // Cancelled.
        None => {}
    }
}
