//! A caller that loses interest, at every point of a call's way.

use super::pair::{Pair, Side, chunk, reply_chunk, request, request_more, response};
use super::{MIB, value, verdict, zeros};
use crate::error::{Code, Executed};
use crate::proto::Fault;
use crate::wire::{Frame, Reply};

#[test]
fn queued() {
    let mut pair = Pair::established_with(|setup| setup.server.calls = 1);
    pair.client.call("first");
    let id = pair.client.call("second");
    let third = pair.client.call("third");
    pair.client.cancel(id);
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.summary(), ["REQUEST 1", "REQUEST 3"]);
    assert_eq!(pair.client.reply(third), value("third"));
    assert!(pair.client.reply_to(id).is_none());
}

#[test]
fn sent() {
    let mut pair = Pair::established();
    let id = pair.client.call("hi");
    pair.drive();
    pair.client.cancel(id);
    pair.drive();
    assert_eq!(pair.server.aborts, [id]);
    assert_eq!(pair.client.summary(), ["REQUEST 1", "CANCEL 1"]);
    assert!(pair.client.reply_to(id).is_none());
}

#[test]
fn half_sent() {
    let mut pair = Pair::established();
    let id = pair.client.call(zeros(3 * MIB));
    pair.step();
    assert_eq!(pair.server.audit().served, 1);
    pair.client.cancel(id);
    assert_eq!(pair.client.audit().bulk, 0);
    pair.drive();
    assert_eq!(pair.server.audit().served, 0, "it had no handler");
    assert!(pair.server.aborts.is_empty());
    assert!(pair.server.requests.is_empty());
}

#[test]
fn receiving() {
    let mut pair = Pair::established();
    let id = pair.client.call("hi");
    pair.drive();
    pair.server.respond(id, Reply::Value(zeros(3 * MIB)));
    pair.step();
    pair.client.cancel(id);
    pair.drive();
    assert_eq!(pair.server.audit().bulk, 0, "the rest is not sent");
    assert_eq!(pair.server.audit().replies, 0);
    assert_eq!(pair.echo("and on it goes"), value("and on it goes"));
}

#[test]
fn answered_meanwhile() {
    let mut pair = Pair::established();
    let id = pair.client.call("hi");
    pair.drive();
    pair.client.cancel(id);
    pair.server.respond_all();
    pair.drive();
    assert!(pair.client.reply_to(id).is_none());
    assert!(pair.client.closed.is_none() && pair.server.closed.is_none());
}

#[test]
fn a_place_is_kept_until_the_handler_is_gone() {
    let mut server = Side::server(|limits| limits.calls = 1);
    server.hear(&request(1, "hi"));
    server.hear(&Frame::Cancel { id: 1 });
    assert_eq!(server.aborts.len(), 1);
    server.hear(&request(2, "hi"));
    assert_eq!(
        server.summary(),
        ["RESPONSE 2"],
        "refused: the first handler still runs"
    );
    let first = server.request();
    server.respond(first.id, value("gone"));
    server.hear(&request(3, "hi"));
    assert_eq!(server.request().id.0, 3);
    assert!(server.summary().is_empty());
}

#[test]
fn row_13_cancelling_as_fast_as_calling_gains_no_handlers() {
    let mut server = Side::server(|_| ());
    for id in 1..=5_000 {
        server.hear(&request(id, "hi"));
        server.hear(&Frame::Cancel { id });
        server.transmit();
    }
    assert_eq!(server.requests.len(), 256);
    assert_eq!(server.aborts.len(), 256);
    assert_eq!(server.audit().served, 256);
}

#[test]
fn twice_does_no_harm() {
    let mut server = Side::server(|_| ());
    server.hear(&request(1, "hi"));
    for _ in 0..1_000 {
        server.hear(&Frame::Cancel { id: 1 });
    }
    assert_eq!(server.aborts.len(), 1);
    assert!(server.closed.is_none());
}

#[test]
fn chunks_behind_a_cancel_are_taken_and_granted_anew() {
    let mut server = Side::server(|_| ());
    server.hear(&request_more(1, "a"));
    server.hear(&Frame::Cancel { id: 1 });
    for _ in 0..100 {
        server.hear(&chunk(1, zeros(60_000), true));
        server.transmit();
    }
    assert!(server.closed.is_none(), "{:?}", server.closed);
    assert_eq!(server.audit().served, 0);
}

#[test]
fn a_reply_in_chunks_behind_a_cancel_is_taken_too() {
    let mut client = Side::client(|_| ());
    let id = client.call("hi");
    client.said();
    client.hear(&response(id.0, "a", true));
    client.cancel(id);
    for _ in 0..100 {
        client.hear(&reply_chunk(id.0, zeros(60_000), true));
        client.transmit();
    }
    client.hear(&reply_chunk(id.0, "end", false));
    assert!(client.closed.is_none(), "{:?}", client.closed);
}

#[test]
fn row_56_calls_that_end_in_the_queue_leave_nothing_behind() {
    let mut client = Side::client(|_| ());
    for _ in 0..257 {
        client.call("a place, and the head of the queue, for good");
    }
    client.said();
    for _ in 0..100_000 {
        let id = client.call("hi");
        client.cancel(id);
    }
    assert_eq!(client.audit().calls, 257);
    assert!(client.audit().queue < 200, "{:?}", client.audit());
}

#[test]
fn row_14_many_honest_late_replies_are_no_flood() {
    let mut pair = Pair::established_with(|setup| setup.server.calls = 20_000);
    let ids: Vec<_> = (0..20_000).map(|_| pair.client.call("hi")).collect();
    pair.drive();
    pair.server.respond_all();
    for id in ids {
        pair.client.cancel(id);
    }
    pair.drive();
    assert!(pair.client.closed.is_none(), "{:?}", pair.client.closed);
    assert_eq!(pair.echo("and on it goes"), value("and on it goes"));
}

#[test]
fn row_09_a_cancelled_call_excuses_one_late_reply() {
    let mut client = Side::client(|_| ());
    let id = client.call("hi");
    client.said();
    client.cancel(id);
    for _ in 0..101 {
        client.hear(&response(id.0, "late", false));
    }
    assert!(client.closed.is_none());
    client.hear(&response(id.0, "late", false));
    assert!(matches!(client.closed, Some(Fault::Violation(_))));
}

#[test]
fn a_cancelled_call_that_the_connection_takes_with_it_is_silent() {
    let mut pair = Pair::established();
    let cancelled = pair.client.call("hi");
    let other = pair.client.call("hi");
    pair.drive();
    pair.client.cancel(cancelled);
    pair.cut();
    assert!(pair.client.reply_to(cancelled).is_none());
    assert_eq!(
        verdict(pair.client.reply(other)),
        (Code::Disconnected, Executed::Maybe)
    );
}
