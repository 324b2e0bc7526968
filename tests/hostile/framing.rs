//! Frames that are not allowed, and numbers that name nothing.
//!
//! Whoever serves must bear the same, so what [`callee`](super::callee) does to a client is here.

use std::ops::Range;

use super::prey::{Fort, Log, TCP, eventually, method, unix_address};
use super::wire::*;

/// The connection still serves: 2 + 3 is 5.
pub(crate) async fn still_serves(raw: &mut Raw, id: u64) {
    raw.send(&method("add").request(id, 5000, ADD)).await;
    let reply = raw.reply(id).await.expect("a reply");
    assert_eq!(reply.body, value(FIVE), "{reply:?}");
}

/// Opens a connection, sends `bytes`, and expects to be cut off with a reason.
async fn is_cut_off(fort: &Fort, what: &str, bytes: &[u8]) {
    let mut raw = Raw::open(fort.address()).await;
    raw.send(bytes).await;
    assert_eq!(raw.farewell().await, Some(code::PROTOCOL), "{what}");
}

#[tokio::test]
async fn row_01_a_length_over_the_limit_is_refused_at_its_header() {
    let fort = Fort::at(&unix_address()).await;
    for length in [64 * 1024 + 1, 1 << 24, u32::MAX] {
        let bytes = header(length, REQUEST, 0, 1);
        is_cut_off(&fort, "nothing follows the header", &bytes).await;
    }
    fort.stands().await;
}

#[tokio::test]
async fn row_07_an_unknown_method_is_unimplemented_and_did_not_run() {
    let fort = Fort::at(TCP).await;
    let mut raw = Raw::open(fort.address()).await;
    raw.send(&Target::UNKNOWN.request(1, 5000, &[])).await;
    let reply = raw.reply(1).await.unwrap();
    assert_eq!(reply.failure(), Some((code::UNIMPLEMENTED, EXECUTED_NO)));
    still_serves(&mut raw, 2).await;
    drop(raw);
    fort.stands().await;
}

/// A call of no known method, and one of a known method with other types.
pub(crate) fn calls_of_nothing() -> [(Target, u8); 2] {
    let add = method("add");
    let skewed = Target {
        fingerprint: !add.fingerprint,
        ..add
    };
    [(Target::UNKNOWN, code::UNIMPLEMENTED), (skewed, code::SKEW)]
}

/// So many calls of `target`, none of which runs.
pub(crate) async fn are_refused(raw: &mut Raw, target: Target, code: u8, ids: Range<u64>) {
    for id in ids {
        raw.send(&target.request(id, 5000, &[])).await;
        let reply = raw.reply(id).await.expect("a reply");
        assert_eq!(reply.failure(), Some((code, EXECUTED_NO)), "{reply:?}");
    }
}

/// Calls of `target` until long after the peer should have had enough of them.
pub(crate) async fn insist(raw: &mut Raw, target: Target, ids: Range<u64>) {
    for id in ids {
        raw.send(&target.request(id, 5000, &[])).await;
    }
}

#[tokio::test]
async fn row_07_a_hundred_calls_of_nothing_in_a_row_end_the_connection() {
    let fort = Fort::at(TCP).await;
    for (target, code) in calls_of_nothing() {
        let mut raw = Raw::open(fort.address()).await;
        // Ninety, one that runs, ninety: never a hundred in a row.
        are_refused(&mut raw, target, code, 1..91).await;
        still_serves(&mut raw, 91).await;
        are_refused(&mut raw, target, code, 92..182).await;
        insist(&mut raw, target, 182..300).await;
        assert_eq!(raw.farewell().await, Some(code::PROTOCOL), "code {code}");
    }
    fort.stands().await;
}

#[tokio::test]
async fn row_08_a_call_number_may_never_repeat_or_go_back() {
    let fort = Fort::at(TCP).await;
    let hang = method("hang");
    for (number, what) in [(5, "a duplicate"), (4, "backwards"), (0, "zero")] {
        let begun = fort.log.begun();
        let mut raw = Raw::open(fort.address()).await;
        raw.send(&hang.request(5, 60_000, &[])).await;
        eventually("the handler runs", || fort.log.begun() == begun + 1).await;
        raw.send(&hang.request(number, 60_000, &[])).await;
        assert_eq!(raw.farewell().await, Some(code::PROTOCOL), "{what}");
        eventually("the handler is gone", || fort.log.gone() == begun + 1).await;
        assert_eq!(fort.log.begun(), begun + 1, "{what} ran a handler");
    }
    fort.stands().await;
}

