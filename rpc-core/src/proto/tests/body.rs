//! Bodies of chunks, read to where they belong.

use super::pair::{Pair, Side, chunk, request_more};
use super::{MIB, verdict, zeros};
use crate::error::Code;
use crate::wire::{Frame, Reply};

#[test]
fn a_body_is_read_to_where_it_belongs_and_costs_the_same_credit() {
    let mut pair = Pair::established();
    let payload: Vec<u8> = (0..3 * MIB).map(|i| (i / 3) as u8).collect();
    let id = pair.client.call(payload.clone());
    pair.drive();
    assert!(pair.server.placed > MIB, "{} bytes", pair.server.placed);
    assert_eq!(pair.server.request().payload[..], payload);
    pair.server
        .respond(id, Reply::Value(payload.clone().into()));
    pair.drive();
    assert!(pair.client.placed > MIB, "{} bytes", pair.client.placed);
    assert_eq!(pair.client.reply(id), Reply::Value(payload.into()));
    assert_eq!(pair.server.audit().assembling, 0);
}

#[test]
fn row_01_no_buffer_is_lent_for_a_declared_length() {
    let mut server = Side::server(|_| {});
    server.hear(&request_more(1, "first"));
    let mut wire = Vec::new();
    chunk(1, zeros(65_536).into_bytes(), true).put(&mut wire);
    // The header alone, and then a byte.
    server.hear_bytes(&wire[..16]);
    let lent = server.connection.take_body();
    if let Some(body) = lent {
        let room = body.buffer.capacity();
        assert!(room == 0 || room >= 65_536, "only an idle buffer: {room}");
        server.connection.handle_body(server.now, body.buffer, 0);
    }
    server.hear_bytes(&wire[16..]);
    assert_eq!(server.audit().assembling, 5 + 65_536);
}

#[test]
fn a_body_that_passes_a_limit_is_not_read_in_place() {
    let mut server = Side::server(|limits| limits.message = 100_000);
    server.hear(&request_more(1, zeros(60_000).into_bytes()));
    let mut wire = Vec::new();
    chunk(1, zeros(60_000).into_bytes(), true).put(&mut wire);
    server.hear_bytes(&wire[..16]);
    assert!(server.connection.take_body().is_none());
    server.hear_bytes(&wire[16..]);
    let said = server.said();
    let refused = |frame: &Frame| match frame {
        Frame::Response { reply, .. } => verdict(reply.clone()).0 == Code::TooLarge,
        _ => false,
    };
    assert!(said.iter().any(refused), "{said:?}");
}

#[test]
fn a_message_is_the_same_wherever_it_is_cut() {
    for first in ["", "head", "x".repeat(5000).leak()] {
        let mut server = Side::server(|_| {});
        server.hear(&request_more(1, first));
        server.hear(&chunk(1, zeros(60_000).into_bytes(), true));
        server.hear(&chunk(1, "end", false));
        let whole = [first.as_bytes(), &[0; 60_000], b"end"].concat();
        assert_eq!(server.request().payload[..], whole);
    }
}
