//! Calls in both directions, their order, their places and their end with the connection.

use super::pair::{Pair, Side, request, response};
use super::{failure, value, verdict, zeros};
use crate::error::{Code, Error, Executed};
use crate::proto::Fault;
use crate::wire::{Frame, Reply};

#[test]
fn a_call_and_its_reply() {
    let mut pair = Pair::established();
    let id = pair.client.call("hi");
    pair.drive();
    let request = pair.server.request();
    assert_eq!((request.head.method, request.head.fingerprint), (1, 2));
    assert_eq!(&request.payload[..], b"hi");
    pair.server.respond(request.id, value("ho"));
    pair.drive();
    assert_eq!(pair.client.reply(id), value("ho"));
    assert_eq!(pair.client.summary(), ["REQUEST 1"]);
    assert_eq!(pair.server.summary(), ["RESPONSE 1"]);
}

#[test]
fn every_outcome_travels() {
    let mut pair = Pair::established();
    let outcomes = [
        value("ok"),
        Reply::ServiceError(b"err"[..].into()),
        Reply::Failure(Error::new(Code::Skew, "differ").with_executed(Executed::No)),
    ];
    for outcome in outcomes {
        let id = pair.client.call("hi");
        pair.drive();
        let request = pair.server.request();
        pair.server.respond(request.id, outcome.clone());
        pair.drive();
        assert_eq!(pair.client.reply(id), outcome);
    }
}

#[test]
fn both_sides_call_at_once_under_the_same_number() {
    let mut pair = Pair::established();
    let ours = pair.client.call("from the client");
    let theirs = pair.server.call("from the server");
    assert_eq!(ours, theirs);
    pair.drive();
    pair.client.respond_all();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(ours), value("from the client"));
    assert_eq!(pair.server.reply(theirs), value("from the server"));
}

#[test]
fn both_sides_send_large_messages_under_the_same_number() {
    let mut pair = Pair::established();
    let ours = pair.client.call(vec![1; 3 << 20]);
    let theirs = pair.server.call(vec![2; 3 << 20]);
    assert_eq!(ours, theirs);
    pair.drive();
    pair.client.respond_all();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(
        pair.client.reply(ours),
        Reply::Value(vec![1; 3 << 20].into())
    );
    assert_eq!(
        pair.server.reply(theirs),
        Reply::Value(vec![2; 3 << 20].into())
    );
}

#[test]
fn replies_come_in_any_order() {
    let mut pair = Pair::established();
    let ids = ["a", "b", "c"].map(|text| pair.client.call(text));
    pair.drive();
    for id in [ids[2], ids[0], ids[1]] {
        pair.server.respond(id, value("done"));
    }
    pair.drive();
    assert_eq!(
        pair.server.summary(),
        ["RESPONSE 3", "RESPONSE 1", "RESPONSE 2"]
    );
    for id in ids {
        assert_eq!(pair.client.reply(id), value("done"));
    }
}

#[test]
fn calls_beyond_the_places_of_the_peer_wait() {
    let mut pair = Pair::established_with(|setup| setup.server.calls = 2);
    for _ in 0..4 {
        pair.client.call("hi");
    }
    pair.drive();
    assert_eq!(pair.server.requests.len(), 2);
    assert_eq!(pair.client.audit().calls, 4);
    let first = pair.server.request();
    pair.server.respond(first.id, value("done"));
    pair.drive();
    let waiting: Vec<u64> = pair.server.requests.iter().map(|r| r.id.0).collect();
    assert_eq!(waiting, [2, 3]);
}

#[test]
fn ten_thousand_calls_at_once() {
    let mut pair = Pair::established();
    let ids: Vec<_> = (0..10_000).map(|_| pair.client.call("hi")).collect();
    while pair.client.audit().calls > 0 {
        pair.drive();
        assert_eq!(
            pair.server.audit().served,
            256.min(pair.client.audit().calls)
        );
        pair.server.respond_all();
        pair.drive();
    }
    for id in ids {
        assert_eq!(pair.client.reply(id), value("hi"));
    }
    assert_eq!(pair.client.audit().queue, 0);
}

#[test]
fn the_queue_has_an_end() {
    let mut pair = Pair::established_with(|setup| {
        setup.server.calls = 1;
        setup.client.queued_calls = 3;
    });
    for _ in 0..4 {
        pair.client.call("hi");
    }
    let deadline = pair.client.now + super::SECOND;
    let error = pair.client.try_call(deadline, "hi").unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Overloaded, Executed::No)
    );
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    assert!(
        pair.client.try_call(deadline, "hi").is_ok(),
        "a place is free again"
    );
}

