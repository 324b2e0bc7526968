//! Networks that lose, repeat and reorder (row 35).

use std::time::Instant;

use tokio::task::JoinSet;

use super::ledger::{Book, LedgerClient};
use super::proxy::Proxy;
use super::rng;

const CLIENTS: u64 = 8;

/// Makes `calls` calls, 32 at a time from each of eight clients, and returns how many succeeded
/// within their deadline of 10 s.
async fn succeeded(percent: u32, calls: u64) -> u64 {
    let book = Book::default();
    let server = book.serve("udp://127.0.0.1:0").await;
    let proxy = Proxy::start(&server.addresses()[0], percent, rng()).await;
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for client in 0..CLIENTS {
        let stub = LedgerClient::connect(&proxy.address).await.unwrap();
        for caller in 0..32 {
            let stub = stub.clone();
            callers.spawn(async move {
                let mut right = 0;
                let mut number = client * 32 + caller;
                while number < calls {
                    let noted = match number % 8 {
                        0 => stub.note_slowly(number).await,
                        _ => stub.note(number).await,
                    };
                    right += u64::from(noted == Ok(number));
                    number += CLIENTS * 32;
                }
                right
            });
        }
    }
    let right = callers.join_all().await.into_iter().sum();
    let (ran, twice) = book.totals();
    let (passed, lost) = proxy.totals();
    println!(
        "{percent} %: {right} of {calls} succeeded, {ran} ran, {twice} ran twice; {passed} datagrams \
         passed, {lost} lost, in {:?}",
        began.elapsed()
    );
    assert_eq!(twice, 0, "calls ran twice");
    right
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_at_5_percent_999_of_1000_calls_succeed_and_none_runs_twice() {
    assert!(succeeded(5, 10_000).await >= 9_990);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_35_at_20_percent_no_call_runs_twice() {
    assert!(succeeded(20, 5_000).await >= 4_950);
}
