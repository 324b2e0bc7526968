//! Payloads that describe far more than they carry: in calls, and in replies.

use std::fmt::Debug;
use std::future::Future;

use rpc_core::{CallError, Channel, Code, Error, Executed};
use tokio::net::TcpListener;

use super::prey::{Fort, PreyClient, TCP, assert_no_panic_inside, method, watch_for_panics};
use super::wire::*;

pub(crate) const HUGE: &[u8] = &length(1 << 48);

/// So many levels without an end, the number of a variant each.
pub(crate) fn levels(count: usize) -> Vec<u8> {
    variant(1).repeat(count)
}

/// Sixteen thousand levels.
pub(crate) fn deep() -> Vec<u8> {
    [&levels(16_400)[..], &variant(0)].concat()
}

/// So many values of a kilobyte, the number of a variant each.
pub(crate) fn swelling(count: u64) -> Vec<u8> {
    [&length(count)[..], &variant(0).repeat(count as usize)].concat()
}

/// A request of any length, in as many frames as it takes.
pub(crate) fn frames(target: Target, id: u64, payload: &[u8]) -> Vec<u8> {
    const FIRST: usize = 60 * 1024;
    if payload.len() <= FIRST {
        return target.request(id, 10_000, payload);
    }
    let (first, rest) = payload.split_at(FIRST);
    let body = [&target.head(10_000), first].concat();
    let mut bytes = frame(REQUEST, MORE, id, &body);
    let count = rest.len().div_ceil(FIRST);
    for (i, chunk) in rest.chunks(FIRST).enumerate() {
        let more = if i + 1 < count { MORE } else { 0 };
        bytes.extend(frame(CHUNK, more, id, chunk));
    }
    bytes
}

/// Each bomb costs its sender an error; the connection and the process live.
async fn are_defused(bombs: &[(&str, &str, Vec<u8>)]) {
    let fort = Fort::at(TCP).await;
    let mut raw = Raw::open(fort.address()).await;
    let mut id = 0;
    for (what, name, payload) in bombs {
        id += 1;
        raw.send(&frames(method(name), id, payload)).await;
        let reply = raw
            .reply(id)
            .await
            .unwrap_or_else(|| panic!("{what}: cut off"));
        assert_eq!(reply.failure(), Some((code::CODEC, EXECUTED_NO)), "{what}");
        id += 1;
        raw.send(&method("add").request(id, 5000, ADD)).await;
        let reply = raw
            .reply(id)
            .await
            .unwrap_or_else(|| panic!("{what}: cut off"));
        assert_eq!(reply.body, value(FIVE), "after {what}");
    }
    drop(raw);
    fort.stands().await;
}

#[tokio::test]
async fn row_02_a_string_of_2_48_bytes() {
    are_defused(&[
        ("a string", "string", HUGE.to_vec()),
        ("a block", "blob", HUGE.to_vec()),
        ("a list", "swelling", HUGE.to_vec()),
        ("the largest length", "string", length(u64::MAX).to_vec()),
    ])
    .await;
}

#[tokio::test]
async fn row_03_a_map_of_2_48_times_nothing() {
    let all = length(u64::MAX).to_vec();
    are_defused(&[
        ("2^48 units", "units", HUGE.to_vec()),
        ("2^64 units", "units", all),
    ])
    .await;
}

#[tokio::test]
async fn row_04_bytes_that_grow_to_kilobytes() {
    are_defused(&[
        ("64 KiB", "swelling", swelling(15_000)),
        ("a mebibyte, in chunks", "swelling", swelling(225_000)),
    ])
    .await;
}

#[tokio::test]
async fn row_05_a_value_as_deep_as_the_message_is_long() {
    are_defused(&[
        ("16,400 levels", "tree", deep()),
        ("levels without an end", "tree", levels(10_000)),
        ("225,000 levels, in chunks", "tree", levels(225_000)),
    ])
    .await;
}

#[tokio::test]
async fn row_06_bytes_that_are_no_value() {
    are_defused(&[
        ("nothing", "add", vec![]),
        ("half of the arguments", "add", FIVE.to_vec()),
        ("trailing bytes", "add", [ADD, &[0]].concat()),
        ("no bool", "scalars", vec![2, b'a', 0]),
        ("no character", "scalars", vec![1, 0xff, 0]),
        ("a surrogate", "scalars", vec![1, 0xed, 0xa0, 0x80, 0]),
        ("no option", "scalars", vec![1, b'a', 7, 1]),
        ("no variant", "tree", variant(2).to_vec()),
        (
            "no UTF-8",
            "string",
            [&length(2)[..], &[0xc3, 0x28]].concat(),
        ),
        ("half of a length", "string", vec![0; 4]),
    ])
    .await;
}

/// The client of a server that answers its calls with one payload after the other, and with 5
/// after each of them.
async fn answered(payloads: Vec<Vec<u8>>) -> PreyClient {
    watch_for_panics();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Raw::new(stream);
        raw.accept(GENEROUS).await;
        for payload in payloads {
            for payload in [payload, FIVE.to_vec()] {
                let id = raw.request().await.expect("a call");
                raw.send(&response(id, &payload)).await;
            }
        }
        raw.drain().await;
    });
    PreyClient::new(Channel::connect(address).await.unwrap())
}

