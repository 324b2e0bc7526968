//! `exec:program args`: a child process, spoken to over its standard input and output. Its standard
//! error is this one's. Knows nothing of what is said but its first byte.

mod history;
mod stream;

use std::io;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::address::words;
use super::{Conduit, ConnectOptions, Connector, Identity, Peer};
use crate::error::{Code, Error};
use crate::process::{Child, Group};

use history::History;
use stream::ChildStream;

/// Starts the program, once for each connection that the [`Restart`] policy allows.
pub(super) struct ExecConnector {
    /// What is started. Starting it needs it for itself.
    command: Mutex<Command>,
    options: ConnectOptions,
    address: Arc<str>,
    /// The program, for people.
    program: Arc<str>,
    history: Arc<History>,
}

impl ExecConnector {
    /// For `exec:line`, which is split into words here.
    pub(super) fn for_line(line: &str, options: &ConnectOptions) -> Result<Self, Error> {
        let invalid =
            |what| Error::new(Code::InvalidAddress, what).with_address(format!("exec:{line}"));
        let words = words::split(line).map_err(invalid)?;
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| invalid("the program is missing"))?;
        let mut command = Command::new(program);
        command.args(arguments);
        Ok(Self::new(command, options))
    }

    pub(super) fn new(mut command: Command, options: &ConnectOptions) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let program = command.get_program().to_string_lossy();
        let mut address = format!("exec:{}", words::quote(&program));
        for argument in command.get_args() {
            address.push(' ');
            address.push_str(&words::quote(&argument.to_string_lossy()));
        }
        Self {
            address: address.into(),
            program: program.into(),
            history: Arc::default(),
            options: options.clone(),
            command: Mutex::new(command),
        }
    }

    fn start(&self) -> io::Result<Conduit> {
        let child = {
            let mut command = self.command.lock().unwrap_or_else(PoisonError::into_inner);
            Child::spawn(&mut command, Group::Shared)?.with_grace(self.options.grace())
        };
        let peer = Peer::named(&self.address)
            .with_local(true)
            .with_identity(identity(child.id()));
        let life = self.history.begin();
        let stream = ChildStream::new(child, Arc::clone(&self.program), life)?;
        Ok(Conduit::new(stream, peer))
    }
}

#[async_trait]
impl Connector for ExecConnector {
    async fn connect(&self) -> Result<Conduit, Error> {
        let policy = self.options.restart_policy();
        let pause = self.history.admit(policy, &self.program);
        let pause = pause.map_err(|error| error.with_address(Arc::clone(&self.address)))?;
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        // Starting takes a millisecond or so, and there is nothing to wait for meanwhile.
        self.start()
            .map_err(|error| start_error(error).with_address(Arc::clone(&self.address)))
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn spent(&self) -> Option<Error> {
        let policy = self.options.restart_policy();
        let refused = self.history.refuse(policy, &self.program)?;
        Some(refused.with_address(Arc::clone(&self.address)))
    }

    fn is_lasting(&self) -> bool {
        false
    }
}

/// Whom the kernel says the child to be: a program may belong to another user than starts it.
#[cfg(target_os = "linux")]
fn identity(pid: u32) -> Identity {
    let stat = rustix::fs::stat(format!("/proc/{pid}"));
    stat.map_or(Identity::Unknown, |stat| {
        Identity::process(stat.st_uid, stat.st_gid, Some(pid))
    })
}

#[cfg(not(target_os = "linux"))]
fn identity(_: u32) -> Identity {
    Identity::Unknown
}

fn start_error(error: io::Error) -> Error {
    let described = match error.kind() {
        io::ErrorKind::NotFound => Error::new(Code::Refused, "there is no such program")
            .with_hint("check the name; one without a slash is looked up in PATH"),
        io::ErrorKind::PermissionDenied => {
            Error::new(Code::Denied, "this user may not run the program")
                .with_hint("check that the file may be executed and its directories searched")
        }
        _ => Error::new(Code::Io, "the system could not start the program")
            .with_hint("see the cause"),
    };
    described.with_source(error)
}
