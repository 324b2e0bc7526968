//! Handlers that panic, in every way there is.

use rpc_core::{Code, Executed};
use tokio::task::JoinSet;

use super::prey::{Fort, SECRET, TCP, Way, eventually, method};
use super::wire::*;

const WAYS: [Way; 4] = [
    Way::Plainly,
    Way::AfterAnAwait,
    Way::InADestructor,
    Way::WithAPayloadThatPanics,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_a_thousand_panics_among_ten_thousand_good_calls() {
    let fort = Fort::at(TCP).await;
    let client = fort.client().await;
    let mut callers = JoinSet::new();
    for caller in 0..100_i64 {
        let client = client.clone();
        callers.spawn(async move {
            for i in 0..100 {
                assert_eq!(client.add(caller, i).await, Ok(caller + i));
                if i % 10 == 0 {
                    let way = WAYS[(i / 10) as usize % WAYS.len()];
                    let error = client.panics(way).await.unwrap_err();
                    assert_eq!(error.code(), Code::Internal, "{way:?}: {error}");
                    assert_eq!(error.executed(), Executed::Maybe);
                }
            }
        });
    }
    callers.join_all().await;
    assert_eq!(fort.server.connections(), 1, "one connection bore it all");
    drop(client);
    fort.stands().await;
}

/// Calls 1 to 4, which panic; their caller learns that and no more.
pub(crate) async fn say_nothing(raw: &mut Raw) {
    for (number, way) in (0_u32..).zip(WAYS) {
        let id = u64::from(number) + 1;
        raw.send(&method("panics").request(id, 5000, &variant(number)))
            .await;
        let reply = raw.reply(id).await.unwrap();
        assert_eq!(
            reply.failure(),
            Some((code::INTERNAL, EXECUTED_MAYBE)),
            "{way:?}"
        );
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let secret = SECRET.split(' ').next_back().unwrap();
        assert!(!text.contains(secret), "{way:?}: {text}");
    }
}

#[tokio::test]
async fn row_20_no_word_of_a_panic_reaches_the_peer() {
    let fort = Fort::at(TCP).await;
    let mut raw = Raw::open(fort.address()).await;
    say_nothing(&mut raw).await;
    drop(raw);
    fort.stands().await;
}

#[tokio::test]
async fn row_20_a_destructor_that_panics_when_the_call_is_cancelled() {
    let fort = Fort::at(TCP).await;
    let mut raw = Raw::open(fort.address()).await;
    for id in 1..=20 {
        raw.send(&method("hang_over_a_bomb").request(id, 60_000, &[]))
            .await;
    }
    eventually("all handlers run", || fort.log.begun() == 20).await;
    for id in 1..=20 {
        raw.send(&frame(CANCEL, 0, id, &[])).await;
    }
    eventually("all handlers are gone", || fort.log.gone() == 20).await;
    eventually("all places are free", || fort.server.calls() == 0).await;
    raw.send(&method("add").request(21, 5000, ADD)).await;
    assert_eq!(raw.reply(21).await.unwrap().body, value(FIVE));
    drop(raw);
    fort.stands().await;
}
