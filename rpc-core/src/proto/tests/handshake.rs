//! Hello, answer, ready, and the calls that do not wait for them.

use bytes::Bytes;

use super::pair::{INSTANCE, Pair, Setup, Side, accepted, hello, request};
use super::{SECOND, failure, value, verdict, zeros};
use crate::error::{Code, Executed};
use crate::proto::Fault;
use crate::wire::{Answer, Frame, Hello, MAGIC, Reply};

#[test]
fn three_legs() {
    let mut pair = Pair::new();
    pair.drive();
    assert_eq!(pair.client.summary(), ["HELLO"]);
    assert_eq!(pair.server.summary(), ["ACCEPTED"]);
    assert_eq!(pair.client.terms.unwrap().instance, INSTANCE);
    assert!(
        pair.server.terms.is_none(),
        "not before it knows that it was heard"
    );
    pair.advance(SECOND);
    assert_eq!(pair.client.summary(), ["READY"]);
    assert!(pair.server.terms.is_some());
}

#[test]
fn early_calls_cost_no_round_trip() {
    let mut pair = Pair::new();
    let id = pair.client.call("hi");
    pair.step();
    assert_eq!(pair.client.summary(), ["HELLO", "REQUEST 1"]);
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.server.summary(), ["ACCEPTED", "RESPONSE 1"]);
    assert_eq!(pair.client.reply(id), value("hi"));
}

#[test]
fn sixteen_calls_are_early_and_no_more() {
    let mut pair = Pair::new();
    for _ in 0..17 {
        pair.client.call("hi");
    }
    let said = pair.client.summary();
    assert_eq!(said.len(), 17, "hello and 16 calls: {said:?}");
    pair.client.hear_bytes(&MAGIC);
    pair.client.hear(&accepted());
    assert_eq!(pair.client.summary(), ["REQUEST 17", "READY"]);
}

#[test]
fn early_calls_fit_four_kibibytes_with_their_hello() {
    let mut pair = Pair::new();
    for _ in 0..4 {
        pair.client.call(zeros(1000));
    }
    let bytes: usize = std::iter::repeat_with(|| pair.client.transmit())
        .take_while(|out| !out.is_empty())
        .flatten()
        .map(|bytes| bytes.len())
        .sum();
    assert_eq!(
        pair.client.summary(),
        ["HELLO", "REQUEST 1", "REQUEST 2", "REQUEST 3"]
    );
    assert!(bytes <= MAGIC.len() + 4096, "{bytes}");
}

#[test]
fn nothing_is_early_where_the_answer_must_be_checked() {
    let waits = |change: fn(&mut Setup)| {
        let mut pair = Pair::with(change);
        pair.client.call("hi");
        assert_eq!(pair.client.summary(), ["HELLO"]);
    };
    waits(|setup| setup.dials.expected = Some(INSTANCE));
    waits(|setup| setup.dials.credentials = Bytes::from_static(b"secret"));
    waits(|setup| setup.dials.codecs = [2, 1].into());
}

#[test]
fn a_refused_hello_ran_no_call() {
    let refuse = Some((Code::Draining, "the server is shutting down"));
    let mut pair = Pair::with(|setup| setup.accepts.refuse = refuse);
    let calls: Vec<_> = (0..20).map(|_| pair.client.call("hi")).collect();
    pair.drive();
    assert_eq!(pair.server.summary(), ["REFUSED"]);
    assert!(pair.server.requests.is_empty());
    for id in calls {
        assert_eq!(
            verdict(pair.client.reply(id)),
            (Code::Draining, Executed::No)
        );
    }
    assert!(pair.client.closed.is_some() && pair.server.closed.is_some());
}

#[test]
fn versions_without_overlap_are_told_on_both_sides() {
    let mut pair = Pair::new();
    let Frame::Hello(ours) = hello() else {
        unreachable!()
    };
    pair.server.hear_bytes(&MAGIC);
    pair.server.hear(&Frame::Hello(Hello {
        versions: (2, 3),
        ..ours
    }));
    let text = "this server speaks protocol versions 1 to 1, the client 2 to 3";
    assert_eq!(
        pair.server.closed,
        Some(Fault::RefusedByUs(Code::Version, text.into()))
    );
    assert_eq!(
        pair.server.said(),
        [Frame::Answer(Answer::Refused {
            code: Code::Version.to_wire(),
            versions: (1, 1),
            text: text.into()
        })]
    );

    let id = pair.client.call("hi");
    pair.client.hear_bytes(&MAGIC);
    pair.client.hear(&Frame::Answer(Answer::Refused {
        code: Code::Version.to_wire(),
        versions: (2, 3),
        text: "too old".into(),
    }));
    let error = failure(pair.client.reply(id));
    assert_eq!(error.executed(), Executed::No);
    assert_eq!(
        error.to_string(),
        "no common protocol version: the peer refused: too old; this side speaks protocol versions \
         1 to 1, the peer 2 to 3: upgrade the older one"
    );
}

