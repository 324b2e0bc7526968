//! Scenes from calls by datagrams, one topic per file, all on virtual time and without a socket.

mod admission;
mod calls;
mod hostile;
mod loss;
mod network;
mod restart;

use std::time::Duration;

use fastrand::Rng;

const SECOND: Duration = Duration::from_secs(1);

/// A source of chance whose seed is printed; `SEED=` repeats a run.
fn rng() -> Rng {
    let seed = match std::env::var("SEED") {
        Ok(seed) => seed.parse().expect("SEED is a number"),
        Err(_) => fastrand::u64(..),
    };
    println!("SEED={seed}");
    Rng::with_seed(seed)
}
