//! Datagrams that nobody should send.

use super::network::{Network, Weather, sometimes_slow};
use super::{SECOND, rng};
use crate::wire::datagram::{DATAGRAM_MAX, FromClient, FromServer};

#[test]
fn row_40_a_hundred_thousand_random_datagrams_do_no_harm() {
    let mut network = Network::new(rng(), Weather::FAIR);
    network.handler = sometimes_slow;
    // A request whose number was changed is another call, with the arguments of the first.
    network.host.keeps_ledger = false;
    let index = network.dial();
    network.call(index, 0, SECOND * 1000);
    network.run_for(SECOND / 10);
    let mut samples = samples(&mut network, index);
    samples.push(Vec::new());
    for _ in 0..100_000 {
        let mut rng = network.rng.fork();
        let mut datagram = match rng.choice(&samples) {
            Some(sample) if rng.u8(..4) > 0 => sample.clone(),
            _ => (0..rng.usize(..=DATAGRAM_MAX + 100))
                .map(|_| rng.u8(..))
                .collect(),
        };
        for _ in 0..rng.usize(..4) {
            match rng.usize(..3) {
                0 if !datagram.is_empty() => {
                    let at = rng.usize(..datagram.len());
                    datagram[at] = rng.u8(..);
                }
                1 => datagram.truncate(rng.usize(..=datagram.len())),
                _ => datagram.push(rng.u8(..)),
            }
        }
        network.arrive(index, &datagram);
        let now = network.now;
        network.clients[index]
            .client
            .handle_datagram(now, &datagram);
    }
}

/// One good datagram of each kind, from both sides.
fn samples(network: &mut Network, index: usize) -> Vec<Vec<u8>> {
    let mut samples = Vec::new();
    let now = network.now;
    let id = network.clients[index].client.id();
    let at = network.clients[index].at;
    let mut call = super::network::call(99, now + SECOND);
    let made = network.clients[index].client.call(now, &mut call).unwrap();
    network.clients[index].client.cancel(now, made);
    while let Some(datagram) = network.clients[index].client.poll_transmit() {
        samples.push(datagram.to_vec());
    }
    let server = network.host.server(at, id).unwrap();
    for sample in samples.clone() {
        server.handle_datagram(now, &sample);
        while let Some(datagram) = server.poll_transmit() {
            samples.push(datagram.to_vec());
        }
    }
    assert!(samples.len() >= 3, "{} samples", samples.len());
    samples
}

#[test]
fn row_40_random_bytes_are_no_datagrams() {
    let mut rng = rng();
    for _ in 0..100_000 {
        let length = rng.usize(..=DATAGRAM_MAX);
        let bytes: Vec<u8> = (0..length).map(|_| rng.u8(..)).collect();
        assert!(FromClient::parse(&bytes).is_err());
        assert!(FromServer::parse(&bytes).is_err());
    }
}

#[test]
fn row_41_what_is_longer_than_a_datagram_may_be_is_passed_over() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    network.run_for(SECOND / 10);
    for sample in samples(&mut network, index) {
        let mut long = sample;
        long.resize(DATAGRAM_MAX + 1, 0);
        assert!(FromClient::parse(&long).is_err());
        assert!(FromServer::parse(&long).is_err());
    }
}

#[test]
fn numbers_at_the_end_of_their_range_overflow_nothing() {
    use crate::wire::datagram::{ClientBody, Message};
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    network.run_for(SECOND / 10);
    let request = samples(&mut network, index).remove(0);
    let FromClient { client, body } = FromClient::parse(&request).unwrap();
    let ClientBody::Shown {
        cookie,
        codec,
        message: Message::Request { head, .. },
    } = body
    else {
        panic!("the first sample is a request");
    };
    for (number, floor, carries) in [
        (u64::MAX, u64::MAX, 1001_u64),
        (u64::MAX - 1, 0, 1002),
        (1, u64::MAX, 1003),
    ] {
        let payload = carries.to_le_bytes();
        let message = Message::Request {
            number,
            floor,
            head: head.clone(),
            payload: &payload,
        };
        let mut datagram = Vec::new();
        FromClient {
            client,
            body: ClientBody::Shown {
                cookie,
                codec,
                message,
            },
        }
        .put(&mut datagram);
        network.arrive(index, &datagram);
        network.arrive(index, &datagram);
    }
}
