//! What a subserver is, in one environment variable.

use std::env;
use std::fmt;
use std::str::FromStr;

use rustix::fs::fstat;
use rustix::process::{Pid, getppid, test_kill_process};

use super::resources::Resources;

/// The name of the variable.
pub(crate) const VARIABLE: &str = "RPC_CORE_SUBSERVER";

/// What the main process says to a subserver before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Role {
    pub(crate) kind: Kind,
    /// The process that started it.
    pub(crate) main: u32,
    /// The inode of its descriptor 0. A program that the subserver starts inherits the variable, and
    /// may even be left to the main process when the subserver dies, but never has this descriptor.
    pub(crate) line: u64,
    /// A hash of the names of the services, by which the subserver finds the server that it belongs
    /// to among those that its program starts.
    pub(crate) services: u64,
    /// What the handshake says about who this is: the same as the main process, because clients that
    /// were sent here by a matchmaker look for that.
    pub(crate) instance: u128,
    pub(crate) resources: Resources,
}

/// What a subserver does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It serves one client.
    Forking,
    /// It serves some of all clients, and hands their calls on.
    Central,
}

/// Whose variable it is that this process has in its environment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// This process is a subserver.
    Ours(Role),
    /// It was to be one, and the main process is gone.
    Orphaned,
    /// There is none, or it was meant for another process.
    Foreign,
}

impl Role {
    /// What this process is. One that was to be a subserver and has no main process any more ends.
    pub(super) fn of_this_process() -> Option<Self> {
        let text = env::var(VARIABLE).ok();
        let line = fstat(rustix::stdio::stdin()).ok().map(|stat| stat.st_ino);
        match Self::claim(text.as_deref(), line) {
            Claim::Foreign => None,
            Claim::Orphaned => std::process::exit(0),
            Claim::Ours(role) => Some(role),
        }
    }

    /// What a process is, `line` being the inode of its descriptor 0.
    pub(crate) fn claim(text: Option<&str>, line: Option<u64>) -> Claim {
        let Some(role) = text.and_then(|text| text.parse::<Self>().ok()) else {
            return Claim::Foreign;
        };
        if line != Some(role.line) {
            return Claim::Foreign;
        }
        let main = i32::try_from(role.main).ok().and_then(Pid::from_raw);
        let Some(main) = main else {
            return Claim::Foreign;
        };
        if getppid() == Some(main) {
            Claim::Ours(role)
        } else if test_kill_process(main).is_err() {
            Claim::Orphaned
        } else {
            // A program that a subserver started before it took its line away from descriptor 0.
            Claim::Foreign
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Forking => "forking",
            Kind::Central => "central",
        };
        write!(
            f,
            "{kind} main={} line={} services={:x} instance={:x}",
            self.main, self.line, self.services, self.instance
        )?;
        let Resources {
            memory,
            cpu,
            files,
            patience,
        } = self.resources;
        for (name, value) in [
            ("memory", memory),
            ("cpu", cpu),
            ("files", files),
            ("patience", patience),
        ] {
            if let Some(value) = value {
                write!(f, " {name}={value}")?;
            }
        }
        Ok(())
    }
}

/// The variable is not a role.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NotARole;

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        let mut words = text.split(' ');
        let kind = match words.next() {
            Some("forking") => Kind::Forking,
            Some("central") => Kind::Central,
            _ => return Err(NotARole),
        };
        let (mut main, mut line, mut services, mut instance) = (None, None, None, None);
        let mut resources = Resources::default();
        for word in words {
            let (name, value) = word.split_once('=').ok_or(NotARole)?;
            let decimal = || value.parse::<u64>().ok();
            match name {
                "main" => main = value.parse().ok(),
                "line" => line = decimal(),
                "services" => services = u64::from_str_radix(value, 16).ok(),
                "instance" => instance = u128::from_str_radix(value, 16).ok(),
                "memory" => resources.memory = decimal(),
                "cpu" => resources.cpu = decimal(),
                "files" => resources.files = decimal(),
                "patience" => resources.patience = decimal(),
                _ => return Err(NotARole),
            }
        }
        Ok(Self {
            kind,
            main: main.ok_or(NotARole)?,
            line: line.ok_or(NotARole)?,
            services: services.ok_or(NotARole)?,
            instance: instance.ok_or(NotARole)?,
            resources,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(main: u32) -> Role {
        Role {
            kind: Kind::Forking,
            main,
            line: 77,
            services: u64::MAX,
            instance: u128::MAX,
            resources: Resources {
                memory: Some(1 << 30),
                cpu: None,
                files: Some(64),
                patience: Some(100),
            },
        }
    }

    fn parent() -> u32 {
        let parent = getppid().unwrap().as_raw_nonzero().get();
        parent.unsigned_abs()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let text = role(42).to_string();
        assert_eq!(text.parse(), Ok(role(42)), "{text}");
        for text in ["", "forking", "forking main=1", "spooning main=1"] {
            assert_eq!(text.parse::<Role>(), Err(NotARole), "{text}");
        }
    }

    #[test]
    fn the_child_of_the_named_process_with_the_named_line_is_a_subserver() {
        let text = role(parent()).to_string();
        let claim = Role::claim(Some(&text), Some(77));
        assert_eq!(claim, Claim::Ours(role(parent())));
    }

    #[test]
    fn a_grandchild_ignores_the_role() {
        // It has the variable, and descriptor 0 of its own.
        let text = role(parent()).to_string();
        assert_eq!(Role::claim(Some(&text), Some(78)), Claim::Foreign);
        assert_eq!(Role::claim(Some(&text), None), Claim::Foreign);
        // It has the descriptor as well, and another parent: the subserver.
        let text = role(std::process::id()).to_string();
        assert_eq!(Role::claim(Some(&text), Some(77)), Claim::Foreign);
        assert_eq!(Role::claim(None, Some(77)), Claim::Foreign);
    }

    #[test]
    fn who_was_left_alone_before_it_began_knows() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = child.id();
        child.wait().unwrap();
        let text = role(gone).to_string();
        assert_eq!(Role::claim(Some(&text), Some(77)), Claim::Orphaned);
    }
}
