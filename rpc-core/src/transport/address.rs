//! Addresses: text such as `tcp://host:port` or `unix:/path` that says where a service is and by
//! which transport it is reached.
//!
//! Parsing touches neither network nor file system, and it is safe on text from anybody: a
//! registry's answer goes through the same door as a developer's constant.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod host;
mod parse;
#[cfg(test)]
mod tests;
pub(super) mod words;

use std::fmt;
use std::net::IpAddr;

use crate::error::Error;

pub use host::HostPort;

/// The longest address, in bytes: the longest path that a system takes, with room for its scheme.
/// A registry's answer is held to it before anything else is looked at.
pub(crate) const ADDRESS_MAX: usize = 4096 + 16;

/// The longest path or abstract name of a Unix socket, in bytes: what the system's address
/// structure holds, without the zero byte that ends a path or begins an abstract name.
pub const UNIX_PATH_MAX: usize = if cfg!(any(target_os = "linux", target_os = "android")) {
    107
} else {
    // The BSD family, macOS included, reserves four bytes fewer.
    103
};

/// Where a service is, and by which transport it is reached.
///
/// | Written | Means |
/// |---|---|
/// | `tcp://host:port` | TCP; the host is a name, an IPv4 or a bracketed IPv6 address |
/// | `tls://host:port` | TLS over TCP |
/// | `udp://host:port` | datagrams |
/// | `unix:/path` | a Unix socket; `unix:///path` is read as the same |
/// | `unix:@name` | a Unix socket in Linux's abstract name space, without a file |
/// | `fifo:/path` | a well-known named pipe |
/// | `pipe:` | the descriptors that this process inherited |
/// | `exec:program args` | a child process, over its standard input and output; no shell |
/// | `memory:name` | this process |
/// | `mm:Service` | what the default matchmaker knows under this name |
/// | `mm://host:port/Service` | what the matchmaker there knows under this name |
/// | `mm://host:port` | what the matchmaker there knows under the stub's own name |
///
/// [`FromStr`](std::str::FromStr) reads an address, `Display` writes it, and what was written reads
/// back as the same address. Paths are absolute, because an address means the same to every process
/// that hears it. A port is never implied; port 0 asks a listener for a free one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// `tcp://host:port`
    Tcp(HostPort),
    /// `tls://host:port`
    Tls(HostPort),
    /// `udp://host:port`
    Udp(HostPort),
    /// `unix:/path`
    #[non_exhaustive]
    Unix {
        /// The absolute path of the socket, at most [`UNIX_PATH_MAX`] bytes.
        path: String,
    },
    /// `unix:@name`
    #[non_exhaustive]
    UnixAbstract {
        /// The name without the `@`, at most [`UNIX_PATH_MAX`] bytes.
        name: String,
    },
    /// `fifo:/path`
    #[non_exhaustive]
    Fifo {
        /// The absolute path of the well-known pipe.
        path: String,
    },
    /// `pipe:`
    Pipe,
    /// `exec:program args`
    #[non_exhaustive]
    Exec {
        /// The program and its arguments, parted by spaces, as they were written. No shell reads
        /// them: of its signs only quotes and the backslash mean something. Within `'` and `'` all
        /// is itself; within `"` and `"` too, but for `\"` and `\\`; elsewhere a backslash makes
        /// the next character an ordinary one. A program without a slash is looked up in `PATH`.
        command: String,
    },
    /// `memory:name`
    #[non_exhaustive]
    Memory {
        /// The name within this process.
        name: String,
    },
    /// `mm:Service`, `mm://host:port/Service` or `mm://host:port`
    #[non_exhaustive]
    Matchmaker {
        /// Where the matchmaker listens; the default one if absent.
        daemon: Option<HostPort>,
        /// The name to ask for; the stub's own if absent.
        service: Option<String>,
    },
}

impl Address {
    /// `mm:service`: whatever instances of the service the default matchmaker knows.
    pub fn by_name(service: impl Into<String>) -> Self {
        Self::Matchmaker {
            daemon: None,
            service: Some(service.into()),
        }
    }

