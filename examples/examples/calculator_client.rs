//! Calls the calculator that the matchmaker knows: `calculator_client add 2 3` prints 5.

use std::env;
use std::process::ExitCode;

use examples::{CalculatorClient, MathError};
use rpc_core::CallError;

const USAGE: &str = "\
usage: calculator_client add A B       whole numbers
       calculator_client divide A B
       calculator_client parse TEXT
       calculator_client constant NAME";

/// Why there is no result, and the exit code that says so.
enum Failure {
    /// The arguments make no sense: exit code 2.
    Usage(String),
    /// The call failed: exit code 1.
    Call(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments).await {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(Failure::Call(text)) => {
            eprintln!("calculator_client: {text}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(text)) => {
            eprintln!("calculator_client: {text}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &[&str]) -> Result<String, Failure> {
    // Everything is read before anything is dialled.
    match *arguments {
        ["add", a, b] => {
            let (a, b) = (number(a)?, number(b)?);
            show(discover().await?.add(a, b).await)
        }
        ["divide", a, b] => {
            let (a, b) = (number(a)?, number(b)?);
            show(discover().await?.divide(a, b).await.map_err(said))
        }
        ["parse", text] => show(discover().await?.parse(text).await.map_err(said)),
        ["constant", name] => match discover().await?.constant(name).await {
            Ok(Some(value)) => Ok(value.to_string()),
            Ok(None) => Err(Failure::Call(format!("no constant is called \"{name}\""))),
            Err(error) => Err(Failure::Call(error.to_string())),
        },
        [] => Err(Failure::Usage("say what to calculate".to_owned())),
        _ => Err(Failure::Usage(format!("cannot read {arguments:?}"))),
    }
}

async fn discover() -> Result<CalculatorClient, Failure> {
    let client = CalculatorClient::discover().await;
    client.map_err(|error| Failure::Call(error.to_string()))
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    let wrong = |_| Failure::Usage(format!("\"{text}\" is not a number that this method takes"));
    text.parse().map_err(wrong)
}

fn said(error: CallError<MathError>) -> String {
    match error {
        CallError::Service(error) => error.to_string(),
        CallError::Rpc(error) => error.to_string(),
    }
}

fn show<T: ToString, E: ToString>(result: Result<T, E>) -> Result<String, Failure> {
    let shown = result.map(|value| value.to_string());
    shown.map_err(|error| Failure::Call(error.to_string()))
}
