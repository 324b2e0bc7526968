//! Servers that attack what their client serves: the services that it offers, or offers not.
//!
//! In each test the client waits for the reply to a call of its own, which keeps the connection in
//! use and shows in the end what became of it.

use std::sync::Arc;
use std::time::Duration;

use rpc_core::{Channel, ChannelBuilder, Code, Error, Executed};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::framing::{
    are_refused, bad_metadata, calls_of_nothing, extremes_of_the_deadline, frames_of_calls, insist,
    most_metadata, still_serves,
};
use super::panics::say_nothing;
use super::prey::{
    Log, PreyClient, assert_no_panic_inside, eventually, method, prey, watch_for_panics,
};
use super::wire::*;

/// A client under attack, and its server's end of the connection.
struct Outpost {
    raw: Raw,
    /// What the handlers of the client leave behind.
    log: Arc<Log>,
    /// The call that the client waits for, and its number.
    call: JoinHandle<Result<(), Error>>,
    id: u64,
}

impl Outpost {
    /// A client that offers [`Prey`](super::prey::Prey) to its server.
    async fn serving() -> Self {
        let (service, log) = prey();
        Self::built(log, |builder| builder.service(service)).await
    }

    /// A client that offers nothing.
    async fn calling_only() -> Self {
        Self::built(Arc::default(), |builder| builder).await
    }

    async fn built(log: Arc<Log>, build: impl FnOnce(ChannelBuilder) -> ChannelBuilder) -> Self {
        watch_for_panics();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        // Nothing but the server ends the call.
        let builder = Channel::builder(address).deadline(Duration::from_secs(3000));
        let client = PreyClient::new(build(builder).connect_lazy().unwrap());
        let call = tokio::spawn(async move { client.hang().await });
        let (stream, _) = listener.accept().await.unwrap();
        // Small frames in a row would wait 40 ms for acknowledgements.
        stream.set_nodelay(true).unwrap();
        let mut raw = Raw::new(stream);
        raw.accept(GENEROUS).await;
        let id = raw.request().await.expect("the call of the client");
        Self { raw, log, call, id }
    }

    /// The client ends the connection and says why, to both sides.
    async fn cuts_off(mut self, what: &str) {
        assert_eq!(self.raw.farewell().await, Some(code::PROTOCOL), "{what}");
        let error = self.call.await.unwrap().unwrap_err();
        assert_eq!(error.code(), Code::Protocol, "{what}: {error}");
        assert_eq!(error.executed(), Executed::Maybe, "{what}: {error}");
        is_over(&self.log).await;
    }

    /// The attack is over and has left nothing; the client's own call was not disturbed.
    async fn stands(mut self) {
        assert!(!self.call.is_finished());
        self.raw
            .send(&frame(RESPONSE, 0, self.id, &value(&[])))
            .await;
        assert_eq!(self.call.await.unwrap(), Ok(()));
        is_over(&self.log).await;
    }
}

async fn is_over(log: &Log) {
    eventually("no handler is left", || log.begun() == log.gone()).await;
    assert_no_panic_inside();
}

#[tokio::test]
async fn row_01_a_length_over_the_limit_is_refused_at_its_header_at_a_client() {
    for length in [64 * 1024 + 1, 1 << 24, u32::MAX] {
        for kind in [REQUEST, RESPONSE] {
            let mut outpost = Outpost::serving().await;
            let bytes = header(length, kind, 0, outpost.id);
            outpost.raw.send(&bytes).await;
            outpost.cuts_off("nothing follows the header").await;
        }
    }
}

#[tokio::test]
async fn row_07_a_call_of_nothing_is_refused_and_did_not_run_at_a_client() {
    let mut outpost = Outpost::serving().await;
    for (id, (target, code)) in (1..).step_by(2).zip(calls_of_nothing()) {
        are_refused(&mut outpost.raw, target, code, id..id + 1).await;
        still_serves(&mut outpost.raw, id + 1).await;
    }
    outpost.stands().await;
}

#[tokio::test]
async fn row_07_a_hundred_calls_of_nothing_in_a_row_end_the_connection_at_a_client() {
    for (target, code) in calls_of_nothing() {
        let mut outpost = Outpost::serving().await;
        let raw = &mut outpost.raw;
        // Ninety, one that runs, ninety: never a hundred in a row.
        are_refused(raw, target, code, 1..91).await;
        still_serves(raw, 91).await;
        are_refused(raw, target, code, 92..182).await;
        insist(raw, target, 182..300).await;
        outpost.cuts_off("a hundred in a row").await;
    }
}

#[tokio::test]
async fn row_07_calls_of_what_is_not_offered_at_a_client_without_services() {
    for target in [Target::UNKNOWN, method("add")] {
        let mut outpost = Outpost::calling_only().await;
        are_refused(&mut outpost.raw, target, code::UNIMPLEMENTED, 1..91).await;
        outpost.stands().await;

        let mut outpost = Outpost::calling_only().await;
        are_refused(&mut outpost.raw, target, code::UNIMPLEMENTED, 1..91).await;
        insist(&mut outpost.raw, target, 91..220).await;
        outpost.cuts_off("a hundred in a row").await;
    }
}

