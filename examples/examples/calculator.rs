//! The whole path in one command: a matchmaker in this process, the service in a child process, and
//! a client that knows neither the child nor its port, only the name `Calculator`.

use std::env;
use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, stdin};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use examples::{Calc, CalculatorClient, CalculatorServer, MathError};
use matchmaker::{Config, Daemon};
use rpc_core::{CallError, Channel, Server};

type Outcome = Result<(), Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    match env::args().nth(1) {
        Some(matchmaker) => serve(&matchmaker).await,
        None => demonstrate().await,
    }
}

async fn demonstrate() -> Outcome {
    let daemon = Daemon::start(Config::listening_at(["tcp://127.0.0.1:0"])).await?;
    let matchmaker = &daemon.addresses()[0];
    println!("the matchmaker listens at {matchmaker}");
    let (mut child, address) = start_child(matchmaker)?;
    println!("process {} serves Calculator at {address}", child.id());

    let channel = Channel::builder("mm:Calculator").matchmaker(matchmaker);
    let calculator = CalculatorClient::new(channel.connect().await?);
    println!("add(2, 3) = {}", calculator.add(2, 3).await?);
    println!("divide(1.0, 4.0) = {}", calculator.divide(1.0, 4.0).await?);
    println!("parse(\"2.5\") = {}", calculator.parse("2.5").await?);
    println!("constant(\"pi\") = {:?}", calculator.constant("pi").await?);
    match calculator.divide(1.0, 0.0).await {
        Err(CallError::Service(MathError::DivisionByZero)) => {
            println!("divide(1.0, 0.0) is refused by the service: DivisionByZero");
        }
        other => return Err(format!("divide(1.0, 0.0) = {other:?}").into()),
    }

    drop(child.stdin.take());
    let status = child.wait()?;
    daemon.shutdown(Duration::from_secs(1)).await;
    println!("the service has left: {status}");
    println!("try next: cargo run -p matchmaker -- serve");
    Ok(())
}

/// Runs this program again as the service. It says where it listens once it is registered, and
/// stops when its standard input ends, so it never outlives this process.
fn start_child(matchmaker: &str) -> Result<(Child, String), Box<dyn Error>> {
    let mut child = Command::new(env::current_exe()?)
        .arg(matchmaker)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut address = String::new();
    let stdout = child.stdout.take().ok_or("the child has no output")?;
    BufReader::new(stdout).read_line(&mut address)?;
    Ok((child, address.trim().to_owned()))
}

async fn serve(matchmaker: &str) -> Outcome {
    let server = Server::builder()
        .service(CalculatorServer::new(Calc))
        .listen("tcp://127.0.0.1:0")
        .register()
        .matchmaker(matchmaker)
        .start()
        .await?;
    println!("{}", server.addresses()[0]);
    tokio::task::spawn_blocking(|| stdin().read_to_end(&mut Vec::new())).await??;
    server.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
