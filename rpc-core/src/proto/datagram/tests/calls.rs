//! Single calls: their sizes, their deadlines, and how they are given up.

use std::time::Duration;

use super::network::{Network, Weather, call, never};
use super::{SECOND, rng};
use crate::error::{Code, Executed};
use crate::wire::datagram::{FromClient, FromServer};
use crate::wire::{Payload, Reply};

#[test]
fn a_call_and_its_reply() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    let token = network.call(index, 1, SECOND);
    network.run_until_ended(SECOND);
    assert!(network.clients[index].has(token, 1));
}

#[test]
fn row_41_a_request_that_does_not_fit_is_refused_here() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    let deadline = network.now + SECOND;
    let of = |length: usize| {
        let mut call = call(1, deadline);
        call.payload = Payload::from(vec![0; length]);
        call
    };
    let fits = network.make(index, of(FromClient::ROOM));
    let sent = network.clients[index].sent;
    let over = network.make(index, of(FromClient::ROOM + 1));
    assert_eq!(network.clients[index].sent, sent, "nothing left");
    let caller = &network.clients[index];
    let verdict = caller.verdict(over);
    assert_eq!(verdict, (Code::TooLargeForDatagram, Executed::No));
    network.run_until_ended(SECOND);
    assert!(network.clients[index].has(fits, 0));
}

#[test]
fn row_41_metadata_counts() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    let mut call = call(1, network.now + SECOND);
    call.payload = Payload::from(vec![0; FromClient::ROOM - 10]);
    call.metadata.insert("key", "value").unwrap();
    let over = network.make(index, call);
    let verdict = network.clients[index].verdict(over);
    assert_eq!(verdict, (Code::TooLargeForDatagram, Executed::No));
}

#[test]
fn row_41_a_reply_that_does_not_fit_has_run() {
    let mut network = Network::new(rng(), Weather::FAIR);
    network.handler = |number, _| {
        let length = usize::try_from(number).unwrap();
        (Duration::ZERO, Reply::Value(Payload::from(vec![1; length])))
    };
    let index = network.dial();
    let room = u64::try_from(FromServer::ROOM).unwrap();
    let fits = network.call(index, room, SECOND);
    let over = network.call(index, room + 1, SECOND);
    network.run_until_ended(SECOND);
    let caller = &network.clients[index];
    assert!(matches!(&caller.ended[&fits], Reply::Value(value) if value.len() == FromServer::ROOM));
    let verdict = caller.verdict(over);
    assert_eq!(verdict, (Code::TooLargeForDatagram, Executed::Yes));
}

#[test]
fn a_failure_of_many_words_is_cut_to_fit() {
    let mut network = Network::new(rng(), Weather::FAIR);
    network.handler = |_, _| {
        let error = crate::error::Error::new(Code::Denied, "ä".repeat(3000))
            .with_hint("b".repeat(3000))
            .with_executed(Executed::Yes)
            .with_retry_after(SECOND)
            .with_details(vec![0; 5000].into());
        (Duration::ZERO, Reply::Failure(error))
    };
    let index = network.dial();
    let token = network.call(index, 1, SECOND);
    network.run_until_ended(SECOND);
    let Reply::Failure(error) = &network.clients[index].ended[&token] else {
        panic!("no failure");
    };
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Denied, Executed::Yes)
    );
    assert_eq!(error.retry_after(), Some(SECOND));
    assert!(error.message().starts_with("ää") && error.message().len() == 500);
}

#[test]
fn both_sides_keep_the_deadline() {
    let mut network = Network::new(rng(), Weather::FAIR);
    network.handler = never;
    let index = network.dial();
    let token = network.call(index, 1, SECOND);
    let began = network.now;
    network.run_until_ended(SECOND * 2);
    assert!(network.now - began <= SECOND + SECOND / 50);
    let verdict = network.clients[index].verdict(token);
    assert_eq!(verdict, (Code::DeadlineExceeded, Executed::Maybe));
    network.run_for(SECOND / 10);
    assert_eq!(network.host.aborted, 1, "the handler is stopped");
}

#[test]
fn a_server_whose_client_vanished_stops_the_handler_at_its_deadline() {
    let mut network = Network::new(rng(), Weather::FAIR);
    network.handler = never;
    let index = network.dial();
    network.call(index, 1, SECOND);
    network.run_for(SECOND / 10);
    network.weather.loss = 1000;
    network.run_for(SECOND);
    assert_eq!(network.host.aborted, 1);
}

