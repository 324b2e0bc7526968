//! What went wrong, in words and with advice.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

use crate::error::{Code, Error};
use crate::transport::accept::is_out_of_descriptors;

pub(super) fn connect_error(error: io::Error) -> Error {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    let described = match number {
        Some(Errno::NOENT) => Error::new(Code::Refused, "no server: there is no such pipe")
            .with_hint("start the service, or check the path"),
        Some(Errno::NXIO | Errno::PIPE) => {
            Error::new(Code::Refused, "no server: nobody reads the well-known pipe")
                .with_hint("start the service")
        }
        Some(Errno::ACCESS | Errno::PERM) => Error::new(
            Code::Denied,
            "this user may not write to the well-known pipe, or not make pipes beside it",
        )
        .with_hint("connect as the user of the server, or allow a group there"),
        Some(Errno::LOOP) => {
            Error::new(Code::Denied, "there is a symbolic link in place of a pipe")
                .with_hint("do not trust this path")
        }
        _ if is_out_of_descriptors(&error) => {
            Error::new(Code::Io, "this process has no file descriptor left")
                .with_hint("raise the limit (ulimit -n), or open fewer connections")
        }
        _ => Error::new(Code::Io, "the system could not connect").with_hint("see the cause"),
    };
    described.with_source(error)
}

pub(super) fn bind_error(error: io::Error) -> Error {
    let described = match error.kind() {
        ErrorKind::NotFound => Error::new(Code::Io, "the directory of the pipe does not exist")
            .with_hint("create it, or check the path"),
        ErrorKind::PermissionDenied => {
            Error::new(Code::Denied, "this user may not create the well-known pipe")
                .with_hint("choose a directory that this user may write to")
        }
        _ if is_out_of_descriptors(&error) => {
            Error::new(Code::Io, "this process has no file descriptor left")
                .with_hint("raise the limit (ulimit -n)")
        }
        _ => Error::new(
            Code::Io,
            "the system could not make a well-known pipe there",
        )
        .with_hint("see the cause"),
    };
    described.with_source(error)
}
