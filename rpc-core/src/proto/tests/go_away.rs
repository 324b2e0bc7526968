//! Draining: what was begun is finished, what comes later goes elsewhere.

use super::pair::{Pair, Side, accepted, request, response};
use super::{MIB, SECOND, value, verdict, zeros};
use crate::error::{Code, Executed};
use crate::proto::Fault;
use crate::proto::Taken;
use crate::wire::{Frame, MAGIC, Reply};

fn go_away(last_id: u64, code: Code) -> Frame {
    Frame::GoAway {
        last_id,
        code: code.to_wire(),
        text: "bye".into(),
    }
}

#[test]
fn calls_below_finish_and_calls_above_go_elsewhere() {
    let mut pair = Pair::established();
    pair.latency = SECOND / 10;
    let below = pair.client.call("below");
    pair.drive();
    let above = pair.client.call("above");
    pair.server.go_away();
    pair.drive();
    assert!(pair.client.draining);
    assert_eq!(
        verdict(pair.client.reply(above)),
        (Code::Draining, Executed::No)
    );
    assert_eq!(pair.server.requests.len(), 1, "the call above never runs");
    assert!(!pair.server.connection.is_done());
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(below), value("below"));
    assert!(pair.server.connection.is_done());
    assert!(pair.client.connection.is_done());
    assert_eq!(pair.server.summary(), ["GO_AWAY 1", "RESPONSE 1"]);
}

#[test]
fn queued_calls_go_elsewhere() {
    let mut pair = Pair::established_with(|setup| setup.server.calls = 1);
    let running = pair.client.call("running");
    let queued = pair.client.call("queued");
    pair.drive();
    pair.server.go_away();
    pair.drive();
    assert_eq!(
        verdict(pair.client.reply(queued)),
        (Code::Draining, Executed::No)
    );
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(running), value("running"));
}

#[test]
fn large_calls_below_finish_in_both_directions() {
    let mut pair = Pair::established();
    let id = pair.client.call(zeros(3 * MIB));
    pair.step();
    pair.server.go_away();
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(id), Reply::Value(zeros(3 * MIB)));
    assert!(pair.server.connection.is_done() && pair.client.connection.is_done());
}

#[test]
fn a_side_that_goes_finishes_its_own_calls_too() {
    let mut pair = Pair::established();
    let id = pair.server.call("from the server");
    pair.drive();
    pair.server.go_away();
    pair.drive();
    assert!(!pair.server.connection.is_done());
    pair.client.respond_all();
    pair.drive();
    assert_eq!(pair.server.reply(id), value("from the server"));
    assert!(pair.server.connection.is_done());
}

#[test]
fn neither_side_calls_any_more() {
    let mut pair = Pair::established();
    pair.server.go_away();
    pair.drive();
    for side in [&mut pair.client, &mut pair.server] {
        let error = side.try_call(side.now + SECOND, "hi").unwrap_err();
        assert_eq!(
            (error.code(), error.executed()),
            (Code::Draining, Executed::No)
        );
        assert!(side.connection.is_draining());
    }
}

#[test]
fn an_idle_connection_is_done_once_it_has_said_so() {
    let mut pair = Pair::established();
    pair.server.go_away();
    assert!(
        !pair.server.connection.is_done(),
        "it has not been said yet"
    );
    pair.drive();
    assert!(pair.server.connection.is_done() && pair.client.connection.is_done());
}

#[test]
fn going_twice_is_going_once() {
    let mut pair = Pair::established();
    pair.server.go_away();
    pair.server.go_away();
    assert_eq!(pair.server.summary(), ["GO_AWAY 0"]);
}

#[test]
fn a_server_that_goes_before_hello_refuses() {
    let mut pair = Pair::new();
    let id = pair.client.call("hi");
    pair.server.go_away();
    pair.drive();
    assert_eq!(pair.server.summary(), ["REFUSED"]);
    assert_eq!(
        verdict(pair.client.reply(id)),
        (Code::Draining, Executed::No)
    );
}

#[test]
fn a_server_that_goes_before_ready_finishes_the_early_calls() {
    let mut pair = Pair::new();
    let id = pair.client.call("hi");
    pair.step();
    pair.server.go_away();
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(id), value("hi"));
    pair.advance(SECOND);
    assert!(pair.server.connection.is_done());
}

