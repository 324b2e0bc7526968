//! Large messages: in chunks, in turn, under credit.

use super::pair::{Pair, Setup, Side, chunk, reply_chunk, request_more, response};
use super::{MIB, SECOND, value, verdict, zeros};
use crate::error::{Code, Executed};
use crate::wire::{Frame, Reply};

fn raised(setup: &mut Setup) {
    for limits in [&mut setup.client, &mut setup.server] {
        limits.message = 16 * MIB;
    }
}

#[test]
fn sixteen_mebibytes_there_and_back() {
    let mut pair = Pair::established_with(raised);
    let payload: Vec<u8> = (0..16 * MIB).map(|i| (i / 3) as u8).collect();
    let id = pair.client.call(payload.clone());
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(id), Reply::Value(payload.into()));
    assert_eq!(pair.client.audit().bulk + pair.server.audit().bulk, 0);
}

#[test]
fn a_message_that_fills_its_frame_exactly_needs_no_chunk() {
    let mut pair = Pair::established();
    // A request has 20 bytes before its payload, a reply one.
    let id = pair.client.call(zeros(65_536 - 20));
    pair.drive();
    let request = pair.server.request();
    assert_eq!(request.payload.len(), 65_516);
    pair.server.respond(id, Reply::Value(zeros(65_535)));
    pair.drive();
    assert_eq!(pair.client.reply(id), Reply::Value(zeros(65_535)));
    assert_eq!(pair.client.summary(), ["REQUEST 1"]);
    assert_eq!(pair.server.summary(), ["RESPONSE 1"]);
}

#[test]
fn one_byte_more_is_a_chunk() {
    let mut pair = Pair::established();
    let id = pair.client.call(zeros(65_536 - 19));
    pair.drive();
    pair.server.respond(id, Reply::Value(zeros(65_536)));
    pair.drive();
    assert_eq!(pair.client.summary(), ["REQUEST 1", "CHUNK 1"]);
    assert_eq!(pair.server.summary(), ["RESPONSE 1", "CHUNK 1"]);
}

#[test]
fn a_small_call_waits_for_no_more_than_a_round_of_chunks() {
    let mut pair = Pair::established_with(raised);
    let large = pair.client.call(zeros(16 * MIB));
    for _ in 0..10 {
        pair.step();
    }
    let small = pair.client.call("small");
    // One turn for the request, and one for the reply.
    pair.step();
    pair.server.respond_all();
    pair.step();
    assert_eq!(pair.client.reply(small), value("small"));
    assert!(pair.client.audit().bulk > 0, "the large call is under way");
    let said = pair.client.summary_so_far();
    let place = said.iter().position(|frame| frame == "REQUEST 2").unwrap();
    let burst = said[place..].iter().filter(|frame| *frame == "CHUNK 1");
    assert!(burst.count() <= 8, "two rounds of 256 KiB at most");
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(large), Reply::Value(zeros(16 * MIB)));
}

#[test]
fn a_small_reply_overtakes_a_large_one() {
    let mut pair = Pair::established_with(raised);
    let large = pair.client.call("large");
    pair.drive();
    let request = pair.server.request();
    pair.server
        .respond(request.id, Reply::Value(zeros(16 * MIB)));
    for _ in 0..6 {
        pair.step();
    }
    let small = pair.client.call("small");
    // One turn for the request, and one for the reply.
    pair.step();
    pair.server.respond_all();
    pair.step();
    assert_eq!(pair.client.reply(small), value("small"));
    assert!(pair.client.reply_to(large).is_none(), "it is still coming");
    pair.drive();
    assert_eq!(pair.client.reply(large), Reply::Value(zeros(16 * MIB)));
}

