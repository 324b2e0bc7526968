//! Calls by datagrams between real sockets, over a network that loses, repeats and reorders, and
//! before senders that are not who they say.
//!
//! The rules themselves are tested without sockets, beside the protocol. Here is what only sockets
//! show: that the driver and the transport keep them.
#![allow(missing_docs)]

mod discovery;
mod ledger;
mod loss;
mod proxy;
mod restart;
mod size;
mod spoof;

use fastrand::Rng;

/// A source of chance whose seed is printed; `SEED=` repeats a run, as far as the system's own timing
/// lets it.
fn rng() -> Rng {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("SEED={seed}");
    Rng::with_seed(seed)
}
