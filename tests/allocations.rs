//! A small call allocates nothing, at neither end, once the connection is warm.
//!
//! The allocator is that of the whole process, so nothing else may run in it: this program has one
//! test, and client and server share its one thread.
#![allow(missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rpc_core::{Channel, Server, service};
use support::TempDir;
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, usize::MAX);

/// Calls before anything is counted: until then buffers, lists and slots have grown to what they
/// need, even where each of the callers sees a batch of another size.
const WARM: usize = 10_000;

/// Calls that are counted.
const COUNTED: usize = 10_000;

#[service]
trait Adder {
    async fn add(&self, a: i64, b: i64) -> i64;
}

struct Sum;

impl Adder for Sum {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
}

#[tokio::test]
async fn a_small_call_allocates_nothing() {
    let directory = TempDir::new();
    for address in ["memory:allocations", &directory.unix("adder.sock")] {
        let server = Server::builder()
            .service(AdderServer::new(Sum))
            .listen(address)
            .start()
            .await
            .unwrap();
        for callers in [1, 64] {
            let adder = AdderClient::new(Channel::connect(address).await.unwrap());
            let allocated = allocated_by_calls(&adder, callers).await;
            // Besides the calls nothing allocates either: no timer, no reactor.
            assert_eq!(
                allocated, 0,
                "{callers} callers over {address}: {allocated} bytes for {COUNTED} calls"
            );
        }
        drop(server);
    }
}

/// The bytes that the process allocates during [`COUNTED`] calls of so many callers, each of which
/// makes one call after the other, so that there are always as many under way. Bytes that are freed
/// again count as well: where no byte was allocated, there was no allocation.
async fn allocated_by_calls(adder: &AdderClient, callers: usize) -> usize {
    let count = Arc::new(Count::default());
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (adder, count) = (adder.clone(), Arc::clone(&count));
        tasks.spawn(async move {
            while let Some(number) = count.next() {
                let sum = adder.add(number, 1_000_003).await;
                assert_eq!(sum, Ok(number + 1_000_003));
            }
        });
    }
    tasks.join_all().await;
    count.counted()
}

/// Counts the calls of all callers, and reads the allocator when counting begins and when it ends.
#[derive(Default)]
struct Count {
    calls: AtomicUsize,
    begin: AtomicUsize,
    end: AtomicUsize,
}

impl Count {
    /// The number of the next call, while there are more to be made.
    fn next(&self) -> Option<i64> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let total = ALLOCATOR.total_allocated();
        if number == WARM {
            self.begin.store(total, Ordering::Relaxed);
        }
        if number == WARM + COUNTED {
            self.end.store(total, Ordering::Relaxed);
        }
        i64::try_from(number)
            .ok()
            .filter(|_| number < WARM + COUNTED)
    }

    fn counted(&self) -> usize {
        self.end.load(Ordering::Relaxed) - self.begin.load(Ordering::Relaxed)
    }
}
