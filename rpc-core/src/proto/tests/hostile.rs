//! Rows of the fault catalogue that a peer's frames alone can bring about, on either side.

use super::pair::{Side, chunk, reply_chunk, request, request_in, request_more, response};
use super::{MIB, verdict, zeros};
use crate::error::{Code, Executed};
use crate::proto::Fault;
use crate::wire::{Frame, Malformed, Reply};

fn violated(side: &Side) -> bool {
    matches!(side.closed, Some(Fault::Violation(_) | Fault::Malformed(_)))
}

/// Both sides of a connection must withstand the same frames.
fn both(test: impl Fn(&mut Side)) {
    test(&mut Side::server(|_| ()));
    test(&mut Side::client(|_| ()));
}

fn credit(bytes: u32) -> Frame {
    Frame::Credit {
        id: 0,
        bytes,
        callee: false,
    }
}

#[test]
fn row_01_a_length_bomb_is_refused_at_its_header() {
    both(|side| {
        side.hear_bytes(&[
            0xff, 0xff, 0xff, 0xff, 0x10, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0,
        ]);
        assert_eq!(
            side.closed,
            Some(Fault::Malformed(Malformed::TooLong {
                length: u32::MAX,
                limit: 65_536
            }))
        );
        assert_eq!(side.summary(), ["GO_AWAY 0"]);
    });
}

#[test]
fn row_07_an_unknown_method_is_the_routers_business() {
    let mut server = Side::server(|_| ());
    server.hear(&request(1, "hi"));
    let request = server.request();
    let error = crate::error::Error::new(Code::Unimplemented, "no such method");
    server.respond(request.id, Reply::Failure(error));
    assert_eq!(server.summary(), ["RESPONSE 1"]);
    assert!(server.closed.is_none());
}

#[test]
fn row_07_a_stream_is_refused_and_the_connection_lives() {
    both(|side| {
        let mut frame = request(1, "hi");
        if let Frame::Request { stream, .. } = &mut frame {
            *stream = true;
        }
        side.hear(&frame);
        match side.said().as_slice() {
            [
                Frame::Response {
                    reply: Reply::Failure(error),
                    ..
                },
            ] => assert_eq!(
                (error.code(), error.executed()),
                (Code::Unimplemented, Executed::No)
            ),
            said => panic!("{said:?}"),
        }
        assert!(side.requests.is_empty() && side.closed.is_none());
    });
}

#[test]
fn row_08_a_duplicate_number_runs_nothing_twice() {
    both(|side| {
        side.hear(&request(5, "hi"));
        side.hear(&request(5, "again"));
        assert!(violated(side));
        assert_eq!(side.requests.len(), 1);
        assert_eq!(side.aborts.len(), 1);
        assert_eq!(side.summary(), ["GO_AWAY 5"]);
    });
}

#[test]
fn row_08_a_number_is_not_used_again_after_its_reply() {
    both(|side| {
        side.hear(&request(1, "hi"));
        side.respond_all();
        side.hear(&request(1, "again"));
        assert!(violated(side));
        assert!(side.requests.is_empty());
    });
}

#[test]
fn row_08_numbers_do_not_go_back() {
    both(|side| {
        side.hear(&request(9, "hi"));
        side.hear(&request(8, "hi"));
        assert!(violated(side));
        assert_eq!(side.requests.len(), 1);
    });
}

#[test]
fn row_08_zero_is_no_number() {
    both(|side| {
        side.hear(&request(0, "hi"));
        assert!(violated(side));
        assert!(side.requests.is_empty());
    });
}

#[test]
fn row_08_a_refused_number_counts_as_used() {
    both(|side| {
        side.hear(&request_in(1, 0, "late already"));
        side.hear(&request(1, "hi"));
        assert!(violated(side));
        assert!(side.requests.is_empty());
    });
}

#[test]
fn row_08_the_highest_number_is_the_last() {
    both(|side| {
        side.hear(&request(u64::MAX, "hi"));
        assert_eq!(side.requests.len(), 1);
        side.hear(&request(1, "hi"));
        assert!(violated(side));
    });
}