#[test]
fn without_a_queue_a_call_still_takes_a_free_place() {
    let mut pair = Pair::established_with(|setup| {
        setup.server.calls = 1;
        setup.client.queued_calls = 0;
    });
    let deadline = pair.client.now + super::SECOND;
    let id = pair.client.try_call(deadline, "hi").unwrap();
    let error = pair.client.try_call(deadline, "hi").unwrap_err();
    assert_eq!(error.code(), Code::Overloaded);
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(id), value("hi"));
    assert_eq!(pair.client.audit().queue, 0);
}

#[test]
fn a_peer_that_takes_more_than_its_places_is_refused() {
    let mut server = Side::server(|limits| limits.calls = 2);
    for id in 1..=3 {
        server.hear(&request(id, "hi"));
    }
    assert_eq!(server.requests.len(), 2);
    match server.said().as_slice() {
        [
            Frame::Response {
                id: 3,
                reply: Reply::Failure(error),
                ..
            },
        ] => {
            assert_eq!(
                (error.code(), error.executed()),
                (Code::Overloaded, Executed::No)
            );
        }
        said => panic!("{said:?}"),
    }
}

#[test]
fn a_peer_without_places_is_given_one_call_at_a_time() {
    let mut pair = Pair::established_with(|setup| setup.server.calls = 0);
    pair.client.call("hi");
    pair.client.call("hi");
    assert_eq!(pair.client.summary(), ["REQUEST 1"]);
}

#[test]
fn a_lost_connection_says_how_far_each_call_had_come() {
    let mut client = Side::client(|limits| limits.queued_calls = 10);
    let sent = client.call("hi");
    let receiving = client.call("hi");
    let unsent = client.call(zeros(3 << 20));
    let queued: Vec<_> = (0..254).map(|_| client.call("hi")).collect();
    client.transmit();
    client.hear(&response(receiving.0, "a part", true));
    client.connection.handle_eof();
    client.poll_events();
    let disconnected = |executed| (Code::Disconnected, executed);
    assert_eq!(verdict(client.reply(sent)), disconnected(Executed::Maybe));
    assert_eq!(
        verdict(client.reply(receiving)),
        disconnected(Executed::Yes)
    );
    assert_eq!(verdict(client.reply(unsent)), disconnected(Executed::No));
    let last = *queued.last().unwrap();
    assert_eq!(verdict(client.reply(last)), disconnected(Executed::No));
    assert_eq!(client.closed, Some(Fault::Eof));
    assert!(client.try_call(client.now, "hi").is_err());
}

#[test]
fn what_is_reported_as_not_run_is_not_sent_after_all() {
    let mut pair = Pair::established();
    let id = pair.client.call(zeros(3 << 20));
    pair.step();
    pair.client.connection.close(Fault::Closed);
    assert_eq!(
        verdict(pair.client.reply(id)),
        (Code::Disconnected, Executed::No)
    );
    pair.drive();
    assert!(pair.server.requests.is_empty(), "the call ran");
    assert_eq!(pair.client.audit().bulk, 0);
}

#[test]
fn nothing_follows_the_farewell() {
    let mut pair = Pair::new();
    pair.drive();
    pair.client.said();
    pair.client.hear(&Frame::Ping(1));
    pair.client.hear_bytes(&[0xff; 16]);
    assert_eq!(pair.client.summary(), ["GO_AWAY 0"]);
}

#[test]
fn handlers_are_dropped_with_the_connection_and_their_places_kept_until_then() {
    let mut pair = Pair::established();
    pair.client.call("hi");
    pair.drive();
    pair.cut();
    let request = pair.server.request();
    assert_eq!(pair.server.aborts, [request.id]);
    assert_eq!(pair.server.audit().served, 1);
    pair.server.respond(request.id, value("too late"));
    assert_eq!(pair.server.audit().served, 0);
    assert!(pair.server.summary().is_empty());
}

#[test]
fn a_closed_connection_takes_no_calls() {
    let mut pair = Pair::established();
    pair.cut();
    let error = pair
        .client
        .try_call(pair.client.now + super::SECOND, "hi")
        .unwrap_err();
    assert_eq!(error.executed(), Executed::No);
}

#[test]
fn bytes_may_come_one_by_one_and_late() {
    let mut pair = Pair::new();
    pair.piece = 1;
    pair.latency = super::SECOND / 10;
    assert_eq!(pair.echo("slowly"), value("slowly"));
    let id = pair.client.call(zeros(200_000));
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(id), Reply::Value(zeros(200_000)));
}

#[test]
fn a_failure_keeps_its_hint_and_wait_on_the_way() {
    let mut pair = Pair::established();
    let id = pair.client.call("hi");
    pair.drive();
    let error = Error::new(Code::Overloaded, "busy")
        .with_hint("try later")
        .with_retry_after(super::SECOND);
    pair.server.respond(id, Reply::Failure(error));
    pair.drive();
    let error = failure(pair.client.reply(id));
    assert_eq!(
        error.to_string(),
        "overloaded: busy (retry after 1s); try later"
    );
}
