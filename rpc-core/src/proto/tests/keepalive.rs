//! A peer that falls silent, and one that never stops asking.

use super::pair::{Pair, Side, request};
use super::{SECOND, value, verdict};
use crate::error::{Code, Executed};
use crate::proto::Fault;
use crate::wire::Frame;

#[test]
fn row_11_a_silent_peer_that_owes_a_reply_is_given_up_after_thirty_seconds() {
    let mut client = Side::client(|_| ());
    let id = client.call_within(SECOND * 3600, "hi");
    client.said();
    client.pass(SECOND * 19);
    assert_eq!(
        client.summary(),
        ["PING 1"],
        "the second before was spent on ready"
    );
    client.pass(SECOND * 10);
    assert_eq!(
        verdict(client.reply(id)),
        (Code::Disconnected, Executed::Maybe)
    );
    assert_eq!(client.closed, Some(Fault::Silent(SECOND * 10)));
    assert_eq!(client.summary(), ["GO_AWAY 0"]);
}

#[test]
fn a_living_peer_keeps_the_connection() {
    let mut pair = Pair::established();
    let id = pair.client.call_within(SECOND * 3600, "hi");
    pair.advance(SECOND * 600);
    let said = pair.client.summary();
    let pings = said.iter().filter(|frame| frame.starts_with("PING"));
    assert_eq!(pings.count(), 30);
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(id), value("hi"));
}

#[test]
fn an_idle_connection_is_asked_every_five_minutes() {
    let mut client = Side::client(|_| ());
    client.pass(SECOND * 298);
    assert!(client.summary().is_empty());
    client.pass(SECOND);
    assert_eq!(client.summary(), ["PING 1"]);
    client.hear(&Frame::Pong(1));
    client.pass(SECOND * 299);
    assert!(client.summary().is_empty());
    client.pass(SECOND);
    assert_eq!(client.summary(), ["PING 2"]);
}

#[test]
fn any_byte_is_a_sign_of_life() {
    let mut server = Side::server(|_| ());
    server.hear(&request(1, "hi"));
    for _ in 0..100 {
        server.pass(SECOND * 19);
        server.hear_bytes(&[]);
        server.hear(&Frame::Pong(99));
    }
    assert!(server.closed.is_none());
    assert!(
        server
            .summary()
            .iter()
            .all(|frame| !frame.starts_with("PING"))
    );
}

#[test]
fn a_ping_is_answered_with_its_number() {
    let mut server = Side::server(|_| ());
    server.hear(&Frame::Ping(42));
    assert_eq!(server.summary(), ["PONG 42"]);
}

#[test]
fn row_15_a_ping_flood_is_one_pong() {
    let mut server = Side::server(|_| ());
    for number in 1..=100_000 {
        server.hear(&Frame::Ping(number));
    }
    assert_eq!(server.audit().frames, 0);
    assert_eq!(server.summary(), ["PONG 100000"]);
    assert!(server.closed.is_none());
}

#[test]
fn nothing_is_asked_before_the_handshake_is_over() {
    let mut pair = Pair::with(|setup| {
        setup.client.handshake = SECOND * 1000;
        setup.client.ping_idle = SECOND;
    });
    pair.client.said();
    pair.client.pass(SECOND * 100);
    assert!(pair.client.summary().is_empty());
    assert!(pair.client.closed.is_none());
}