#[test]
fn a_farewell_names_the_reason() {
    let mut client = Side::client(|_| ());
    let below = client.call("below");
    let above = client.call("above");
    client.said();
    client.hear(&go_away(1, Code::Protocol));
    assert_eq!(verdict(client.reply(above)), (Code::Draining, Executed::No));
    client.connection.handle_eof();
    assert_eq!(
        verdict(client.reply(below)),
        (Code::Protocol, Executed::Maybe)
    );
    assert!(matches!(client.closed, Some(Fault::Dismissed { .. })));
}

#[test]
fn the_last_call_never_rises() {
    let mut server = Side::server(|_| ());
    server.hear(&request(1, "hi"));
    server.go_away();
    server.hear(&request(2, "passed over"));
    server.hear_bytes(&[0xff; 16]);
    assert_eq!(server.summary(), ["GO_AWAY 1", "GO_AWAY 1"]);
}

#[test]
fn a_client_that_goes_before_the_answer_says_so_after_it() {
    let mut pair = Pair::new();
    pair.client.go_away();
    pair.drive();
    assert_eq!(pair.client.summary(), ["HELLO", "GO_AWAY 0", "READY"]);
    assert!(pair.server.draining);
    let error = pair.server.try_call(pair.server.now + SECOND, "hi");
    assert_eq!(error.unwrap_err().code(), Code::Draining);
}

#[test]
fn a_call_of_which_the_reply_has_begun_did_run_whatever_the_peer_says() {
    let mut client = Side::client(|_| ());
    let id = client.call("hi");
    client.said();
    client.hear(&response(id.0, "half", true));
    client.hear(&go_away(0, Code::Draining));
    assert_eq!(verdict(client.reply(id)), (Code::Draining, Executed::Yes));
}

#[test]
fn row_15_a_flood_of_go_away_is_one_event() {
    let mut client = Side::client(|_| ());
    for _ in 0..300 {
        client.call("hi");
    }
    client.said();
    let mut flood = Vec::new();
    for _ in 0..1000 {
        go_away(u64::MAX, Code::Draining).put(&mut flood);
    }
    let mut flood = &flood[..];
    while !matches!(
        client.connection.handle_input(client.now, &mut flood),
        Taken::Nothing
    ) {}
    assert_eq!(client.audit().events, 1);
}

#[test]
fn a_go_away_instead_of_the_answer_ends_the_connection() {
    let mut pair = Pair::new();
    let id = pair.client.call("hi");
    pair.client.said();
    pair.client.hear_bytes(&MAGIC);
    pair.client.hear(&go_away(0, Code::Overloaded));
    assert_eq!(
        verdict(pair.client.reply(id)),
        (Code::Overloaded, Executed::Maybe)
    );
    pair.client.hear(&accepted());
    assert!(pair.client.terms.is_none());
}

#[test]
fn who_closes_knows_whether_all_that_it_said_was_heard() {
    fn was_settled(say: impl FnOnce(&mut Pair)) -> bool {
        let mut pair = Pair::established();
        say(&mut pair);
        pair.drive();
        pair.client.connection.close(Fault::Closed);
        pair.client.connection.was_settled()
    }
    assert!(was_settled(|_| ()), "nothing was said");
    assert!(was_settled(|pair| assert_eq!(pair.echo("hi"), value("hi"))));
    let unanswered = |pair: &mut Pair| pair.client.call("hi");
    assert!(!was_settled(|pair| {
        unanswered(pair);
    }));
    assert!(!was_settled(|pair| {
        let id = unanswered(pair);
        pair.drive();
        pair.client.cancel(id);
    }));
    assert!(!was_settled(|pair| pair.client.go_away()));
    assert!(!was_settled(|pair| pair.server.go_away()), "it may go on");
    assert!(!was_settled(|pair| {
        pair.server.call("back");
        pair.drive();
        pair.client.respond_all();
    }));
}

#[test]
fn before_the_handshake_is_over_nobody_knows_what_was_heard() {
    let mut pair = Pair::new();
    pair.client.connection.close(Fault::Closed);
    pair.server.connection.close(Fault::Closed);
    assert!(!pair.client.connection.was_settled());
    assert!(!pair.server.connection.was_settled());
}