#[test]
fn a_call_that_nobody_waits_for_is_stopped_even_in_bad_weather() {
    for _ in 0..100 {
        let mut network = Network::new(rng(), Weather::bad(20));
        network.handler = never;
        let index = network.dial();
        let token = network.call(index, 1, SECOND * 1000);
        let moment = network.rng.u32(..300);
        network.run_for(SECOND * moment / 1000);
        network.cancel(index, token);
        network.run_for(SECOND * 5);
        assert_eq!(
            network.host.aborted,
            network.host.ran.get(&1).copied().unwrap_or_default()
        );
    }
}

/// Longer than a busy machine keeps a task waiting, whose socket has no room by then.
#[test]
fn a_server_that_is_deaf_for_two_seconds_hears_that_nobody_waits_for_a_call() {
    let mut network = Network::new(rng(), Weather::FAIR);
    network.handler = never;
    let index = network.dial();
    let token = network.call(index, 1, SECOND * 1000);
    network.run_for(SECOND / 10);
    network.weather.loss = 1000;
    network.cancel(index, token);
    network.run_for(SECOND * 2);
    assert_eq!(network.host.aborted, 0);
    network.weather.loss = 0;
    network.run_for(SECOND * 2);
    assert_eq!(network.host.aborted, 1);
}

#[test]
fn a_call_that_runs_for_long_is_asked_after_now_and_then_and_holds_nobody_up() {
    let mut network = Network::new(rng(), Weather::FAIR);
    network.handler = |number, rng| match number {
        0 => never(number, rng),
        _ => super::network::at_once(number, rng),
    };
    let index = network.dial();
    let slow = network.call(index, 0, SECOND * 100);
    for number in 1..=5000 {
        let token = network.call(index, number, SECOND);
        network.run_for(SECOND / 100);
        assert!(network.clients[index].has(token, number), "call {number}");
    }
    let sent = network.clients[index].sent;
    assert!(sent < 5000 + 100, "{sent} datagrams in 50 s");
    network.run_until_ended(SECOND * 100);
    let verdict = network.clients[index].verdict(slow);
    assert_eq!(verdict, (Code::DeadlineExceeded, Executed::Maybe));
}

#[test]
fn a_drain_lets_calls_finish_and_refuses_the_rest() {
    let mut network = Network::new(rng(), Weather::FAIR);
    network.handler = |number, rng| {
        let (_, reply) = super::network::at_once(number, rng);
        (SECOND / 10, reply)
    };
    let index = network.dial();
    let running = network.call(index, 1, SECOND * 10);
    network.run_for(SECOND / 20);
    network.drain();
    // It crosses the go-away.
    let crossed = network.call(index, 2, SECOND * 10);
    network.run_for(SECOND / 100);
    let refused = network.call(index, 3, SECOND * 10);
    network.run_until_ended(SECOND);
    assert!(network.clients[index].has(running, 1));
    for token in [crossed, refused] {
        let verdict = network.clients[index].verdict(token);
        assert_eq!(verdict, (Code::Draining, Executed::No));
    }
    network.run_for(SECOND);
    assert_eq!(network.host.clients(), 0, "the client has left");
}

#[test]
fn a_reply_lost_in_a_drain_can_be_asked_for_again() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    network.run_for(SECOND / 100);
    network.weather.loss = 1000;
    let token = network.call(index, 1, SECOND * 10);
    network.weather.loss = 0;
    network.run_for(SECOND / 1000);
    network.drain();
    network.run_until_ended(SECOND * 10);
    // The request never came before the drain, so it did not run; or it did and has its reply.
    let verdict = network.clients[index].verdict(token);
    assert_eq!(verdict, (Code::Draining, Executed::No));
}

#[test]
fn a_call_without_time_does_not_leave() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    network.run_for(SECOND / 10);
    let sent = network.clients[index].sent;
    let token = network.call(index, 1, Duration::ZERO);
    network.run_until_ended(SECOND);
    assert_eq!(network.clients[index].sent, sent);
    let verdict = network.clients[index].verdict(token);
    assert_eq!(verdict, (Code::DeadlineExceeded, Executed::No));
}