#[tokio::test]
async fn row_08_the_number_of_a_finished_call_is_not_used_again() {
    let fort = Fort::at(TCP).await;
    let mut raw = Raw::open(fort.address()).await;
    still_serves(&mut raw, u64::MAX - 1).await;
    still_serves(&mut raw, u64::MAX).await;
    raw.send(&method("hang").request(u64::MAX, 5000, &[])).await;
    assert_eq!(raw.farewell().await, Some(code::PROTOCOL));
    assert_eq!(fort.log.begun(), 0);
    fort.stands().await;
}

/// Frames that belong to a call: what it is, kind, flags, body.
pub(crate) fn frames_of_calls() -> [(&'static str, u8, u8, Vec<u8>); 7] {
    let credit = 1_u32.to_le_bytes().to_vec();
    [
        ("cancel", CANCEL, 0, vec![]),
        ("chunk of a request", CHUNK, MORE, vec![1]),
        ("chunk of a reply", CHUNK, CALLEE, vec![1]),
        ("reply", RESPONSE, 0, value(&[1])),
        ("credit", CREDIT, 0, credit),
        ("item", ITEM, 0, vec![1]),
        ("end", END, 0, value(&[1])),
    ]
}

#[tokio::test]
async fn row_09_frames_for_calls_that_never_were_are_counted() {
    let fort = Fort::at(TCP).await;
    for (what, kind, flags, body) in frames_of_calls() {
        let mut raw = Raw::open(fort.address()).await;
        for id in 1000..1100 {
            raw.send(&frame(kind, flags, id, &body)).await;
        }
        still_serves(&mut raw, 1).await;
        for id in 1100..1110 {
            raw.send(&frame(kind, flags, id, &body)).await;
        }
        assert_eq!(raw.farewell().await, Some(code::PROTOCOL), "{what}");
    }
    fort.stands().await;
}

#[tokio::test]
async fn row_09_cancelling_what_has_ended_is_no_offence() {
    let fort = Fort::at(TCP).await;
    let mut raw = Raw::open(fort.address()).await;
    for id in 1..=300 {
        still_serves(&mut raw, id).await;
        raw.send(&frame(CANCEL, 0, id, &[])).await;
    }
    still_serves(&mut raw, 301).await;
    drop(raw);
    fort.stands().await;
}

/// A call of `add` with metadata.
fn with_metadata(entries: &[Vec<u8>]) -> Vec<u8> {
    let head = method("add").head(5000);
    let count = vec![entries.len() as u8];
    let body = [head, count, entries.concat(), ADD.to_vec()].concat();
    frame(REQUEST, METADATA, 1, &body)
}

fn entry(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, key.len() as u8];
    bytes.extend((value.len() as u16).to_le_bytes());
    [&bytes, key, value].concat()
}

fn entries(count: u8) -> Vec<Vec<u8>> {
    (0..count)
        .map(|i| entry(&[b'a', b'a' + i / 26, b'a' + i % 26], &[]))
        .collect()
}

/// The call with the most metadata that is allowed.
pub(crate) fn most_metadata() -> Vec<u8> {
    with_metadata(&entries(64))
}

