//! Networks that lose, repeat and reorder (rows 35 and 40).

use super::network::{Network, Weather, sometimes_slow};
use super::{SECOND, rng};

/// Makes `calls` calls from several clients, and returns how many succeeded within 10 s.
fn succeeded(percent: u32, calls: u64) -> u64 {
    const CLIENTS: u64 = 8;
    let mut network = Network::new(rng(), Weather::bad(percent));
    network.handler = sometimes_slow;
    for _ in 0..CLIENTS {
        network.dial();
    }
    let mut made = Vec::new();
    for number in 0..calls {
        let index = usize::try_from(number % CLIENTS).unwrap();
        made.push((index, network.call(index, number, SECOND * 10), number));
        // At most as many at once as a client may have under way.
        if number % 1000 == 999 {
            network.run_until_ended(SECOND * 20);
        }
    }
    network.run_until_ended(SECOND * 20);
    let ran = network.host.ran.len();
    let right = made
        .iter()
        .filter(|(index, token, number)| network.clients[*index].has(*token, *number))
        .count();
    println!("{percent} % lost, repeated and reordered: {right} of {calls} succeeded, {ran} ran");
    u64::try_from(right).unwrap()
}

#[test]
fn row_35_at_5_percent_999_of_1000_calls_succeed_and_none_runs_twice() {
    assert!(succeeded(5, 20_000) >= 19_980);
}

#[test]
fn row_35_at_20_percent_no_call_runs_twice() {
    assert!(succeeded(20, 20_000) >= 19_900);
}

#[test]
fn row_35_where_everything_comes_twice_and_late_each_call_runs_once() {
    let weather = Weather {
        loss: 0,
        repeats: 1000,
        latency: SECOND / 5,
    };
    let mut network = Network::new(rng(), weather);
    let index = network.dial();
    let tokens: Vec<_> = (0..2000)
        .map(|number| network.call(index, number, SECOND * 60))
        .collect();
    network.run_until_ended(SECOND * 60);
    for (number, token) in (0..).zip(tokens) {
        assert!(network.clients[index].has(token, number));
    }
    assert_eq!(network.host.ran.len(), 2000);
}

#[test]
fn a_server_holds_no_more_than_the_last_replies_of_a_client_that_goes_on() {
    let mut network = Network::new(rng(), Weather::bad(5));
    let index = network.dial();
    for number in 0..10_000 {
        network.call(index, number, SECOND * 10);
        network.run_until_ended(SECOND * 20);
        let used = network.host.memory.used();
        assert!(
            used < 20_000,
            "{used} bytes for one client, one call at a time"
        );
    }
}

#[test]
fn a_lost_reply_is_remembered_while_a_thousand_other_calls_pass() {
    let mut network = Network::new(rng(), Weather::FAIR);
    // All replies of the first wave come at once, and many are lost; the second follows at once.
    network.handler = |number, rng| {
        let (_, reply) = super::network::at_once(number, rng);
        let takes = if number < 256 {
            SECOND / 2
        } else {
            SECOND / 1000
        };
        (takes, reply)
    };
    let index = network.dial();
    let tokens: Vec<_> = (0..3000)
        .map(|number| network.call(index, number, SECOND * 30))
        .collect();
    network.run_for(SECOND * 49 / 100);
    network.weather.loss = 300;
    network.run_for(SECOND / 50);
    network.weather.loss = 0;
    network.run_until_ended(SECOND * 30);
    for (number, token) in (0..).zip(tokens) {
        let ended = &network.clients[index].ended[&token];
        assert!(
            network.clients[index].has(token, number),
            "{number}: {ended:?}"
        );
    }
}
