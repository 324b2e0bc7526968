//! The main process's side: starting subservers.

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::fs::fstat;

use super::line::Line;
use super::resources::Resources;
use super::role::{Kind, Role, VARIABLE};
use crate::error::{Code, Error};
use crate::process::{Child, Group};

/// Starts subservers, all of one kind.
pub(crate) struct Starter {
    command: Mutex<Command>,
    kind: Kind,
    services: u64,
    instance: u128,
    resources: Resources,
}

/// A subserver that runs. Dropping it ends it at once, with all that it has started.
pub(crate) struct Subserver {
    pub(crate) child: Child,
    pub(crate) line: Line,
}

impl Starter {
    /// `command` is what a subserver is, where that is not this program.
    ///
    /// # Errors
    /// This program does not know that it may be started as a subserver.
    pub(crate) fn new(
        command: Option<Command>,
        kind: Kind,
        services: u64,
        instance: u128,
        resources: Resources,
    ) -> Result<Self, Error> {
        let command = match command {
            Some(command) => command,
            None if super::is_prepared() => this_program(),
            None => {
                return Err(Error::new(
                    Code::Unimplemented,
                    "this program cannot be started as a subserver: it does not say \
                     `rpc_core::subserver_init()`",
                )
                .with_hint(
                    "make that the first line of `main`; in a test, whose `main` is that of the \
                     harness, name a program of your own with `.command(..)`",
                ));
            }
        };
        Ok(Self {
            command: Mutex::new(command),
            kind,
            services,
            instance,
            resources,
        })
    }

    /// Starts one. Blocks for about a millisecond, whatever the size of this process: nothing of it
    /// is copied. Must run within a tokio runtime.
    ///
    /// # Errors
    /// The system's: the program is gone, or no descriptor, process or memory is left.
    pub(crate) fn start(&self) -> io::Result<Subserver> {
        let (line, end) = Line::pair()?;
        let role = Role {
            kind: self.kind,
            main: std::process::id(),
            line: fstat(&end)?.st_ino,
            services: self.services,
            instance: self.instance,
            resources: self.resources,
        };
        let mut command = self.command.lock().unwrap_or_else(PoisonError::into_inner);
        command.env(VARIABLE, role.to_string());
        command.stdin(Stdio::from(end));
        let child = Child::spawn(&mut command, Group::Own);
        // The command would keep the other end of the line, and nobody would see it close.
        command.stdin(Stdio::null());
        Ok(Subserver {
            child: child?,
            line,
        })
    }
}

/// This very program, whatever has become of its file since, with the same arguments.
fn this_program() -> Command {
    let mut command = Command::new("/proc/self/exe");
    let mut arguments = env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments);
    command
}