#[test]
fn row_09_a_hundred_frames_for_calls_that_never_were() {
    let strays = [
        response(7, "hi", false),
        response(7, "hi", true),
        reply_chunk(7, "hi", false),
        chunk(7, "hi", true),
        Frame::Cancel { id: 7 },
        Frame::Credit {
            id: 7,
            bytes: 1,
            callee: false,
        },
        Frame::Item {
            id: 7,
            payload: "hi".into(),
            more: false,
            callee: true,
        },
        Frame::End {
            id: 7,
            reply: Reply::Value(crate::wire::Payload::default()),
            callee: false,
        },
    ];
    for stray in strays {
        both(|side| {
            for _ in 0..100 {
                side.hear(&stray);
            }
            assert!(side.closed.is_none(), "{stray:?}");
            side.hear(&stray);
            assert!(violated(side), "{stray:?}");
        });
    }
}

#[test]
fn row_09_a_reply_to_a_call_that_waits_in_the_queue_is_a_stray() {
    let mut client = Side::client(|_| ());
    let ids: Vec<_> = (0..257).map(|_| client.call("hi")).collect();
    client.said();
    client.hear(&response(ids[256].0, "hi", false));
    assert!(client.reply_to(ids[256]).is_none());
    assert!(client.closed.is_none());
}

#[test]
fn row_09_a_second_beginning_of_a_reply_is_a_stray() {
    let mut client = Side::client(|_| ());
    let id = client.call("hi");
    client.hear(&response(id.0, "a", true));
    client.hear(&response(id.0, "other", false));
    client.hear(&reply_chunk(id.0, "b", false));
    assert_eq!(client.reply(id), super::value("ab"));
}

#[test]
fn row_09_a_chunk_behind_a_complete_request_is_a_stray() {
    both(|side| {
        side.hear(&request(1, "hi"));
        for _ in 0..100 {
            side.hear(&chunk(1, "more", false));
        }
        assert!(side.closed.is_none());
        side.hear(&chunk(1, "more", false));
        assert!(violated(side));
    });
}

#[test]
fn row_08_a_frame_of_a_call_needs_its_number() {
    let frames = [
        response(0, "hi", false),
        chunk(0, "hi", false),
        Frame::Cancel { id: 0 },
        Frame::Item {
            id: 0,
            payload: "hi".into(),
            more: false,
            callee: false,
        },
    ];
    for frame in frames {
        both(|side| {
            side.hear(&frame);
            assert!(violated(side), "{frame:?}");
        });
    }
}

#[test]
fn row_15_a_frame_of_the_connection_has_no_number() {
    both(|side| {
        let ping = [
            8, 0, 0, 0, 0x20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
        ];
        side.hear_bytes(&ping);
        assert!(violated(side));
    });
}

#[test]
fn row_15_chunks_without_a_byte_are_not_free() {
    both(|side| {
        side.hear(&request_more(1, "hi"));
        side.hear(&chunk(1, "", true));
        assert!(violated(side));
    });
}

#[test]
fn row_15_refusals_for_a_peer_that_does_not_read_have_an_end() {
    let refused: [fn(u64) -> Frame; 3] = [
        |id| request_in(id, 0, "late already"),
        |id| match request(id, "hi") {
            Frame::Request {
                id,
                head,
                payload,
                more,
                ..
            } => Frame::Request {
                id,
                head,
                payload,
                more,
                stream: true,
            },
            other => other,
        },
        |id| request(id, zeros(2000)),
    ];
    for refused in refused {
        let mut server = Side::server(|limits| {
            limits.out_queue = 10_000;
            limits.message = 1000;
        });
        for id in 1..=10_000 {
            server.hear(&refused(id));
        }
        assert!(violated(&server));
        assert!(server.audit().frames < 20_000, "{:?}", server.audit());
    }
}

#[test]
fn row_16_more_chunk_bytes_than_were_granted() {
    both(|side| {
        side.hear(&request_more(1, ""));
        for _ in 0..16 {
            side.hear(&chunk(1, zeros(65_536), true));
        }
        assert!(side.closed.is_none());
        side.hear(&chunk(1, "!", true));
        assert!(violated(side));
        assert!(side.requests.is_empty());
    });
}

