//! Who is let in, and what it costs to ask (row 40).

use bytes::Bytes;

use super::network::{Network, Weather, opening};
use super::{SECOND, rng};
use crate::error::{Code, Executed};
use crate::limits::Limits;
use crate::proto::{Fault, Opening};
use crate::wire::datagram::{ClientBody, Cookie, DATAGRAM_MAX, FromClient, FromServer, ServerBody};
use crate::wire::{Answer, Hello, VERSIONS};

#[test]
fn row_40_a_flood_of_hellos_is_answered_by_less_and_leaves_nothing() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    for client in 0..10_000 {
        // `arrive` checks that no answer is longer than what it answers.
        network.arrive(index, &hello(client));
    }
    network.run_for(SECOND / 1000);
    assert!(network.host.clients() <= 1, "only who shows a cookie");
}

#[test]
fn row_40_a_cookie_shown_from_elsewhere_is_stale() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    let token = network.call(index, 1, SECOND * 5);
    network.run_until_ended(SECOND);
    assert!(network.clients[index].has(token, 1));
    // As when a router on the way gives the client another port.
    network.clients[index].at.set_port(9999);
    let token = network.call(index, 2, SECOND * 5);
    network.run_until_ended(SECOND);
    assert_eq!(
        network.clients[index].verdict(token),
        (Code::Disconnected, Executed::Maybe)
    );
    assert_eq!(network.host.ran.get(&2), None);
}

#[test]
fn a_hello_that_does_not_fill_its_datagram_is_passed_over() {
    let hello = hello(1);
    assert_eq!(hello.len(), DATAGRAM_MAX);
    assert!(FromClient::parse(&hello).is_ok());
    assert!(FromClient::parse(&hello[..DATAGRAM_MAX - 1]).is_err());
}

#[test]
fn whoever_cannot_be_served_is_told_why() {
    let cases = [
        ([2], None, Code::Version),
        ([1], Some((Code::Overloaded, "full")), Code::Overloaded),
        ([1], None, Code::Draining),
    ];
    for (codecs, refuse, code) in cases {
        let accepts = Opening {
            codecs: codecs.into(),
            refuse,
            ..opening()
        };
        let limits = Limits::default();
        let mut network = Network::with(rng(), Weather::FAIR, limits, accepts);
        network.host.open = code != Code::Draining;
        let index = network.dial();
        let token = network.call(index, 1, SECOND * 10);
        network.run_until_ended(SECOND * 10);
        let verdict = network.clients[index].verdict(token);
        assert_eq!(verdict, (code, Executed::No));
    }
}

#[test]
fn a_client_that_was_let_in_and_has_no_place_is_told_so() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    network.run_for(SECOND / 1000);
    // The listener has let it in; the server, which counts connections, has not.
    let refused = Opening {
        refuse: Some((Code::Overloaded, "full")),
        ..opening()
    };
    let at = network.clients[index].at;
    let (key, _) = network.host.table.iter().next().unwrap();
    let (key, memory) = (*key, network.host.memory.clone());
    let server =
        crate::proto::datagram::Server::new(network.now, Default::default(), &refused, memory);
    network.host.table.insert((at, key.1), Some(server));
    let token = network.call(index, 1, SECOND * 10);
    network.run_until_ended(SECOND);
    let verdict = network.clients[index].verdict(token);
    assert_eq!(verdict, (Code::Overloaded, Executed::No));
}

#[test]
fn nobody_answers() {
    let weather = Weather {
        loss: 1000,
        ..Weather::FAIR
    };
    let mut network = Network::new(rng(), weather);
    let index = network.dial();
    let token = network.call(index, 1, SECOND * 60);
    network.run_until_ended(SECOND * 6);
    let verdict = network.clients[index].verdict(token);
    assert_eq!(verdict, (Code::Unreachable, Executed::No));
    assert!(
        (5..20).contains(&network.clients[index].sent),
        "hello was said {} times",
        network.clients[index].sent
    );
}

#[test]
fn nobody_is_there() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    let now = network.now;
    network.clients[index].client.handle_absence(now);
    assert!(network.clients[index].client.is_over());
}

#[test]
fn another_instance_than_the_one_that_is_expected_gets_no_call() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    let expecting = Opening {
        expected: Some([8; 16]),
        ..opening()
    };
    let (id, now) = (5, network.now);
    network.clients[index].client =
        crate::proto::datagram::Client::new(now, Default::default(), expecting.into(), id, 1);
    let token = network.call(index, 1, SECOND);
    network.run_until_ended(SECOND);
    let verdict = network.clients[index].verdict(token);
    assert_eq!(verdict, (Code::Unauthenticated, Executed::No));
}

#[test]
fn a_client_checks_what_it_is_answered() {
    let mut network = Network::new(rng(), Weather::FAIR);
    let index = network.dial();
    let answer = |client| FromServer {
        client,
        body: ServerBody::Answer {
            cookie: Cookie::NONE,
            answer: Answer::Accepted {
                version: 9,
                codec: 1,
                parameters: crate::proto::handshake::parameters(&Limits::default()),
                instance: [0; 16],
            },
        },
    };
    let (id, now) = (network.clients[index].client.id(), network.now);
    let mut datagram = Vec::new();
    answer(id + 1).put(&mut datagram);
    let client = &mut network.clients[index].client;
    client.handle_datagram(now, &datagram);
    assert!(!client.is_draining(), "it was for another client");
    datagram.clear();
    answer(id).put(&mut datagram);
    client.handle_datagram(now, &datagram);
    assert!(client.is_over());
    assert!(matches!(
        std::iter::from_fn(|| client.poll_event()).last(),
        Some(crate::proto::Event::Closed(Fault::Violation(_)))
    ));
}

/// The hello of a client.
fn hello(client: u64) -> Bytes {
    let hello = Hello {
        versions: VERSIONS,
        parameters: crate::proto::handshake::parameters(&Limits::default()),
        codecs: [1].into(),
        expected: None,
        credentials: Bytes::new(),
    };
    let body = ClientBody::Hello(hello);
    let mut datagram = Vec::new();
    FromClient { client, body }.put(&mut datagram);
    datagram.into()
}

#[test]
fn ready_alone_makes_a_client_known() {
    let mut network = Network::new(rng(), Weather::bad(20));
    network.dial();
    network.run_for(SECOND * 5);
    assert_eq!(network.host.clients(), 1);
}