#[test]
fn row_12_a_peer_that_reads_in_trickles_keeps_its_places_taken() {
    let mut server = Side::server(|limits| {
        limits.calls = 4;
        limits.out_queue = MIB;
    });
    for id in 1..=100 {
        server.hear(&super::pair::request(id, "hi"));
        for request in std::mem::take(&mut server.requests) {
            server.respond(request.id, Reply::Value(zeros(4 * MIB)));
        }
        server.said();
        server.hear(&Frame::Credit {
            id: 0,
            bytes: 1,
            callee: false,
        });
    }
    assert!(server.audit().replies <= 16 * MIB, "{:?}", server.audit());
}

#[test]
fn without_credit_chunks_wait_and_small_frames_do_not() {
    let mut client = Side::client(|_| ());
    client.call(zeros(3 * MIB));
    let sent = client
        .said()
        .iter()
        .map(|frame| match frame {
            Frame::Chunk { payload, .. } => payload.len(),
            _ => 0,
        })
        .sum::<usize>();
    assert_eq!(sent, MIB, "the whole window and not a byte more");
    client.call("small");
    assert_eq!(client.summary(), ["REQUEST 2"]);
    client.hear(&Frame::Credit {
        id: 0,
        bytes: 10,
        callee: false,
    });
    match client.said().as_slice() {
        [
            Frame::Chunk {
                payload,
                more: true,
                ..
            },
        ] => assert_eq!(payload.len(), 10),
        said => panic!("{said:?}"),
    }
}

#[test]
fn large_messages_take_turns() {
    let mut pair = Pair::established();
    pair.client.call(zeros(MIB / 4));
    pair.client.call(zeros(MIB / 4));
    pair.drive();
    let said = pair.client.summary();
    assert_eq!(
        said[..6],
        [
            "REQUEST 1",
            "REQUEST 2",
            "CHUNK 1",
            "CHUNK 2",
            "CHUNK 1",
            "CHUNK 2"
        ]
    );
}

#[test]
fn a_request_over_the_servers_limit_is_not_sent() {
    let mut pair = Pair::established_with(|setup| setup.server.message = MIB);
    let id = pair.client.call(zeros(MIB + 1));
    assert_eq!(
        verdict(pair.client.reply(id)),
        (Code::TooLarge, Executed::No)
    );
    assert!(pair.client.summary().is_empty());
}

#[test]
fn an_exact_fit_passes_in_both_directions() {
    let mut pair = Pair::established_with(|setup| {
        setup.server.message = MIB;
        setup.client.message = MIB;
    });
    let id = pair.client.call(zeros(MIB));
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(id), Reply::Value(zeros(MIB)));
}

#[test]
fn a_reply_over_the_clients_limit_becomes_a_failure() {
    let mut pair = Pair::established_with(|setup| setup.client.message = MIB);
    let id = pair.client.call("hi");
    pair.drive();
    pair.server.respond(id, Reply::Value(zeros(MIB + 1)));
    pair.drive();
    assert_eq!(
        verdict(pair.client.reply(id)),
        (Code::TooLarge, Executed::Yes)
    );
}

#[test]
fn row_01_a_request_that_grows_over_the_limit_is_refused() {
    let mut server = Side::server(|limits| limits.message = 100_000);
    server.hear(&request_more(1, zeros(60_000)));
    server.hear(&chunk(1, zeros(60_000), true));
    match server.said().as_slice() {
        [
            Frame::Response {
                id: 1,
                reply: Reply::Failure(error),
                ..
            },
        ] => assert_eq!(
            (error.code(), error.executed()),
            (Code::TooLarge, Executed::No)
        ),
        said => panic!("{said:?}"),
    }
    assert_eq!(server.audit().served, 0);
    server.hear(&chunk(1, zeros(60_000), false));
    assert!(server.requests.is_empty());
    assert!(server.closed.is_none());
}

