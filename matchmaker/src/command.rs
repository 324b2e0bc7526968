//! One run of the program: from the arguments to the exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use rpc_core::discovery::matchmaker::{Instance, MatchmakerClient, Position, RegistryError};
use rpc_core::signal::ShutdownSignals;
use rpc_core::{CallError, Channel, Code, Error};

use crate::cli::{Cli, Command, Exit, ResolveArgs, ServeArgs};
use crate::config::{Config, start_logging};
use crate::daemon::Daemon;
use crate::render;

/// What to do about [`Code::Insecure`] here.
const INSECURE: &str = "say --insecure if you trust the network";

/// How long a question to the matchmaker may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The program: reads the process's arguments, runs one command, and says how it ended. Data goes
/// to standard output, everything else to standard error.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(run(cli));
            // A name that is still being looked up must not hold up the answer.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(Failure::new(Exit::Failure, error)),
    };
    match ended {
        Ok(()) => Exit::Success.into(),
        Err(Failure { exit, error }) => {
            // Where nobody reads it, the exit code still tells.
            let _ = writeln!(io::stderr(), "matchmaker: {error:#}");
            exit.into()
        }
    }
}

/// Why a command failed, and the exit code that says so.
struct Failure {
    exit: Exit,
    error: anyhow::Error,
}

impl Failure {
    fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self {
            exit: Exit::Failure,
            error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(Exit::of_code(error.code()), error)
    }
}

impl From<CallError<RegistryError>> for Failure {
    fn from(error: CallError<RegistryError>) -> Self {
        let exit = Exit::of_call(&error);
        match error {
            CallError::Service(refusal) => Self::new(exit, refusal),
            CallError::Rpc(error) => Self::new(exit, error),
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    match &cli.command {
        Command::Serve(args) => serve(args, cli.insecure).await,
        Command::List(output) => {
            let (position, instances) = list(&ask(&cli).await?).await?;
            print(&show(position, &instances, output.json))
        }
        Command::Resolve(args) => resolve(&ask(&cli).await?, args).await,
        Command::Find(output) => find(output.json).await,
        Command::Health(output) => {
            let health = ask(&cli).await?.health().await?;
            print(&if output.json {
                render::health_json(&health)
            } else {
                render::health_table(&health)
            })
        }
    }
}

async fn serve(args: &ServeArgs, insecure: bool) -> Result<(), Failure> {
    start_logging(&args.log, args.log_format)?;
    let config = Config::from_args(args, insecure)?;
    let signals = ShutdownSignals::new().context("cannot listen to signals")?;
    let daemon = Daemon::start(config).await.map_err(|error| {
        let exit = Exit::of_code(error.code());
        let context = match error.code() {
            Code::InUse => "another matchmaker may be running; ask it with `matchmaker health`",
            Code::Insecure => INSECURE,
            _ => "cannot start",
        };
        let error = anyhow::Error::from(error).context(context);
        Failure { exit, error }
    })?;
    for address in daemon.addresses() {
        tracing::info!(%address, "listening");
    }
    if args.listen.is_empty() {
        let _ = writeln!(
            io::stderr(),
            "try: cargo run --example calculator_server, then matchmaker list"
        );
    }
    daemon
        .run_until(signals)
        .await
        .context("cannot wait for signals")?;
    Ok(())
}

/// The matchmakers of the local network.
async fn find(json: bool) -> Result<(), Failure> {
    let found = MatchmakerClient::find_on_lan().await?;
    if found.is_empty() {
        let error = anyhow::anyhow!(
            "no matchmaker answers in the local network: start one there with `matchmaker serve --lan`"
        );
        return Err(Failure::new(Exit::Unavailable, error));
    }
    print(&if json {
        render::found_json(&found)
    } else {
        render::found_table(&found)
    })
}

async fn ask(cli: &Cli) -> Result<MatchmakerClient, Failure> {
    let mut builder = Channel::builder(&cli.matchmaker).deadline(PATIENCE);
    if cli.insecure {
        builder = builder.insecure();
    }
    let channel = builder.connect().await.map_err(|error| {
        let insecure = error.code() == Code::Insecure;
        let mut failure = Failure::from(error);
        if insecure {
            failure.error = failure.error.context(INSECURE);
        }
        if failure.exit == Exit::Unavailable {
            failure.error = failure.error.context(
                "no matchmaker answers: start one with `matchmaker serve`, or say where it is with \
                 --matchmaker",
            );
        }
        failure
    })?;
    Ok(MatchmakerClient::new(channel))
}

/// Everything that is registered, page by page.
async fn list(client: &MatchmakerClient) -> Result<(Position, Vec<Instance>), Failure> {
    let mut page = client.list(None).await?;
    let mut instances = Vec::new();
    loop {
        let cursor = page.cursor();
        let position = page.position();
        instances.append(&mut page.instances);
        match cursor {
            Some(cursor) => page = client.list(Some(cursor)).await?,
            None => return Ok((position, instances)),
        }
    }
}

async fn resolve(client: &MatchmakerClient, args: &ResolveArgs) -> Result<(), Failure> {
    let snapshot = client.lookup(&args.query()).await?;
    if snapshot.more {
        let _ = writeln!(
            io::stderr(),
            "matchmaker: there are more instances than one answer holds"
        );
    }
    print(&show(
        snapshot.position(),
        &snapshot.instances,
        args.output.json,
    ))
}

fn show(position: Position, instances: &[Instance], json: bool) -> String {
    if json {
        render::instances_json(position, instances)
    } else {
        render::instances_table(instances)
    }
}

/// Writes data. Whoever closed the pipe has seen enough, which is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written.context("cannot write to standard output")?),
    }
}
