//! Servers that go and come back, and clients that were forgotten.

use super::network::{Network, Weather, never, sometimes_slow};
use super::{SECOND, rng};
use crate::error::{Code, Executed};
use crate::proto::Fault;
use crate::proto::datagram::{IDLE, REMEMBERED};

#[test]
fn row_40_a_call_sent_again_to_a_restarted_server_ends_as_maybe_and_does_not_run() {
    let mut network = Network::new(rng(), Weather::FAIR);
    network.handler = never;
    let index = network.dial();
    let token = network.call(index, 7, SECOND * 60);
    network.run_for(SECOND / 100);
    assert_eq!(network.host.ran.get(&7), Some(&1));
    network.restart();
    // The second run would be noticed: the ledger is that of all runs.
    network.run_until_ended(SECOND * 5);
    assert_eq!(
        network.clients[index].verdict(token),
        (Code::Disconnected, Executed::Maybe)
    );
    assert_eq!(network.clients[index].closed, Some(Fault::Forgotten));
    assert_eq!(network.host.clients(), 0);
}

#[test]
fn row_40_calls_that_were_not_sent_before_a_restart_are_known_not_to_have_run() {
    let mut network = Network::new(rng(), Weather::FAIR);
    network.handler = never;
    let index = network.dial();
    let tokens: Vec<_> = (0..300)
        .map(|number| network.call(index, number, SECOND * 60))
        .collect();
    network.run_for(SECOND / 100);
    assert_eq!(network.host.ran.len(), 256, "as many as the server takes");
    network.restart();
    network.run_until_ended(SECOND * 5);
    for (number, token) in tokens.into_iter().enumerate() {
        let executed = match number {
            ..256 => Executed::Maybe,
            _ => Executed::No,
        };
        let verdict = network.clients[index].verdict(token);
        assert_eq!(verdict, (Code::Disconnected, executed));
    }
}

#[test]
fn row_40_a_hundred_restarts_in_bad_weather_run_no_call_twice() {
    let mut network = Network::new(rng(), Weather::bad(20));
    network.handler = sometimes_slow;
    let mut number = 0;
    let (mut right, mut unknown) = (0, 0);
    for _ in 0..100 {
        let index = network.dial();
        let mut tokens = Vec::new();
        for _ in 0..50 {
            number += 1;
            tokens.push((network.call(index, number, SECOND * 10), number));
        }
        let moment = network.rng.u32(..200);
        network.run_for(SECOND * moment / 1000);
        network.restart();
        network.run_until_ended(SECOND * 20);
        for (token, number) in tokens {
            let caller = &network.clients[index];
            if caller.has(token, number) {
                right += 1;
                assert_eq!(network.host.ran.get(&number), Some(&1));
            } else if caller.verdict(token).1 == Executed::No {
                assert_eq!(network.host.ran.get(&number), None, "call {number}");
            } else {
                unknown += 1;
            }
        }
    }
    println!("{right} succeeded, {unknown} may have run");
    assert!(right > 0 && unknown > 0);
}

#[test]
fn row_40_a_copy_that_comes_when_its_client_is_forgotten_does_not_run() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    let mut request = Vec::new();
    network.call(index, 1, SECOND);
    network.run_until_ended(SECOND);
    request.extend(replay(&mut network, index));
    // While the client is remembered, the copy is answered with the reply.
    network.arrive(index, &request);
    network.close(index);
    network.run_for(SECOND);
    assert_eq!(network.host.clients(), 0);
    // Its cookie is still fresh, and only the memory of the listener keeps it out; later its age does.
    network.arrive(index, &request);
    assert_eq!(network.host.clients(), 0);
    network.run_for(SECOND * 20);
    network.host.table.clear();
    network.arrive(index, &request);
    assert_eq!(network.host.clients(), 0);
}

/// A request of the client's that carries 2, as somebody on the way may have noted it; it has run.
fn replay(network: &mut Network, index: usize) -> Vec<u8> {
    let mut call = super::network::call(2, network.now + SECOND);
    network.clients[index]
        .client
        .call(network.now, &mut call)
        .unwrap();
    let request = network.clients[index].client.poll_transmit().unwrap();
    network.arrive(index, &request);
    network.run_for(SECOND / 10);
    request.to_vec()
}

#[test]
fn a_client_without_calls_leaves_before_it_is_forgotten() {
    assert!(IDLE < REMEMBERED);
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    network.call(index, 1, SECOND);
    network.run_until_ended(SECOND);
    network.run_for(IDLE - SECOND);
    assert_eq!(network.clients[index].closed, None);
    assert_eq!(network.host.clients(), 1);
    network.run_for(SECOND * 2);
    assert_eq!(network.clients[index].closed, Some(Fault::Closed));
    assert!(network.clients[index].client.is_draining());
    assert_eq!(network.host.clients(), 0);
}

#[test]
fn a_server_forgets_a_client_that_vanished() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    network.call(index, 1, SECOND);
    network.run_until_ended(SECOND);
    assert!(network.host.memory.used() > 0);
    network.vanish(index);
    network.run_for(REMEMBERED + SECOND);
    assert_eq!(network.host.clients(), 0);
    assert_eq!(network.host.memory.used(), 0);
}

#[test]
fn a_call_may_take_longer_than_a_client_is_remembered() {
    let mut network = Network::new(rng(), Weather::bad(20));
    network.handler = |number, rng| {
        let (_, reply) = super::network::at_once(number, rng);
        (REMEMBERED * 2, reply)
    };
    let index = network.dial();
    let token = network.call(index, 1, REMEMBERED * 3);
    network.run_until_ended(REMEMBERED * 3);
    assert!(network.clients[index].has(token, 1));
}