#[test]
fn row_56_a_reply_that_grows_over_the_limit_is_refused() {
    let mut client = Side::client(|limits| limits.message = 100_000);
    let id = client.call("hi");
    client.said();
    client.hear(&response(id.0, zeros(60_000), true));
    client.hear(&reply_chunk(id.0, zeros(60_000), true));
    assert_eq!(verdict(client.reply(id)), (Code::TooLarge, Executed::Yes));
    assert_eq!(client.summary(), ["CANCEL 1"]);
}

#[test]
fn row_01_a_request_over_the_limit_in_one_frame_is_refused() {
    let mut server = Side::server(|limits| limits.message = 1000);
    server.hear(&super::pair::request(1, zeros(1001)));
    server.hear(&request_more(2, zeros(1001)));
    assert_eq!(server.summary(), ["RESPONSE 1", "RESPONSE 2"]);
    assert!(server.requests.is_empty());
    assert_eq!(server.audit().served, 0);
    server.hear(&super::pair::request(3, zeros(1000)));
    assert_eq!(server.requests.len(), 1);
}

#[test]
fn row_56_a_reply_over_the_limit_in_one_frame_is_refused() {
    let mut client = Side::client(|limits| limits.message = 1000);
    let [whole, begun, fits] = [(); 3].map(|()| client.call("hi"));
    client.said();
    client.hear(&response(whole.0, zeros(1001), false));
    client.hear(&response(begun.0, zeros(1001), true));
    client.hear(&response(fits.0, zeros(1000), false));
    let too_large = (Code::TooLarge, Executed::Yes);
    assert_eq!(verdict(client.reply(whole)), too_large);
    assert_eq!(verdict(client.reply(begun)), too_large);
    assert_eq!(client.reply(fits), Reply::Value(zeros(1000)));
    assert_eq!(client.summary(), ["CANCEL 2"], "the first is over anyway");
}

#[test]
fn row_12_all_requests_under_assembly_have_one_limit() {
    let mut server = Side::server(|limits| {
        limits.message = 200_000;
        limits.assembly = 200_000;
    });
    server.hear(&request_more(1, zeros(50_000)));
    server.hear(&request_more(2, zeros(50_000)));
    server.hear(&chunk(1, zeros(60_000), true));
    server.hear(&chunk(2, zeros(60_000), true));
    match server.said().as_slice() {
        [
            Frame::Response {
                id: 2,
                reply: Reply::Failure(error),
                ..
            },
        ] => assert_eq!(
            (error.code(), error.executed()),
            (Code::Overloaded, Executed::No)
        ),
        said => panic!("{said:?}"),
    }
    server.hear(&chunk(1, zeros(60_000), false));
    assert_eq!(server.request().payload.len(), 170_000);
}

#[test]
fn row_12_first_frames_count_as_assembly_too() {
    let mut server = Side::server(|limits| {
        limits.message = 200_000;
        limits.assembly = 200_000;
    });
    for id in 1..=4 {
        server.hear(&request_more(id, zeros(60_000)));
    }
    assert_eq!(server.summary(), ["RESPONSE 4"]);
    assert_eq!(server.audit().served, 3);
}

#[test]
fn row_56_all_replies_under_assembly_have_one_limit() {
    let mut client = Side::client(|limits| {
        limits.message = 200_000;
        limits.assembly = 200_000;
    });
    let [a, b] = [(); 2].map(|()| client.call("hi"));
    client.said();
    client.hear(&response(a.0, zeros(60_000), true));
    client.hear(&response(b.0, zeros(60_000), true));
    client.hear(&reply_chunk(a.0, zeros(60_000), true));
    client.hear(&reply_chunk(b.0, zeros(60_000), true));
    assert_eq!(verdict(client.reply(b)), (Code::Overloaded, Executed::Yes));
    assert_eq!(client.summary(), ["CANCEL 2"]);
    client.hear(&reply_chunk(a.0, zeros(60_000), false));
    assert_eq!(client.reply(a), Reply::Value(zeros(180_000)));
}