/// A reply of any length, in as many frames as it takes.
fn response(id: u64, payload: &[u8]) -> Vec<u8> {
    const FIRST: usize = 60 * 1024;
    if payload.len() <= FIRST {
        return frame(RESPONSE, 0, id, &value(payload));
    }
    let (first, rest) = payload.split_at(FIRST);
    let mut bytes = frame(RESPONSE, MORE, id, &value(first));
    let count = rest.len().div_ceil(FIRST);
    for (i, chunk) in rest.chunks(FIRST).enumerate() {
        let more = if i + 1 < count { MORE } else { 0 };
        bytes.extend(frame(CHUNK, CALLEE | more, id, chunk));
    }
    bytes
}

/// The reply to `call` is refused, and the connection lives.
async fn is_refused<T: Debug>(
    client: &PreyClient,
    what: &str,
    call: impl Future<Output = Result<T, Error>>,
) {
    let error = call.await.expect_err(what);
    assert_eq!(error.code(), Code::Codec, "{what}: {error}");
    assert_eq!(error.executed(), Executed::Yes, "{what}: {error}");
    assert_eq!(client.add(2, 3).await, Ok(5), "after {what}");
    assert_no_panic_inside();
}

#[tokio::test]
async fn row_02_a_string_of_2_48_bytes_in_a_reply_to_a_client() {
    let all = length(u64::MAX).to_vec();
    let huge = HUGE.to_vec();
    let client = &answered(vec![huge.clone(), huge.clone(), huge, all]).await;
    is_refused(client, "a string", client.give_string()).await;
    is_refused(client, "a block", client.give_blob()).await;
    is_refused(client, "a list", client.give_swelling()).await;
    is_refused(client, "the largest length", client.give_string()).await;
}

#[tokio::test]
async fn row_03_a_map_of_2_48_times_nothing_in_a_reply_to_a_client() {
    let all = length(u64::MAX).to_vec();
    let client = &answered(vec![HUGE.to_vec(), all]).await;
    is_refused(client, "2^48 units", client.give_units()).await;
    is_refused(client, "2^64 units", client.give_units()).await;
}

#[tokio::test]
async fn row_04_bytes_that_grow_to_kilobytes_in_a_reply_to_a_client() {
    let client = &answered(vec![swelling(15_000), swelling(225_000)]).await;
    is_refused(client, "64 KiB", client.give_swelling()).await;
    is_refused(client, "a mebibyte, in chunks", client.give_swelling()).await;
}

#[tokio::test]
async fn row_05_a_value_as_deep_as_the_message_is_long_in_a_reply_to_a_client() {
    let client = &answered(vec![deep(), levels(10_000), levels(225_000)]).await;
    is_refused(client, "16,400 levels", client.give_tree()).await;
    is_refused(client, "levels without an end", client.give_tree()).await;
    is_refused(client, "225,000 levels, in chunks", client.give_tree()).await;
}

#[tokio::test]
async fn row_06_bytes_that_are_no_value_in_a_reply_to_a_client() {
    let client = &answered(vec![
        vec![],
        vec![1],
        [&variant(0)[..], &[0]].concat(),
        [FIVE, &[0]].concat(),
        vec![2, b'a', 0],
        vec![1, 0xff, 0],
        vec![1, 0xed, 0xa0, 0x80, 0],
        vec![1, b'a', 7, 1],
        variant(2).to_vec(),
        [&length(2)[..], &[0xc3, 0x28]].concat(),
        vec![0; 4],
    ])
    .await;
    is_refused(client, "nothing", client.add(1, 1)).await;
    is_refused(client, "a third of the value", client.give_scalars()).await;
    is_refused(client, "bytes after a tree", client.give_tree()).await;
    is_refused(client, "bytes after a number", client.add(1, 1)).await;
    is_refused(client, "no bool", client.give_scalars()).await;
    is_refused(client, "no character", client.give_scalars()).await;
    is_refused(client, "a surrogate", client.give_scalars()).await;
    is_refused(client, "no option", client.give_scalars()).await;
    is_refused(client, "no variant", client.give_tree()).await;
    is_refused(client, "no UTF-8", client.give_string()).await;
    is_refused(client, "half of a length", client.give_string()).await;
}

/// Only so that a service error may be a bomb, too.
#[rpc_core::service(name = "Prey")]
#[allow(dead_code)]
trait Failing {
    async fn fail(&self) -> Result<u8, String>;
}

#[tokio::test]
async fn row_56_a_bomb_in_a_service_error() {
    watch_for_panics();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut raw = Raw::new(stream);
        raw.accept(GENEROUS).await;
        while let Some(id) = raw.request().await {
            let body = [&[1], HUGE].concat();
            raw.send(&frame(RESPONSE, 0, id, &body)).await;
        }
    });
    let client = FailingClient::new(Channel::connect(address).await.unwrap());
    match client.fail().await {
        Err(CallError::Rpc(error)) => {
            assert_eq!(
                (error.code(), error.executed()),
                (Code::Codec, Executed::Yes)
            );
        }
        other => panic!("{other:?}"),
    }
    assert_no_panic_inside();
}
