//! What is counted: calls of the smallest kind, between two ends in one thread of one process.

use rpc_core::{Channel, Limits, Server, service};

/// The argument that makes this program the load itself.
pub(crate) const COMMAND: &str = "load";

const ADDRESS: &str = "memory:instructions";

#[service]
trait Adder {
    async fn add(&self, a: i64, b: i64) -> i64;
}

struct Sum;

impl Adder for Sum {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
}

/// Makes `calls` calls, shared by `window` tasks that make one after the other.
pub(crate) fn run(window: u64, calls: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    runtime
        .block_on(make(window, calls))
        .map_err(|error| error.to_string())
}

async fn make(window: u64, calls: u64) -> Result<(), rpc_core::Error> {
    let mut limits = Limits::default();
    limits.calls = limits.calls.max(u32::try_from(window).unwrap_or(u32::MAX));
    let _server = Server::builder()
        .service(AdderServer::new(Sum))
        .limits(limits)
        .listen(ADDRESS)
        .start()
        .await?;
    let channel = Channel::builder(ADDRESS).limits(limits).connect().await?;
    let adder = AdderClient::new(channel);
    let tasks: Vec<_> = (0..window)
        .map(|_| {
            let adder = adder.clone();
            tokio::spawn(async move {
                for number in 0..calls / window {
                    let (a, b) = (number as i64, 1_000_003);
                    assert_eq!(adder.add(a, b).await, Ok(a + b));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
    Ok(())
}
