//! A server with a process for each client, and its subservers.
//!
//! ```text
//! test-forking [--listen ADDRESS].. [--ballast MIB] [--spare N] [--memory MIB] [--cpu SECONDS]
//!              [--workers N] [--beside ADDRESS] [--unprepared yes]
//! test-forking role
//! ```
//!
//! The main process says `listening ADDRESS` for each address and `ready` at last, and drains on
//! SIGTERM; `--ballast` makes it so large. A subserver has one worker thread or so many, and with 0 of
//! them a runtime on its one thread. `--beside` starts a server without subservers before, at an address
//! of its own; `--unprepared` says no `subserver_init`. `role` says whether this process is a subserver.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use rpc_core::server::Forking;
use rpc_core::{Error, Server};
use support::perils::{Perilous, PerilsServer};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_prepared = !arguments.iter().any(|option| option == "--unprepared");
    let is_subserver = is_prepared && rpc_core::subserver_init();
    if arguments.first().is_some_and(|first| first == "role") {
        println!("{}", if is_subserver { "subserver" } else { "main" });
        return ExitCode::SUCCESS;
    }
    let workers = arguments.iter().skip_while(|option| *option != "--workers");
    let workers = match workers.skip(1).map(|number| number.parse()).next() {
        _ if !is_subserver => 2,
        Some(number) => number.expect("a number"),
        None => 1,
    };
    let mut runtime = match workers {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    match runtime
        .worker_threads(workers.max(1))
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(serve(arguments, is_subserver))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Vec<String>, is_subserver: bool) -> Result<(), Error> {
    let mut builder = Server::builder().service(PerilsServer::new(Perilous::default()));
    let mut pattern = Forking::new().subservers_max(256);
    let mut beside = None;
    let mut ballast = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(option) = arguments.next() {
        let value = arguments.next().expect("an option has a value");
        let number = || value.parse::<u64>().expect("a number");
        match option.as_str() {
            "--listen" => builder = builder.listen(value),
            "--spare" => pattern = pattern.spare(value.parse().expect("a number")),
            "--memory" => pattern = pattern.memory_max(number() << 20),
            "--workers" | "--unprepared" => {}
            "--beside" => beside = Some(value),
            "--cpu" => pattern = pattern.cpu_max(Duration::from_secs(number())),
            // What is made at the start must not be made once more for each client.
            "--ballast" if is_subserver => {}
            "--ballast" => ballast = vec![1_u8; value.parse::<usize>().expect("a number") << 20],
            _ => panic!("there is no option {option}"),
        }
    }
    let _beside = match beside {
        Some(address) => Some(alone(&address).await?),
        None => None,
    };
    let server = builder.pattern(pattern).start().await?;
    for address in server.addresses() {
        println!("listening {address}");
    }
    let mut running = pin!(server.run_until_signal());
    // It heeds signals once it was polled, and only then is it ready for all that tests do to it.
    if let Poll::Ready(ended) = poll_fn(|cx| Poll::Ready(running.as_mut().poll(cx))).await {
        return ended;
    }
    println!("ready");
    running.await?;
    drop(ballast);
    Ok(())
}

/// A server without subservers.
async fn alone(address: &str) -> Result<Server, Error> {
    let service = PerilsServer::new(Perilous::default());
    let builder = Server::builder().service(service).listen(address);
    builder.start().await
}
