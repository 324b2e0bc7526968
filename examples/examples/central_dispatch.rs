//! One number for all clients, and subservers that speak with them: what a message does to the process
//! that decodes it, it does not do to the number. `cargo run --release --example central_dispatch`

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rpc_core::server::CentralDispatch;
use rpc_core::{Error, Server, service};
use serde::{Deserialize, Deserializer, Serialize};

#[service]
trait Tally {
    async fn add(&self, amount: Amount) -> u64;
}

/// A number whose decoder has a fault: at thirteen it ends the process.
#[derive(Serialize)]
struct Amount(u64);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            13 => std::process::abort(),
            amount => Ok(Self(amount)),
        }
    }
}

struct Sum(AtomicU64);

impl Tally for Sum {
    async fn add(&self, Amount(amount): Amount) -> u64 {
        self.0.fetch_add(amount, Ordering::Relaxed) + amount
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    // In a subserver `start` does not return.
    rpc_core::subserver_init();
    let builder = || Server::builder().service(TallyServer::new(Sum(AtomicU64::new(0))));
    let pattern = CentralDispatch::new().subservers(2);
    let central = builder().listen("tcp://127.0.0.1:0").pattern(pattern);
    let central = central.start().await?;
    let address = &central.addresses()[0];

    // Each client comes to the subserver with the fewest.
    let unlucky = TallyClient::connect(address).await?;
    let other = TallyClient::connect(address).await?;
    unlucky.add(Amount(20)).await?;
    let sum = other.add(Amount(22)).await?;
    println!("both clients count on one number: {sum}");

    let error = unlucky.add(Amount(13)).await.expect_err("nobody answers");
    println!("one has ended its subserver: {error}");
    let sum = other.add(Amount(1)).await?;
    println!("the other notices nothing: {sum}");
    let sum = unlucky.add(Amount(1)).await?;
    println!("the first has connected again: {sum}");

    let plain = builder().listen("tcp://127.0.0.1:0").start().await?;
    let direct = TallyClient::connect(&plain.addresses()[0]).await?;
    let (hop, no_hop) = (time_of(&other).await?, time_of(&direct).await?);
    println!("a call takes {hop:.1?} by way of a subserver, and {no_hop:.1?} without");
    Ok(())
}

/// The median of a thousand calls.
async fn time_of(client: &TallyClient) -> Result<Duration, Error> {
    let mut times = Vec::new();
    for _ in 0..1000 {
        let began = Instant::now();
        client.add(Amount(1)).await?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times[500])
}