#[test]
fn row_14_any_number_of_honest_large_calls_fits_the_assembly() {
    let mut pair = Pair::established();
    let ids: Vec<_> = (0..64).map(|_| pair.client.call(zeros(4 * MIB))).collect();
    pair.drive();
    let requests = std::mem::take(&mut pair.server.requests);
    assert_eq!(requests.len(), 64, "{:?}", pair.server.summary());
    for request in requests {
        pair.server
            .respond(request.id, Reply::Value(request.payload));
    }
    pair.drive();
    for id in ids {
        assert_eq!(pair.client.reply(id), Reply::Value(zeros(4 * MIB)));
    }
}

#[test]
fn one_message_within_its_own_limit_always_fits_the_assembly() {
    let mut pair = Pair::established_with(|setup| {
        raised(setup);
        setup.server.assembly = MIB;
        setup.client.assembly = MIB;
    });
    let id = pair.client.call(zeros(16 * MIB));
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(id), Reply::Value(zeros(16 * MIB)));
}

#[test]
fn row_12_a_peer_that_does_not_read_gets_no_more_handlers() {
    let mut server = Side::server(|limits| {
        limits.message = 8 * MIB;
        limits.out_queue = MIB;
    });
    server.hear(&super::pair::request(1, "hi"));
    let first = server.request();
    server.respond(first.id, Reply::Value(zeros(4 * MIB)));
    server.said();
    server.hear(&super::pair::request(2, "hi"));
    assert!(server.requests.is_empty(), "it waits until the peer reads");
    let grant = Frame::Credit {
        id: 0,
        bytes: 1 << 20,
        callee: false,
    };
    for _ in 0..3 {
        server.hear(&grant);
        server.said();
    }
    assert_eq!(server.request().id.0, 2);
}

#[test]
fn a_held_request_that_is_cancelled_or_late_never_runs() {
    let mut server = Side::server(|limits| limits.out_queue = MIB);
    server.hear(&super::pair::request(1, "hi"));
    let first = server.request();
    server.respond(first.id, Reply::Value(zeros(4 * MIB)));
    server.said();
    server.hear(&super::pair::request(2, "hi"));
    server.hear(&super::pair::request_in(3, 1000, "hi"));
    server.said();
    server.hear(&Frame::Cancel { id: 2 });
    server.pass(SECOND);
    assert_eq!(server.summary(), ["RESPONSE 3"]);
    assert!(server.requests.is_empty() && server.aborts.is_empty());
    assert_eq!(server.audit().served, 0);
}

#[test]
fn row_12_held_requests_run_when_the_reply_in_their_way_is_cancelled() {
    let mut server = Side::server(|limits| limits.out_queue = MIB);
    server.hear(&super::pair::request(1, "hi"));
    let first = server.request();
    server.respond(first.id, Reply::Value(zeros(4 * MIB)));
    server.said();
    server.hear(&super::pair::request(2, "hi"));
    server.said();
    server.hear(&super::pair::request(3, "hi"));
    assert!(server.requests.is_empty());
    server.hear(&Frame::Cancel { id: 1 });
    let released = [server.request().id.0, server.request().id.0];
    assert_eq!(released, [2, 3], "the oldest first");
}

#[test]
fn credit_is_granted_in_halves_of_the_window() {
    let mut server = Side::server(|_| ());
    server.hear(&request_more(1, ""));
    for _ in 0..8 {
        assert!(server.summary().is_empty());
        server.hear(&chunk(1, zeros(65_536), true));
    }
    assert_eq!(server.summary(), ["CREDIT 524288"]);
}

#[test]
fn a_tiny_window_still_moves() {
    let mut pair = Pair::established_with(|setup| {
        setup.server.connection_window = 1;
        setup.client.connection_window = 3;
    });
    let id = pair.client.call(zeros(65_600));
    pair.drive();
    pair.server.respond_all();
    pair.drive();
    assert_eq!(pair.client.reply(id), Reply::Value(zeros(65_600)));
}
