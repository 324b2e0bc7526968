//! Ports of hosts, as TCP and datagrams have them: names that resolve, and why nobody can listen.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::lookup_host;

use super::HostPort;
use super::accept::is_out_of_descriptors;
use crate::error::{Code, Error};

/// How many addresses of one name are tried. A name has a handful; an answer with more than this is
/// a mistake or an attack on the time of the caller.
const CANDIDATES_MAX: usize = 16;

/// Whose ports they are: those of TCP and of datagrams have nothing to do with each other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Family {
    Stream,
    Datagram,
}

impl Family {
    /// The command that says who holds a port.
    fn holder_of(self, port: u16) -> String {
        match (self, cfg!(target_os = "linux")) {
            (Self::Stream, true) => format!("ss -ltnp 'sport = :{port}'"),
            (Self::Datagram, true) => format!("ss -lunp 'sport = :{port}'"),
            (Self::Stream, false) => format!("lsof -nP -iTCP:{port}"),
            (Self::Datagram, false) => format!("lsof -nP -iUDP:{port}"),
        }
    }
}

/// Refuses the port at which nobody can be.
pub(super) fn check_port(at: &HostPort, address: &str) -> Result<(), Error> {
    if at.port() != 0 {
        return Ok(());
    }
    Err(
        Error::new(Code::InvalidAddress, "nobody can listen at port 0")
            .with_hint("write the port that the listener was given")
            .with_address(address),
    )
}

/// What the host of `at` resolves to; at least one address.
pub(super) async fn resolve(at: &HostPort, address: &str) -> Result<Vec<SocketAddr>, Error> {
    let unresolved = || {
        Error::new(
            Code::Unreachable,
            format!("the name `{}` does not resolve", at.host()),
        )
        .with_hint("check the spelling, /etc/hosts and DNS")
        .with_address(address)
    };
    let mut candidates = Vec::new();
    match lookup_host((at.host(), at.port())).await {
        Ok(found) => candidates.extend(found.take(CANDIDATES_MAX)),
        Err(error) => return Err(unresolved().with_source(error)),
    }
    if candidates.is_empty() {
        Err(unresolved())
    } else {
        Ok(candidates)
    }
}

/// Why nobody can listen at a port, of TCP or of datagrams as `family` says, and what to do about it.
pub(super) fn bind_error(error: io::Error, at: &HostPort, family: Family) -> Error {
    let port = at.port();
    let described = match error.kind() {
        ErrorKind::AddrInUse => {
            Error::new(Code::InUse, format!("port {port} is taken")).with_hint(format!(
                "see who holds it with `{}`, or choose another port",
                family.holder_of(port)
            ))
        }
        ErrorKind::PermissionDenied => Error::new(
            Code::Denied,
            format!("this process may not listen at port {port}"),
        )
        .with_hint("choose a port above 1023, or give the process the privilege"),
        ErrorKind::AddrNotAvailable => Error::new(
            Code::Io,
            format!("`{}` is no address of this machine", at.host()),
        )
        .with_hint("listen at 127.0.0.1, or at 0.0.0.0 for every interface"),
        _ if is_out_of_descriptors(&error) => {
            Error::new(Code::Io, "this process has no file descriptor left")
                .with_hint("raise the limit (ulimit -n)")
        }
        _ => Error::new(Code::Io, "the system could not listen there").with_hint("see the cause"),
    };
    described.with_source(error)
}
