//! Frames that are not allowed, and numbers that name nothing.

use super::prey::{Fort, TCP, eventually, method, unix_address};
use super::wire::*;

const ADD: &[u8] = &[4, 6];

/// The connection still serves: 2 + 3 is 5.
async fn still_serves(raw: &mut Raw, id: u64) {
    raw.send(&method("add").request(id, 5000, ADD)).await;
    let reply = raw.reply(id).await.expect("a reply");
    assert_eq!(reply.body, value(&[10]), "{reply:?}");
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

#[tokio::test]
async fn row_07_a_hundred_unknown_methods_in_a_row_end_the_connection() {
    let fort = Fort::at(TCP).await;
    let mut raw = Raw::open(fort.address()).await;
    // Ninety, one that is known, ninety: never a hundred in a row.
    for id in 1..=181 {
        if id == 91 {
            still_serves(&mut raw, id).await;
        } else {
            raw.send(&Target::UNKNOWN.request(id, 5000, &[])).await;
            let reply = raw.reply(id).await.expect("a reply");
            assert_eq!(reply.failure(), Some((code::UNIMPLEMENTED, EXECUTED_NO)));
        }
    }
    for id in 182..300 {
        raw.send(&Target::UNKNOWN.request(id, 5000, &[])).await;
    }
    assert_eq!(raw.farewell().await, Some(code::PROTOCOL));
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

#[tokio::test]
async fn row_09_frames_for_calls_that_never_were_are_counted() {
    let fort = Fort::at(TCP).await;
    let reply = value(&[1]);
    let credit = 1_u32.to_le_bytes();
    let strays: [(&str, u8, u8, &[u8]); 7] = [
        ("cancel", CANCEL, 0, &[]),
        ("chunk of a request", CHUNK, MORE, &[1]),
        ("chunk of a reply", CHUNK, CALLEE, &[1]),
        ("reply", RESPONSE, 0, &reply),
        ("credit", CREDIT, 0, &credit),
        ("item", ITEM, 0, &[1]),
        ("end", END, 0, &reply),
    ];
    for (what, kind, flags, body) in strays {
        let mut raw = Raw::open(fort.address()).await;
        for id in 1000..1100 {
            raw.send(&frame(kind, flags, id, body)).await;
        }
        still_serves(&mut raw, 1).await;
        for id in 1100..1110 {
            raw.send(&frame(kind, flags, id, body)).await;
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

#[tokio::test]
async fn row_17_metadata_beyond_its_limits_ends_the_connection() {
    let fort = Fort::at(&unix_address()).await;
    let entry = |key: &[u8], value: &[u8]| {
        let mut bytes = vec![0, key.len() as u8];
        bytes.extend((value.len() as u16).to_le_bytes());
        [&bytes, key, value].concat()
    };
    let request = |entries: &[Vec<u8>]| {
        let head = method("add").head(5000);
        let count = vec![entries.len() as u8];
        let body = [head, count, entries.concat(), ADD.to_vec()].concat();
        frame(REQUEST, METADATA, 1, &body)
    };
    let many = |n: u8| -> Vec<Vec<u8>> {
        (0..n)
            .map(|i| entry(&[b'a', b'a' + i / 26, b'a' + i % 26], &[]))
            .collect()
    };
    let half = vec![0; 4096];

    let mut raw = Raw::open(fort.address()).await;
    raw.send(&request(&many(64))).await;
    assert_eq!(
        raw.reply(1).await.unwrap().body,
        value(&[10]),
        "64 are allowed"
    );
    drop(raw);

    is_cut_off(&fort, "none", &request(&[])).await;
    is_cut_off(&fort, "65 entries", &request(&many(65))).await;
    is_cut_off(&fort, "a long key", &request(&[entry(&[b'k'; 129], &[])])).await;
    is_cut_off(&fort, "a long value", &request(&[entry(b"k", &[0; 4097])])).await;
    is_cut_off(&fort, "an empty key", &request(&[entry(b"", b"")])).await;
    is_cut_off(&fort, "no UTF-8", &request(&[entry(&[0xff], b"")])).await;
    let twice = [entry(b"k", b""), entry(b"k", b"")];
    is_cut_off(&fort, "a key twice", &request(&twice)).await;
    let large = [entry(b"k", &half), entry(b"l", &half)];
    is_cut_off(&fort, "more than 8 KiB", &request(&large)).await;
    fort.stands().await;
}

#[tokio::test]
async fn row_57_extremes_of_the_deadline_on_the_wire() {
    let fort = Fort::at(TCP).await;
    let time_left = method("time_left");
    let mut raw = Raw::open(fort.address()).await;
    raw.send(&time_left.request(1, 0, &[])).await;
    let reply = raw.reply(1).await.unwrap();
    assert_eq!(
        reply.failure(),
        Some((code::DEADLINE_EXCEEDED, EXECUTED_NO))
    );
    assert_eq!(fort.log.begun(), 0, "a call without time ran");

    for (id, timeout) in [(2, u32::MAX), (3, u32::MAX / 2), (4, 3_600_001)] {
        raw.send(&time_left.request(id, timeout, &[])).await;
        let reply = raw.reply(id).await.unwrap();
        // One hour at most, as a varint: 252 and four bytes.
        let [0, 252, left @ ..] = &reply.body[..] else {
            panic!("{reply:?}");
        };
        let left = u32::from_le_bytes(left.try_into().unwrap());
        assert!((3_500_000..=3_600_000).contains(&left), "{left} ms");
    }

    raw.send(&method("hang").request(5, 1, &[])).await;
    let reply = raw.reply(5).await.unwrap();
    // A millisecond may be over before the handler starts.
    let failure = reply.failure().unwrap();
    assert_eq!(failure.0, code::DEADLINE_EXCEEDED);
    assert!(failure.1 <= EXECUTED_MAYBE);
    still_serves(&mut raw, 6).await;
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