#[tokio::test]
async fn row_08_a_call_number_may_never_repeat_or_go_back_at_a_client() {
    let hang = method("hang");
    for (number, what) in [(5, "a duplicate"), (4, "backwards"), (0, "zero")] {
        let mut outpost = Outpost::serving().await;
        let log = Arc::clone(&outpost.log);
        outpost.raw.send(&hang.request(5, 60_000, &[])).await;
        eventually("the handler runs", || log.begun() == 1).await;
        outpost.raw.send(&hang.request(number, 60_000, &[])).await;
        outpost.cuts_off(what).await;
        assert_eq!(log.begun(), 1, "{what} ran a handler");
    }
}

#[tokio::test]
async fn row_08_the_number_of_a_finished_call_is_not_used_again_at_a_client() {
    let mut outpost = Outpost::serving().await;
    let log = Arc::clone(&outpost.log);
    still_serves(&mut outpost.raw, u64::MAX - 1).await;
    still_serves(&mut outpost.raw, u64::MAX).await;
    let again = method("hang").request(u64::MAX, 5000, &[]);
    outpost.raw.send(&again).await;
    outpost.cuts_off("a number of the past").await;
    assert_eq!(log.begun(), 0);
}

#[tokio::test]
async fn row_09_frames_for_calls_that_never_were_are_counted_at_a_client() {
    for (what, kind, flags, body) in frames_of_calls() {
        let mut outpost = Outpost::serving().await;
        for id in 1000..1100 {
            outpost.raw.send(&frame(kind, flags, id, &body)).await;
        }
        still_serves(&mut outpost.raw, 1).await;
        for id in 1100..1110 {
            outpost.raw.send(&frame(kind, flags, id, &body)).await;
        }
        outpost.cuts_off(what).await;
    }
}

#[tokio::test]
async fn row_09_cancelling_what_has_ended_is_no_offence_at_a_client() {
    let mut outpost = Outpost::serving().await;
    for id in 1..=300 {
        still_serves(&mut outpost.raw, id).await;
        outpost.raw.send(&frame(CANCEL, 0, id, &[])).await;
    }
    still_serves(&mut outpost.raw, 301).await;
    outpost.stands().await;
}

#[tokio::test]
async fn row_17_metadata_beyond_its_limits_ends_the_connection_at_a_client() {
    let mut outpost = Outpost::serving().await;
    outpost.raw.send(&most_metadata()).await;
    let reply = outpost.raw.reply(1).await.unwrap();
    assert_eq!(reply.body, value(FIVE), "64 entries are allowed");
    outpost.stands().await;
    for (what, bytes) in bad_metadata() {
        let mut outpost = Outpost::serving().await;
        outpost.raw.send(&bytes).await;
        outpost.cuts_off(what).await;
    }
}

#[tokio::test]
async fn row_20_a_handler_that_panics_at_a_client() {
    let mut outpost = Outpost::serving().await;
    say_nothing(&mut outpost.raw).await;
    still_serves(&mut outpost.raw, 5).await;
    outpost.stands().await;
}

#[tokio::test]
async fn row_20_a_destructor_that_panics_when_the_call_is_cancelled_at_a_client() {
    let mut outpost = Outpost::serving().await;
    for id in 1..=20 {
        let bomb = method("hang_over_a_bomb").request(id, 60_000, &[]);
        outpost.raw.send(&bomb).await;
    }
    eventually("all handlers run", || outpost.log.begun() == 20).await;
    for id in 1..=20 {
        outpost.raw.send(&frame(CANCEL, 0, id, &[])).await;
    }
    eventually("all handlers are gone", || outpost.log.gone() == 20).await;
    still_serves(&mut outpost.raw, 21).await;
    outpost.stands().await;
}

#[tokio::test]
async fn row_22_a_server_that_cancels_its_calls_at_a_client() {
    let mut outpost = Outpost::serving().await;
    let hang = method("hang");
    for round in 0..10 {
        let first = round * 101 + 1;
        let ids = first..first + 100;
        for id in ids.clone() {
            outpost.raw.send(&hang.request(id, 3_000_000, &[])).await;
        }
        // Every other round they are cancelled before they have begun, or while they begin.
        if round % 2 == 0 {
            let all = outpost.log.gone() + 100;
            eventually("all handlers run", || outpost.log.begun() == all).await;
        }
        for id in ids {
            outpost.raw.send(&frame(CANCEL, 0, id, &[])).await;
        }
        still_serves(&mut outpost.raw, first + 100).await;
        is_over(&outpost.log).await;
    }
    outpost.stands().await;
}

#[tokio::test]
async fn row_22_a_server_that_vanishes_with_its_calls_at_a_client() {
    let Outpost {
        mut raw, log, call, ..
    } = Outpost::serving().await;
    for id in 1..=100 {
        let hang = method("hang").request(id, 3_000_000, &[]);
        raw.send(&hang).await;
    }
    eventually("all handlers run", || log.begun() == 100).await;
    drop(raw);
    let error = call.await.unwrap().unwrap_err();
    assert!(
        matches!(error.code(), Code::Disconnected | Code::Io),
        "{error}"
    );
    is_over(&log).await;
}

#[tokio::test]
async fn row_57_extremes_of_the_deadline_on_the_wire_at_a_client() {
    let mut outpost = Outpost::serving().await;
    let log = Arc::clone(&outpost.log);
    extremes_of_the_deadline(&mut outpost.raw, &log).await;
    outpost.stands().await;
}
