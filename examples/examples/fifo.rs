//! Two processes that speak over named pipes, for where sockets are refused: a service behind a
//! well-known pipe in a child process, and a client here. No port, no socket, no file that stays.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, stdin};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use examples::{Calc, CalculatorClient, CalculatorServer};
use rpc_core::Server;

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    match env::args().nth(1) {
        Some(address) => serve(&address).await,
        None => demonstrate().await,
    }
}

async fn demonstrate() -> Outcome {
    let directory = env::temp_dir().join(format!("fifo-example-{}", std::process::id()));
    fs::create_dir(&directory)?;
    let address = format!("fifo:{}/calc.wkp", directory.display());

    if let Err(error) = CalculatorClient::connect(&address).await {
        println!("before: {}", error.message());
    }
    let mut child = start_child(&address)?;
    show(&directory)?;
    let calculator = CalculatorClient::connect(&address).await?;
    println!("add(2, 3) = {}", calculator.add(2, 3).await?);
    println!("parse(\"2.5\") = {}", calculator.parse("2.5").await?);

    drop(child.stdin.take());
    println!("the service has left: {}", child.wait()?);
    // It took its files along, or this would fail.
    fs::remove_dir(&directory)?;
    Ok(())
}

/// The well-known pipe, its lock, and the directory in which clients make their own pipes.
fn show(directory: &Path) -> Outcome {
    for entry in fs::read_dir(directory)? {
        println!("  {}", entry?.path().display());
    }
    Ok(())
}

/// Runs this program again as the service, and waits until it is there. It stops when its standard
/// input ends, so it never outlives this process.
fn start_child(address: &str) -> Result<Child, Box<dyn Error>> {
    let mut child = Command::new(env::current_exe()?)
        .arg(address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().ok_or("the child has no output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    println!("process {} serves {}", child.id(), line.trim());
    Ok(child)
}

async fn serve(address: &str) -> Outcome {
    let builder = Server::builder().service(CalculatorServer::new(Calc));
    let server = builder.listen(address).start().await?;
    println!("{address}");
    tokio::task::spawn_blocking(|| stdin().read_to_end(&mut Vec::new())).await??;
    server.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