#[test]
fn the_highest_common_version_and_the_first_common_codec_are_chosen() {
    let mut pair = Pair::with(|setup| setup.accepts.codecs = [2, 1].into());
    let Frame::Hello(ours) = hello() else {
        unreachable!()
    };
    pair.server.hear_bytes(&MAGIC);
    pair.server.hear(&Frame::Hello(Hello {
        versions: (0, 9),
        codecs: [9, 1, 2].into(),
        ..ours
    }));
    match pair.server.said().as_slice() {
        [Frame::Answer(Answer::Accepted { version, codec, .. })] => {
            assert_eq!((*version, *codec), (1, 1));
        }
        said => panic!("{said:?}"),
    }
}

#[test]
fn no_common_codec_is_a_refusal() {
    let mut pair = Pair::with(|setup| setup.dials.codecs = [2, 3].into());
    let id = pair.client.call("hi");
    pair.drive();
    let error = failure(pair.client.reply(id));
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Version, Executed::No)
    );
    assert!(
        error
            .to_string()
            .contains("no common codec: this server has [1], the client offers [2, 3]"),
        "{error}"
    );
}

#[test]
fn another_instance_is_refused_by_the_server() {
    let mut pair = Pair::with(|setup| setup.dials.expected = Some([8; 16]));
    let id = pair.client.call("hi");
    pair.drive();
    assert_eq!(
        verdict(pair.client.reply(id)),
        (Code::Unauthenticated, Executed::No)
    );
}

#[test]
fn another_instance_is_left_by_the_client() {
    let mut pair = Pair::with(|setup| setup.dials.expected = Some([8; 16]));
    let id = pair.client.call("hi");
    pair.client.hear_bytes(&MAGIC);
    pair.client.hear(&accepted());
    assert_eq!(pair.client.closed, Some(Fault::WrongInstance));
    assert_eq!(
        verdict(pair.client.reply(id)),
        (Code::Unauthenticated, Executed::No)
    );
}

#[test]
fn a_choice_that_was_not_offered_ends_the_connection() {
    let mut pair = Pair::new();
    pair.client.hear_bytes(&MAGIC);
    let Frame::Answer(Answer::Accepted {
        parameters,
        instance,
        ..
    }) = accepted()
    else {
        unreachable!()
    };
    pair.client.hear(&Frame::Answer(Answer::Accepted {
        version: 2,
        codec: 1,
        parameters,
        instance,
    }));
    assert!(matches!(pair.client.closed, Some(Fault::Violation(_))));
}

#[test]
fn early_calls_hold_the_server_to_their_codec() {
    let mut pair = Pair::with(|setup| setup.dials.codecs = [1, 2].into());
    let id = pair.client.call("hi");
    pair.client.said();
    pair.client.hear_bytes(&MAGIC);
    let Frame::Answer(Answer::Accepted {
        parameters,
        instance,
        ..
    }) = accepted()
    else {
        unreachable!()
    };
    pair.client.hear(&Frame::Answer(Answer::Accepted {
        version: 1,
        codec: 2,
        parameters,
        instance,
    }));
    assert!(matches!(pair.client.closed, Some(Fault::Violation(_))));
    assert_eq!(
        verdict(pair.client.reply(id)),
        (Code::Protocol, Executed::Maybe)
    );
}

#[test]
fn ready_rides_with_the_next_write() {
    let mut pair = Pair::new();
    pair.drive();
    pair.client.said();
    pair.client.call("hi");
    assert_eq!(pair.client.summary(), ["REQUEST 1", "READY"]);
}

#[test]
fn ready_waits_a_second_and_no_longer() {
    let mut pair = Pair::new();
    pair.drive();
    pair.advance(SECOND * 99 / 100);
    assert_eq!(pair.client.summary(), ["HELLO"]);
    pair.advance(SECOND / 100);
    assert_eq!(pair.client.summary(), ["READY"]);
}

#[test]
fn ready_that_is_due_asks_for_no_second_timeout() {
    let mut pair = Pair::new();
    pair.drive();
    pair.client.writable = false;
    pair.client.now += SECOND;
    pair.client.connection.handle_timeout(pair.client.now);
    let next = pair.client.connection.poll_timeout().unwrap();
    assert!(
        next > pair.client.now,
        "a driver that cannot write would spin"
    );
    pair.client.writable = true;
    assert_eq!(pair.client.summary().last().unwrap(), "READY");
}