#[test]
fn row_16_chunks_of_no_call_are_paid_for_too() {
    both(|side| {
        side.hear(&request(1, "hi"));
        side.respond_all();
        side.said();
        for _ in 0..16 {
            side.hear(&chunk(1, zeros(65_536), true));
        }
        side.hear(&chunk(1, "!", true));
        assert!(violated(side));
    });
}

#[test]
fn row_16_credit_of_nothing() {
    both(|side| {
        side.hear(&credit(0));
        assert!(violated(side));
    });
}

#[test]
fn row_16_credit_beyond_all_windows() {
    both(|side| {
        side.hear(&credit(u32::MAX - PARAMETERS_WINDOW));
        assert!(side.closed.is_none());
        side.hear(&credit(1));
        assert!(violated(side));
    });
}

const PARAMETERS_WINDOW: u32 = super::pair::PARAMETERS.connection_window;

#[test]
fn row_16_items_of_a_refused_stream_are_taken_but_paid_for() {
    let item = |payload| Frame::Item {
        id: 1,
        payload,
        more: false,
        callee: false,
    };
    both(|side| {
        let mut opening = request(1, "hi");
        if let Frame::Request { stream, .. } = &mut opening {
            *stream = true;
        }
        side.hear(&opening);
        for _ in 0..1000 {
            side.hear(&item("x".into()));
        }
        side.hear(&Frame::End {
            id: 1,
            reply: Reply::Value(crate::wire::Payload::default()),
            callee: false,
        });
        assert!(side.closed.is_none(), "{:?}", side.closed);
        for _ in 0..16 {
            side.hear(&item(zeros(65_536).into()));
        }
        assert!(violated(side));
    });
}

#[test]
fn row_17_metadata_over_its_limits_ends_the_connection() {
    both(|side| {
        let mut body = vec![0; 20];
        body.extend([65]);
        let mut frame = vec![21, 0, 0, 0, 0x10, 0x02, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        frame.extend(body);
        side.hear_bytes(&frame);
        assert!(violated(side));
        assert!(side.requests.is_empty());
    });
}

#[test]
fn row_56_a_server_that_sends_what_only_servers_receive() {
    let mut client = Side::client(|_| ());
    client.hear(&request(1, "a call of the server's is fine"));
    assert_eq!(client.requests.len(), 1);
    client.hear(&super::pair::hello());
    assert!(violated(&client));
}

#[test]
fn row_56_a_server_that_breaks_off_mid_frame() {
    let mut client = Side::client(|_| ());
    let id = client.call("hi");
    client.said();
    client.hear_bytes(&[100, 0, 0, 0, 0x11, 0, 0, 0, 1]);
    client.connection.handle_eof();
    assert_eq!(
        verdict(client.reply(id)),
        (Code::Disconnected, Executed::Maybe)
    );
}

#[test]
fn row_56_replies_that_never_end_are_bounded() {
    let mut client = Side::client(|_| ());
    let id = client.call_within(super::SECOND * 100, "hi");
    client.said();
    client.hear(&response(id.0, "", true));
    let mut sent = 0;
    while client.reply_to(id).is_none() {
        client.hear(&reply_chunk(id.0, zeros(65_536), true));
        client.transmit();
        sent += 65_536;
        assert!(sent <= 5 * MIB);
    }
    assert!(client.closed.is_none());
}

#[test]
fn row_56_a_failure_with_a_code_of_a_later_time() {
    let mut client = Side::client(|_| ());
    let id = client.call("hi");
    let body = [2, 200, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut frame = vec![11, 0, 0, 0, 0x11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    frame.extend(body);
    client.hear_bytes(&frame);
    assert_eq!(verdict(client.reply(id)), (Code::Internal, Executed::No));
}

#[test]
fn bits_that_a_kind_does_not_have() {
    for (kind, flags) in [
        (0x10, 0x80),
        (0x11, 0x02),
        (0x13, 0x01),
        (0x20, 0x01),
        (0x7f, 0),
    ] {
        both(|side| {
            side.hear_bytes(&[0, 0, 0, 0, kind, flags, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
            assert!(violated(side), "{kind:#x} {flags:#x}");
        });
    }
    both(|side| {
        side.hear_bytes(&[0, 0, 0, 0, 0x13, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert!(violated(side), "the reserved field");
    });
}
