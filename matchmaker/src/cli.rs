//! The command line: what can be asked for, and what the exit codes mean.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use rpc_core::discovery::matchmaker::{
    ADDRESS_VARIABLE, DEFAULT_ADDRESS, INSECURE_VARIABLE, Query, RegistryError,
};
use rpc_core::{CallError, Code};
use tracing_subscriber::EnvFilter;

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  failure
  2  wrong usage
  3  no such service, or none in that version
  4  the matchmaker cannot be reached or cannot serve now";

/// The rendezvous daemon: services register, clients discover.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(name = "matchmaker", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// The matchmaker to ask
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = ADDRESS_VARIABLE,
        default_value = DEFAULT_ADDRESS
    )]
    pub matchmaker: String,

    /// Allow clear text to and from other hosts: who is on the way can read it and change it
    #[arg(long, global = true, env = INSECURE_VARIABLE, value_parser = truth)]
    pub insecure: bool,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the daemon until SIGINT or SIGTERM
    Serve(ServeArgs),
    /// Show everything that is registered
    List(OutputArgs),
    /// Show the instances of one service, highest version first
    Resolve(ResolveArgs),
    /// Show how the matchmaker is doing
    Health(OutputArgs),
    /// Show the matchmakers that answer from the local network (see `serve --lan`)
    Find(OutputArgs),
}

/// The arguments of `serve`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ServeArgs {
    /// An address to listen on; may be repeated [default: tcp://127.0.0.1:7111 and a Unix socket]
    ///
    /// The default Unix socket is $XDG_RUNTIME_DIR/matchmaker.sock where that variable is set, else
    /// /run/matchmaker.sock for root, else /tmp/matchmaker-UID/matchmaker.sock in a directory that
    /// nobody else can enter.
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,

    /// Answer who looks for a matchmaker in the local network, with where this one listens [default
    /// address: 0.0.0.0:7111]
    ///
    /// An answer proves nothing: whoever uses it trusts the network, or TLS.
    #[arg(
        long,
        value_name = "IP:PORT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "0.0.0.0:7111"
    )]
    pub lan: Option<SocketAddr>,

    /// What to log to standard error: error, warn, info, debug or trace, or a filter of targets
    /// such as info,matchmaker=debug
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = log_filter)]
    pub log: String,

    /// How to write the log
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The arguments of `resolve`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ResolveArgs {
    /// The name of the service
    pub name: String,

    /// The versions that will do, such as ^1, ">=1.2, <2" or 1.2.*; a bare 1.2.0 means ^1.2.0
    #[arg(long, value_name = "REQ")]
    pub version: Option<String>,

    /// How to show it.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl ResolveArgs {
    /// What the arguments ask the matchmaker.
    pub fn query(&self) -> Query {
        let query = Query::new(self.name.clone());
        match &self.version {
            Some(requirement) => query.with_version(requirement.clone()),
            None => query,
        }
    }
}

/// How to show an answer.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputArgs {
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// How a command ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what was asked for.
    Success = 0,
    /// It failed in a way that is none of the others.
    Failure = 1,
    /// It was asked for something that cannot be; clap ends with the same number.
    Usage = 2,
    /// Nobody offers the service, or not in that version.
    NotFound = 3,
    /// The matchmaker cannot be reached, or cannot serve at the moment: try later.
    Unavailable = 4,
}

impl Exit {
    /// How a command ends whose call to the matchmaker failed.
    pub fn of_call(error: &CallError<RegistryError>) -> Self {
        match error {
            CallError::Service(error) => Self::of_registry(error),
            CallError::Rpc(error) => Self::of_code(error.code()),
        }
    }

    /// How a command ends that the registry refused.
    pub fn of_registry(error: &RegistryError) -> Self {
        match error {
            RegistryError::NotFound { .. } => Self::NotFound,
            RegistryError::InvalidName { .. } | RegistryError::InvalidRequirement { .. } => {
                Self::Usage
            }
            RegistryError::Unavailable { .. } => Self::Unavailable,
            _ => Self::Failure,
        }
    }

    /// How a command ends that could not talk to the matchmaker.
    pub fn of_code(code: Code) -> Self {
        match code {
            Code::InvalidAddress | Code::Insecure => Self::Usage,
            Code::Refused
            | Code::Unreachable
            | Code::Disconnected
            | Code::Draining
            | Code::Overloaded
            | Code::DeadlineExceeded => Self::Unavailable,
            _ => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Reads the environment's word on clear text, as the library does.
fn truth(text: &str) -> Result<bool, String> {
    match text {
        "1" | "true" => Ok(true),
        "" | "0" | "false" => Ok(false),
        _ => Err("write 1 or true, 0 or false".to_owned()),
    }
}

/// Refuses a filter that the log could not read, while it is still a matter of usage.
fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_read_as_documented() {
        let Command::Serve(serve) =
            parse("matchmaker serve --listen tcp://127.0.0.1:0 --listen unix:/a --log debug")
                .unwrap()
                .command
        else {
            panic!("not serve");
        };
        assert_eq!(serve.listen, ["tcp://127.0.0.1:0", "unix:/a"]);
        assert_eq!(
            (serve.log.as_str(), serve.log_format),
            ("debug", LogFormat::Text)
        );

        let cli = parse("matchmaker resolve Calculator --version ^1 --json --matchmaker unix:/a");
        let cli = cli.unwrap();
        assert_eq!(cli.matchmaker, "unix:/a");
        let Command::Resolve(resolve) = cli.command else {
            panic!("not resolve")
        };
        assert_eq!(resolve.query(), Query::new("Calculator").with_version("^1"));
        assert!(resolve.output.json);
    }

    #[test]
    fn wrong_usage_ends_with_2() {
        for line in [
            "matchmaker",
            "matchmaker dance",
            "matchmaker resolve",
            "matchmaker serve --log =",
            "matchmaker serve --log-format xml",
        ] {
            assert_eq!(
                parse(line).unwrap_err().exit_code(),
                Exit::Usage as i32,
                "{line}"
            );
        }
    }

    #[test]
    fn help_documents_addresses_and_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        for exit in [
            Exit::Success,
            Exit::Failure,
            Exit::Usage,
            Exit::NotFound,
            Exit::Unavailable,
        ] {
            assert!(help.contains(&format!("\n  {}  ", exit as u8)), "{help}");
        }
        assert!(
            help.contains("MATCHMAKER_ADDR")
                && help.contains("MATCHMAKER_INSECURE")
                && help.contains(DEFAULT_ADDRESS),
            "{help}"
        );
        let mut command = Cli::command();
        let serve = command
            .find_subcommand_mut("serve")
            .unwrap()
            .render_long_help()
            .to_string();
        assert!(serve.contains("/run/matchmaker.sock"), "{serve}");
    }

    #[test]
    fn scripts_can_tell_failures_apart() {
        let missing = RegistryError::NotFound {
            query: Query::new("A"),
            offered: Vec::new(),
        };
        assert_eq!(Exit::of_call(&CallError::Service(missing)), Exit::NotFound);
        let refused = rpc_core::Error::new(Code::Refused, "");
        assert_eq!(Exit::of_call(&CallError::Rpc(refused)), Exit::Unavailable);
        assert_eq!(Exit::of_code(Code::InvalidAddress), Exit::Usage);
        assert_eq!(Exit::of_code(Code::Protocol), Exit::Failure);
    }
}
