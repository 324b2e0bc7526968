//! Time left travels, and both sides enforce it.

use std::time::{Duration, Instant};

use super::pair::{Pair, Side, chunk, request, request_in, request_more};
use super::{SECOND, value, verdict, zeros};
use crate::error::{Code, Executed};
use crate::wire::{Frame, Reply};

const LATE: Code = Code::DeadlineExceeded;

fn refusal(said: &[Frame]) -> (u64, Code, Executed) {
    match said {
        [
            Frame::Response {
                id,
                reply: Reply::Failure(error),
                ..
            },
        ] => (*id, error.code(), error.executed()),
        said => panic!("{said:?}"),
    }
}

#[test]
fn the_caller_gives_up_in_time() {
    let mut pair = Pair::established();
    pair.latency = SECOND / 100;
    let id = pair.client.call_within(SECOND, "hi");
    pair.advance(SECOND);
    assert_eq!(verdict(pair.client.reply(id)), (LATE, Executed::Maybe));
    assert_eq!(pair.client.summary(), ["REQUEST 1", "CANCEL 1"]);
}

#[test]
fn the_callee_stops_in_time_even_if_nobody_tells_it() {
    let mut server = Side::server(|_| ());
    server.hear(&request_in(1, 1000, "hi"));
    let running = server.request();
    assert_eq!(running.deadline, server.now + SECOND);
    server.pass(SECOND);
    assert_eq!(server.aborts, [running.id]);
    assert_eq!(refusal(&server.said()), (1, LATE, Executed::Maybe));
    assert_eq!(
        server.audit().served,
        1,
        "its place is kept until the handler is gone"
    );
    server.respond(running.id, value("too late"));
    assert_eq!(server.audit().served, 0);
    assert!(server.summary().is_empty(), "one reply is enough");
}

#[test]
fn row_57_a_call_without_time_never_runs() {
    let mut server = Side::server(|_| ());
    server.hear(&request_in(1, 0, "hi"));
    assert!(server.requests.is_empty());
    assert_eq!(refusal(&server.said()), (1, LATE, Executed::No));
    assert_eq!(server.audit().served, 0);
}

#[test]
fn row_57_the_longest_time_is_cut_to_what_the_server_grants() {
    let mut server = Side::server(|_| ());
    server.hear(&request_in(1, u32::MAX, "hi"));
    let granted = server.request().deadline - server.now;
    assert_eq!(granted, Duration::from_secs(3600));
}

#[test]
fn row_57_a_request_that_never_completes_ends_with_its_deadline() {
    let mut server = Side::server(|_| ());
    server.hear(&request_more(1, "half"));
    server.pass(SECOND * 10);
    assert_eq!(refusal(&server.said()), (1, LATE, Executed::No));
    assert_eq!(server.audit().served, 0);
    server.hear(&chunk(1, "rest", false));
    assert!(server.requests.is_empty());
    assert!(server.closed.is_none());
}

#[test]
fn row_57_the_callers_extremes() {
    let mut client = Side::client(|_| ());
    let over = client.call_within(Duration::ZERO, "hi");
    assert_eq!(verdict(client.reply(over)), (LATE, Executed::No));
    assert!(client.summary().is_empty());

    let mut far = Duration::from_secs(u64::MAX / 4);
    while client.now.checked_add(far).is_none() {
        far /= 2;
    }
    client.call_within(far, "hi");
    match client.said().as_slice() {
        [Frame::Request { head, .. }] => assert_eq!(head.timeout_ms, u32::MAX),
        said => panic!("{said:?}"),
    }
}

#[test]
fn less_than_a_millisecond_counts_as_one() {
    let mut client = Side::client(|_| ());
    client.call_within(Duration::from_micros(1), "hi");
    match client.said().as_slice() {
        [Frame::Request { head, .. }] => assert_eq!(head.timeout_ms, 1),
        said => panic!("{said:?}"),
    }
}

#[test]
fn time_in_the_queue_is_not_given_twice() {
    let mut pair = Pair::established_with(|setup| setup.server.calls = 1);
    pair.client.call("first");
    pair.client.call_within(SECOND * 3, "second");
    pair.drive();
    pair.advance(SECOND);
    pair.server.respond_all();
    pair.drive();
    let second = pair.server.request();
    assert_eq!(second.head.timeout_ms, 2000);
}

#[test]
fn a_call_that_is_late_in_the_queue_is_not_sent() {
    let mut pair = Pair::established_with(|setup| setup.server.calls = 1);
    pair.client.call("first");
    let id = pair.client.call_within(SECOND, "second");
    pair.advance(SECOND);
    assert_eq!(verdict(pair.client.reply(id)), (LATE, Executed::No));
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.summary(), ["REQUEST 1"]);
}

#[test]
fn a_place_that_a_late_call_leaves_is_taken_at_once() {
    let mut pair = Pair::established_with(|setup| setup.server.calls = 1);
    pair.client.call_within(SECOND, "first");
    pair.client.call_within(SECOND * 5, "second");
    pair.advance(SECOND);
    assert_eq!(
        pair.client.summary(),
        ["REQUEST 1", "CANCEL 1", "REQUEST 2"]
    );
}

#[test]
fn a_call_that_is_late_half_sent_did_not_run() {
    let mut client = Side::client(|_| ());
    let id = client.call_within(SECOND, zeros(3 << 20));
    client.said();
    client.pass(SECOND);
    assert_eq!(verdict(client.reply(id)), (LATE, Executed::No));
    assert_eq!(client.summary(), ["CANCEL 1"]);
    assert_eq!(client.audit().bulk, 0);
}

#[test]
fn a_call_that_is_late_half_received_did_run() {
    let mut client = Side::client(|_| ());
    let id = client.call_within(SECOND, "hi");
    client.hear(&super::pair::response(id.0, "half", true));
    client.pass(SECOND);
    assert_eq!(verdict(client.reply(id)), (LATE, Executed::Yes));
}

#[test]
fn deadlines_count_from_the_arrival_of_the_first_frame() {
    let mut server = Side::server(|_| ());
    let begun = server.now;
    server.hear(&request_more(1, "half"));
    server.pass(SECOND * 4);
    server.hear(&chunk(1, "rest", false));
    assert_eq!(server.request().deadline, begun + SECOND * 10);
}

/// The last instant that this clock can express, to the second.
fn end_of_time() -> Instant {
    let mut end = Instant::now();
    let mut step = Duration::from_secs(u64::MAX / 2);
    while step >= SECOND {
        match end.checked_add(step) {
            Some(later) => end = later,
            None => step /= 2,
        }
    }
    end
}

#[test]
fn row_57_a_clock_near_its_end_overflows_nothing() {
    let mut server = Side::server(|_| ());
    server.now = end_of_time();
    server.hear(&request(1, "hi"));
    server.connection.handle_timeout(server.now);
    server.connection.poll_timeout();
    assert!(server.closed.is_none());
}

#[test]
fn a_wait_beyond_the_clock_is_a_wait_without_end() {
    let mut pair = Pair::with(|setup| {
        setup.client.handshake = Duration::MAX;
        setup.server.deadline_max = Duration::MAX;
    });
    pair.client.connection.handle_timeout(pair.client.now);
    assert_eq!(pair.client.connection.poll_event().map(drop), None);
    assert_eq!(pair.echo("hi"), value("hi"));
}
