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

/// So many callers that share a connection.
pub(crate) fn crew<C: Caller>(caller: &C, in_flight: usize) -> Vec<C> {
    vec![caller.clone(); in_flight]
}

/// Has each of the callers add for so long, all at once.
pub(crate) async fn add(callers: Vec<impl Caller>, time: Duration) -> Tally {
    let in_flight = callers.len();
    let shift = Shift::new();
    let tasks = (0..).zip(callers).map(|(id, caller)| {
        let stop = shift.stop.clone();
        tokio::spawn(async move {
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
    let tasks = tasks.collect();
    shift.end(tasks, time).await
}

/// Has each of the callers send so many bytes round for so long, all at once.
pub(crate) async fn echo(callers: Vec<impl Caller>, bytes: usize, time: Duration) -> Tally {
    let in_flight = callers.len();
    let shift = Shift::new();
    let tasks = callers.into_iter().map(|caller| {
        let stop = shift.stop.clone();
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
    let tasks = tasks.collect();
    shift.end(tasks, time).await
}

/// Adds one at a time while payloads of so many bytes go round, over one connection. The additions
/// and the echoes.
pub(crate) async fn mixed(caller: &impl Caller, bytes: usize, time: Duration) -> (Tally, Tally) {
    tokio::join!(
        add(crew(caller, 1), time),
        echo(crew(caller, 1), bytes, time)
    )
}

/// Tasks that stop together.
struct Shift {
    stop: Arc<AtomicBool>,
    began: Instant,
}

impl Shift {
    fn new() -> Self {
        Self {
            stop: Arc::new(AtomicBool::new(false)),
            began: Instant::now(),
        }
    }

    /// Tells all to stop after so long, and waits for the calls that are under way.
    async fn end(self, tasks: Vec<JoinHandle<Tally>>, time: Duration) -> Tally {
        sleep(time).await;
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for task in tasks {
            all.join(task.await.expect("no caller fails"));
        }
        all.took = self.began.elapsed();
        all
    }
}
