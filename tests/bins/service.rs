//! A process for tests to call, signal and kill.
//!
//! ```text
//! test-service serve [--listen ADDRESS].. [--matchmaker ADDRESS] [--ledger FILE]
//! test-service add A B
//! ```
//!
//! `serve` offers a calculator and the work of the tests, registers them if it is told where, says
//! `listening ADDRESS` for each address and `ready` at last, and drains on SIGTERM. `add` discovers
//! a calculator and has it add.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;

use examples::{Calc, CalculatorClient, CalculatorServer};
use rpc_core::{Error, Server};
use support::work::{WorkServer, Worker};

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("serve") => serve(arguments).await,
        Some("add") => add(arguments).await,
        other => panic!("serve or add, not {other:?}"),
    }
}

async fn serve(mut arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let mut builder = Server::builder().service(CalculatorServer::new(Calc));
    let mut worker = Worker::default();
    while let Some(option) = arguments.next() {
        let value = arguments.next().expect("an option has a value");
        match option.as_str() {
            "--listen" => builder = builder.listen(value),
            "--matchmaker" => builder = builder.matchmaker(value).register(),
            "--ledger" => worker = Worker::with_ledger(value.as_ref()).expect("a ledger"),
            _ => panic!("there is no option {option}"),
        }
    }
    let server = builder.service(WorkServer::new(worker)).start().await?;
    for address in server.addresses() {
        println!("listening {address}");
    }
    let mut running = pin!(server.run_until_signal());
    // It heeds signals once it was polled, and only then is it ready for all that tests do to it.
    if let Poll::Ready(ended) = poll_fn(|cx| Poll::Ready(running.as_mut().poll(cx))).await {
        return ended;
    }
    println!("ready");
    running.await
}

async fn add(arguments: impl Iterator<Item = String>) -> Result<(), Error> {
    let numbers: Vec<i64> = arguments
        .map(|number| number.parse().expect("a number"))
        .collect();
    let [a, b] = numbers[..] else {
        panic!("two numbers are added, not {numbers:?}");
    };
    println!("{}", CalculatorClient::discover().await?.add(a, b).await?);
    Ok(())
}