/// Calls with metadata that is not.
pub(crate) fn bad_metadata() -> [(&'static str, Vec<u8>); 8] {
    let half = [0; 4096];
    [
        ("none", with_metadata(&[])),
        ("65 entries", with_metadata(&entries(65))),
        ("a long key", with_metadata(&[entry(&[b'k'; 129], b"")])),
        ("a long value", with_metadata(&[entry(b"k", &[0; 4097])])),
        ("an empty key", with_metadata(&[entry(b"", b"")])),
        ("no UTF-8", with_metadata(&[entry(&[0xff], b"")])),
        (
            "a key twice",
            with_metadata(&[entry(b"k", b""), entry(b"k", b"")]),
        ),
        (
            "more than 8 KiB",
            with_metadata(&[entry(b"k", &half), entry(b"l", &half)]),
        ),
    ]
}

#[tokio::test]
async fn row_17_metadata_beyond_its_limits_ends_the_connection() {
    let fort = Fort::at(&unix_address()).await;
    let mut raw = Raw::open(fort.address()).await;
    raw.send(&most_metadata()).await;
    let reply = raw.reply(1).await.unwrap();
    assert_eq!(reply.body, value(FIVE), "64 entries are allowed");
    drop(raw);
    for (what, bytes) in bad_metadata() {
        is_cut_off(&fort, what, &bytes).await;
    }
    fort.stands().await;
}

/// Calls 1 to 6, with the shortest and the longest deadlines that there are.
pub(crate) async fn extremes_of_the_deadline(raw: &mut Raw, log: &Log) {
    let time_left = method("time_left");
    raw.send(&time_left.request(1, 0, &[])).await;
    let reply = raw.reply(1).await.unwrap();
    assert_eq!(
        reply.failure(),
        Some((code::DEADLINE_EXCEEDED, EXECUTED_NO))
    );
    assert_eq!(log.begun(), 0, "a call without time ran");

    for (id, timeout) in [(2, u32::MAX), (3, u32::MAX / 2), (4, 3_600_001)] {
        raw.send(&time_left.request(id, timeout, &[])).await;
        let reply = raw.reply(id).await.unwrap();
        // One hour at most.
        let [0, left @ ..] = &reply.body[..] else {
            panic!("{reply:?}");
        };
        let left = u64::from_le_bytes(left.try_into().unwrap());
        assert!((3_500_000..=3_600_000).contains(&left), "{left} ms");
    }

    raw.send(&method("hang").request(5, 1, &[])).await;
    let reply = raw.reply(5).await.unwrap();
    // A millisecond may be over before the handler starts.
    let failure = reply.failure().unwrap();
    assert_eq!(failure.0, code::DEADLINE_EXCEEDED);
    assert!(failure.1 <= EXECUTED_MAYBE);
    still_serves(raw, 6).await;
}

#[tokio::test]
async fn row_57_extremes_of_the_deadline_on_the_wire() {
    let fort = Fort::at(TCP).await;
    let mut raw = Raw::open(fort.address()).await;
    extremes_of_the_deadline(&mut raw, &fort.log).await;
    drop(raw);
    fort.stands().await;
}

#[tokio::test]
async fn row_57_a_deadline_beyond_the_clock_in_the_client() {
    let fort = Fort::at(TCP).await;
    let client = fort.client().await;
    for deadline in [std::time::Duration::MAX, std::time::Duration::from_nanos(1)] {
        let outcome = client.with_deadline(deadline).add(1, 1).await;
        assert!(outcome.is_ok_and(|sum| sum == 2) || deadline.as_nanos() == 1);
    }
    assert_eq!(client.add(1, 1).await, Ok(2));
    drop(client);
    fort.stands().await;
}

#[tokio::test]
async fn what_belongs_elsewhere_ends_the_connection() {
    let fort = Fort::at(&unix_address()).await;
    is_cut_off(&fort, "a second hello", &hello()).await;
    is_cut_off(&fort, "an answer", &answer(GENEROUS)).await;
    is_cut_off(&fort, "a second ready", &frame(READY, 0, 0, &[])).await;
    is_cut_off(&fort, "an unknown kind", &frame(0x77, 0, 0, &[])).await;
    is_cut_off(&fort, "an unknown flag", &frame(PING, 0x40, 0, &[0; 8])).await;
    is_cut_off(&fort, "a short ping", &frame(PING, 0, 0, &[0; 7])).await;
    is_cut_off(&fort, "a long ping", &frame(PING, 0, 0, &[0; 9])).await;
    is_cut_off(&fort, "a request of nothing", &frame(REQUEST, 0, 1, &[])).await;
    is_cut_off(&fort, "no credit", &frame(CREDIT, 0, 0, &[0; 4])).await;
    let credit = frame(CREDIT, 0, 0, &[0xff; 4]);
    is_cut_off(&fort, "too much credit", &[credit.clone(), credit].concat()).await;
    let mut reserved = frame(PING, 0, 0, &[0; 8]);
    reserved[6] = 1;
    is_cut_off(&fort, "the reserved field", &reserved).await;
    fort.stands().await;
}
