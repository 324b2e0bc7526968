//! Load: calls made by many callers at once, checked and counted. Knows nothing about which peer
//! answers them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::peers::Caller;

/// Payloads up to this long count as small: they are copied rather than handed on.
pub(crate) const SMALL_PAYLOAD: usize = 16 * 1024;

/// With more than one in flight, one call in so many is timed: reading the clock twice for each of
/// them would cost a tenth of the fastest.
const TIMED: u64 = 16;

/// What a load has done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Calls answered, every answer right.
    pub(crate) calls: u64,
    /// From the first call to the last answer.
    pub(crate) took: Duration,
    /// How long the timed calls took, in nanoseconds, in no order.
    pub(crate) nanos: Vec<u64>,
}

impl Tally {
    /// One more call.
    pub(crate) fn call(&mut self, took: Option<Duration>) {
        self.calls += 1;
        if let Some(took) = took {
            self.nanos.push(took.as_nanos() as u64);
        }
    }

    fn join(&mut self, other: Self) {
        self.calls += other.calls;
        self.nanos.extend(other.nanos);
    }

    /// Calls answered in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }
}

/// Whether a caller's call of this number is timed when so many callers are at work.
pub(crate) fn is_timed(in_flight: usize, number: u64) -> bool {
    in_flight == 1 || number % TIMED == 0
}

/// Writes a number to both ends of a payload.
pub(crate) fn stamp(payload: &mut [u8], number: u64) {
    let number = number.to_le_bytes();
    if let Some(first) = payload.first_chunk_mut() {
        *first = number;
    }
    if let Some(last) = payload.last_chunk_mut() {
        *last = number;
    }
}

/// Panics unless an echo has the length and the ends of what was sent.
pub(crate) fn check_echo(payload: &[u8], len: usize, number: u64) {
    let number = Some(number.to_le_bytes());
    assert_eq!(payload.len(), len, "wrong length of an echo");
    assert_eq!(payload.first_chunk().copied(), number, "wrong first bytes");
    assert_eq!(payload.last_chunk().copied(), number, "wrong last bytes");
}

/// Adds with so many callers for so long.
pub(crate) async fn add(caller: &impl Caller, in_flight: usize, time: Duration) -> Tally {
    let crew = Crew::new();
    let callers = (0..in_flight).map(|id| {
        let (caller, stop) = (caller.clone(), crew.stop.clone());
        tokio::spawn(async move {
            let id = id as i64;
            let mut tally = Tally::default();
            while !stop.load(Ordering::Relaxed) {
                let number = tally.calls;
                let sent = is_timed(in_flight, number).then(Instant::now);
                let sum = caller.add(id, number as i64).await;
                assert_eq!(sum, id + number as i64, "wrong sum");
                tally.call(sent.map(|sent| sent.elapsed()));
            }
            tally
        })
    });
    let callers = callers.collect();
    crew.work(callers, time).await
}

/// Echoes so many bytes with so many callers for so long.
pub(crate) async fn echo(
    caller: &impl Caller,
    bytes: usize,
    in_flight: usize,
    time: Duration,
) -> Tally {
    let crew = Crew::new();
    let callers = (0..in_flight).map(|_| {
        let (caller, stop) = (caller.clone(), crew.stop.clone());
        tokio::spawn(async move {
            let mut tally = Tally::default();
            let mut payload = vec![0; bytes];
            while !stop.load(Ordering::Relaxed) {
                let number = tally.calls;
                let sent = is_timed(in_flight, number).then(Instant::now);
                stamp(&mut payload, number);
                payload = caller.echo(payload).await;
                check_echo(&payload, bytes, number);
                tally.call(sent.map(|sent| sent.elapsed()));
            }
            tally
        })
    });
    let callers = callers.collect();
    crew.work(callers, time).await
}

/// Callers that stop together.
struct Crew {
    stop: Arc<AtomicBool>,
    began: Instant,
}

impl Crew {
    fn new() -> Self {
        Self {
            stop: Arc::new(AtomicBool::new(false)),
            began: Instant::now(),
        }
    }

    async fn work(self, callers: Vec<JoinHandle<Tally>>, time: Duration) -> Tally {
        sleep(time).await;
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for caller in callers {
            all.join(caller.await.expect("no caller fails"));
        }
        all.took = self.began.elapsed();
        all
    }
}