    /// What stands before the colon.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Udp(_) => "udp",
            Self::Unix { .. } | Self::UnixAbstract { .. } => "unix",
            Self::Fifo { .. } => "fifo",
            Self::Pipe => "pipe",
            Self::Exec { .. } => "exec",
            Self::Memory { .. } => "memory",
            Self::Matchmaker { .. } => "mm",
        }
    }

    /// Whether the address means something in this process alone: `memory:`, `pipe:` and `exec:`.
    ///
    /// Such an address is never registered, and never accepted from discovery: a registry entry
    /// must not start a program.
    pub fn is_local_only(&self) -> bool {
        matches!(self, Self::Memory { .. } | Self::Pipe | Self::Exec { .. })
    }

    /// Whether the address stands for every interface of the host (`0.0.0.0` or `[::]`), so that it
    /// can be listened on but tells nobody where to connect.
    pub fn is_wildcard(&self) -> bool {
        self.host_port()
            .and_then(HostPort::ip)
            .is_some_and(|ip| ip.is_unspecified())
    }

    /// Host and port, where the address has them; of an `mm:` address the matchmaker's.
    pub fn host_port(&self) -> Option<&HostPort> {
        match self {
            Self::Tcp(at) | Self::Tls(at) | Self::Udp(at) => Some(at),
            Self::Matchmaker { daemon, .. } => daemon.as_ref(),
            _ => None,
        }
    }

    /// The same address with another port; an address without a port stays as it is.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Self {
        if let Some(at) = self.host_port_mut() {
            *at = at.with_port(port);
        }
        self
    }

    /// The same address at `ip`, which is how a wildcard becomes one that others can reach; an
    /// address without a host stays as it is.
    #[must_use]
    pub fn with_ip(mut self, ip: IpAddr) -> Self {
        if let Some(at) = self.host_port_mut() {
            *at = HostPort::new(ip, at.port());
        }
        self
    }

    fn host_port_mut(&mut self) -> Option<&mut HostPort> {
        match self {
            Self::Tcp(at) | Self::Tls(at) | Self::Udp(at) => Some(at),
            Self::Matchmaker { daemon, .. } => daemon.as_mut(),
            _ => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.scheme())?;
        match self {
            Self::Tcp(at) | Self::Tls(at) | Self::Udp(at) => write!(f, "//{at}"),
            Self::Unix { path } | Self::Fifo { path } => f.write_str(path),
            Self::UnixAbstract { name } => write!(f, "@{name}"),
            Self::Pipe => Ok(()),
            Self::Exec { command } => f.write_str(command),
            Self::Memory { name } => f.write_str(name),
            Self::Matchmaker { daemon, service } => {
                if let Some(daemon) = daemon {
                    write!(f, "//{daemon}")?;
                }
                match (daemon, service) {
                    (Some(_), Some(service)) => write!(f, "/{service}"),
                    (None, Some(service)) => f.write_str(service),
                    (_, None) => Ok(()),
                }
            }
        }
    }
}

impl std::str::FromStr for Address {
    type Err = Error;

    /// Reads an address.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidAddress`](crate::Code::InvalidAddress); the sentence says which part is wrong
    /// and what to write.
    fn from_str(text: &str) -> Result<Self, Error> {
        parse::address(text)
    }
}

/// What the functions that connect and listen take: text that reads as an [`Address`], or one that
/// was read already.
///
/// Sealed: `&str`, `String`, `&String`, `Address` and `&Address` implement it.
pub trait IntoAddress: sealed::Sealed {
    /// Reads the address.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidAddress`](crate::Code::InvalidAddress) for text that is not an address.
    fn into_address(self) -> Result<Address, Error>;
}

impl IntoAddress for &str {
    fn into_address(self) -> Result<Address, Error> {
        self.parse()
    }
}

impl IntoAddress for String {
    fn into_address(self) -> Result<Address, Error> {
        self.parse()
    }
}

impl IntoAddress for &String {
    fn into_address(self) -> Result<Address, Error> {
        self.parse()
    }
}

impl IntoAddress for Address {
    fn into_address(self) -> Result<Address, Error> {
        Ok(self)
    }
}

impl IntoAddress for &Address {
    fn into_address(self) -> Result<Address, Error> {
        Ok(self.clone())
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &str {}
    impl Sealed for String {}
    impl Sealed for &String {}
    impl Sealed for super::Address {}
    impl Sealed for &super::Address {}
}