#[test]
fn the_server_calls_only_once_it_was_heard() {
    let mut pair = Pair::new();
    let id = pair.server.call("hi");
    pair.drive();
    assert_eq!(pair.server.summary(), ["ACCEPTED"]);
    pair.server.call("and again, while it waits for ready");
    pair.drive();
    assert!(pair.server.summary().is_empty());
    pair.advance(SECOND);
    assert_eq!(pair.server.summary(), ["REQUEST 1", "REQUEST 2"]);
    pair.client.respond_all();
    pair.drive();
    assert_eq!(pair.server.reply(id), value("hi"));
}

#[test]
fn a_client_without_an_answer_gives_up() {
    let mut pair = Pair::new();
    let early = pair.client.call("hi");
    pair.client.said();
    pair.client.pass(SECOND * 5);
    assert_eq!(
        pair.client.closed,
        Some(Fault::HandshakeTimeout(SECOND * 5))
    );
    assert_eq!(
        verdict(pair.client.reply(early)),
        (Code::Unreachable, Executed::Maybe)
    );
}

#[test]
fn a_server_waits_for_hello_and_for_ready_five_seconds_in_all() {
    let mut pair = Pair::new();
    pair.server.pass(SECOND * 5);
    assert_eq!(
        pair.server.closed,
        Some(Fault::HandshakeTimeout(SECOND * 5))
    );
    assert_eq!(pair.server.summary(), ["REFUSED"]);

    let mut pair = Pair::new();
    pair.server.pass(SECOND * 3);
    pair.server.hear_bytes(&MAGIC);
    pair.server.hear(&hello());
    pair.server.said();
    pair.server.pass(SECOND * 2);
    assert_eq!(
        pair.server.closed,
        Some(Fault::HandshakeTimeout(SECOND * 5))
    );
    assert_eq!(pair.server.summary(), ["GO_AWAY 0"]);
}

#[test]
fn a_peer_of_another_protocol_is_told_so() {
    let mut pair = Pair::new();
    pair.server.hear_bytes(b"GET / HTTP/1.1\r\n");
    assert!(matches!(pair.server.closed, Some(Fault::Malformed(_))));
    assert_eq!(pair.server.summary(), ["REFUSED"]);
}

#[test]
fn the_first_frame_is_the_handshakes() {
    let mut pair = Pair::new();
    pair.server.hear_bytes(&MAGIC);
    pair.server.hear(&request(1, "hi"));
    assert!(matches!(pair.server.closed, Some(Fault::Violation(_))));
    assert!(pair.server.requests.is_empty());
    pair.client.hear_bytes(&MAGIC);
    pair.client.hear(&request(1, "hi"));
    assert!(matches!(pair.client.closed, Some(Fault::Violation(_))));
}

#[test]
fn a_second_handshake_ends_the_connection() {
    for frame in [hello(), accepted(), Frame::Ready] {
        let mut server = Side::server(|_| ());
        server.hear(&frame);
        assert!(
            matches!(server.closed, Some(Fault::Violation(_))),
            "{frame:?}"
        );
        assert_eq!(server.summary(), ["GO_AWAY 0"]);
    }
}

#[test]
fn unknown_options_are_passed_over() {
    let mut pair = Pair::new();
    let mut body = Vec::new();
    hello().put(&mut body);
    body.extend_from_slice(&[200, 2, 0, 1, 2]);
    let length = u32::try_from(body.len() - 16).unwrap();
    body[..4].copy_from_slice(&length.to_le_bytes());
    pair.server.hear_bytes(&MAGIC);
    pair.server.hear_bytes(&body);
    assert_eq!(pair.server.summary(), ["ACCEPTED"]);
}

#[test]
fn a_long_reason_still_fits_the_answer() {
    let mut pair = Pair::new();
    pair.client.hear_bytes(&MAGIC);
    pair.client.hear(&Frame::Answer(Answer::Refused {
        code: Code::Denied.to_wire(),
        versions: (1, 1),
        text: "no ".repeat(3000),
    }));
    assert!(matches!(pair.client.closed, Some(Fault::Refused { .. })));
}

#[test]
fn the_reply_to_an_early_call_may_be_large() {
    let mut pair = Pair::new();
    let id = pair.client.call("hi");
    pair.step();
    let request = pair.server.request();
    pair.server
        .respond(request.id, Reply::Value(zeros(3 << 20)));
    pair.drive();
    assert_eq!(pair.client.reply(id), Reply::Value(zeros(3 << 20)));
}
