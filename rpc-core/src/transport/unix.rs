//! `unix:/path` and `unix:@abstract`: Unix sockets, whose kernel says which process is at the other
//! end.

#[cfg(target_os = "linux")]
mod credentials;
mod file;
#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(target_os = "linux")]
mod watched;

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::io::Errno;
use rustix::process::geteuid;
use tokio::time::sleep;

use super::accept::is_out_of_descriptors;
use super::{Address, Conduit, Connector, Identity, ListenOptions, Listener, Peer};
use crate::error::{Code, Error};

use file::SocketFile;
#[cfg(not(target_os = "linux"))]
use portable as sockets;
pub(super) use sockets::Stream;
#[cfg(target_os = "linux")]
use watched as sockets;

/// The first pause of a client that finds the queue of the listener full. The kernel has no way to
/// wait for a place in it.
const QUEUE_POLL_MIN: Duration = Duration::from_millis(1);

/// The longest such pause.
const QUEUE_POLL_MAX: Duration = Duration::from_millis(50);

/// The user who may do everything anyway.
const ROOT: u32 = 0;

/// Opens connections to a socket.
pub(super) struct UnixConnector {
    /// What the system is given; an abstract name begins with a zero byte.
    name: PathBuf,
    address: Arc<str>,
}

impl UnixConnector {
    pub(super) fn new(address: &Address) -> Result<Self, Error> {
        let (name, text) = match address {
            Address::UnixAbstract { name } => (abstract_name(name)?, ["unix:@", name].concat()),
            Address::Unix { path } => (path.into(), ["unix:", path].concat()),
            other => return Err(other.unsupported("connect to")),
        };
        Ok(Self {
            name,
            address: text.into(),
        })
    }
}

#[async_trait]
impl Connector for UnixConnector {
    async fn connect(&self) -> Result<Conduit, Error> {
        let mut pause = QUEUE_POLL_MIN;
        loop {
            match sockets::connect(&self.name).await {
                Ok((stream, identity)) => return Ok(conduit(stream, identity, &self.address)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    sleep(pause).await;
                    pause = pause.saturating_mul(2).min(QUEUE_POLL_MAX);
                }
                Err(error) => return Err(dial_error(error).with_address(Arc::clone(&self.address))),
            }
        }
    }

    fn address(&self) -> &str {
        &self.address
    }
}

/// Hands out the connections to a socket. When it is dropped, its file goes too.
pub(super) struct UnixListener {
    /// Absent for an abstract name. Stands first, because it must go while `inner` is still open:
    /// as long as somebody listens, nobody else can have taken the path over.
    _file: Option<SocketFile>,
    inner: sockets::Inner,
    address: Arc<str>,
    /// The user that began to listen.
    uid: u32,
    /// Who may connect, beside what the permissions of the file say.
    allowed: Option<Arc<[u32]>>,
}

impl UnixListener {
    /// Listens at a path, which may be left over from a process that is gone.
    pub(super) async fn bind(path: &str, options: &ListenOptions) -> Result<Self, Error> {
        let address = format!("unix:{path}");
        let allowed = options.allowed_uids().map(Arc::from);
        let bound = match SocketFile::bind(Path::new(path)).await {
            // The list decides, so that the file need not.
            Ok((file, inner)) if allowed.is_some() => {
                file.open_to_everybody().map(|()| (file, inner))
            }
            bound => bound,
        };
        let bound = bound.and_then(|(file, inner)| Ok((file, listener(inner)?)));
        match bound {
            Ok((file, inner)) => Ok(Self {
                _file: Some(file),
                inner,
                address: address.into(),
                uid: geteuid().as_raw(),
                allowed,
            }),
            Err(error) => Err(error.with_address(address)),
        }
    }

    /// Listens at an abstract name, which the kernel frees with its last descriptor. Any process of
    /// the machine may take a free one: a client that must know whom it reaches expects an identity.
    /// Any process may connect, too, so that there is always a list of who may.
    pub(super) fn bind_abstract(name: &str, options: &ListenOptions) -> Result<Self, Error> {
        let address = format!("unix:@{name}");
        let uid = geteuid().as_raw();
        let own = || Arc::from([uid, ROOT]);
        let inner = tokio::net::UnixListener::bind(abstract_name(name)?).map_err(bind_error);
        let inner = inner
            .and_then(listener)
            .map_err(|error| error.with_address(address.as_str()))?;
        Ok(Self {
            _file: None,
            inner,
            address: address.into(),
            uid,
            allowed: Some(options.allowed_uids().map_or_else(own, Arc::from)),
        })
    }
}

#[async_trait]
impl Listener for UnixListener {
    async fn accept(&mut self) -> io::Result<Conduit> {
        // No further await: what was accepted must be returned.
        let (stream, identity) = sockets::accept(&self.inner).await?;
        let conduit = conduit(stream, identity, &self.address);
        let Some(allowed) = &self.allowed else {
            return Ok(conduit);
        };
        match conduit.peer.uid() {
            Some(uid) if allowed.contains(&uid) => Ok(conduit),
            _ => Ok(conduit.refused("the server does not let this user connect")),
        }
    }

    fn address(&self) -> String {
        self.address.to_string()
    }

    /// To clients the kernel says who listened first.
    fn identity(&self) -> Option<String> {
        Some(format!("uid:{}", self.uid))
    }
}

/// A connection that another process accepted.
#[cfg(all(target_os = "linux", feature = "patterns"))]
pub(super) fn take_over(stream: std::os::unix::net::UnixStream) -> io::Result<Conduit> {
    use std::os::linux::net::SocketAddrExt as _;

    let own = stream.local_addr()?;
    let address = match (own.as_pathname(), own.as_abstract_name()) {
        (Some(path), _) => format!("unix:{}", path.display()),
        (None, Some(name)) => format!("unix:@{}", String::from_utf8_lossy(name)),
        (None, None) => "unix:".to_owned(),
    };
    let (stream, identity) = sockets::connected(stream.into())?;
    Ok(conduit(stream, identity, &address.into()))
}

fn listener(listener: tokio::net::UnixListener) -> Result<sockets::Inner, Error> {
    sockets::listener(listener).map_err(bind_error)
}

fn conduit(stream: Stream, identity: Option<Identity>, address: &Arc<str>) -> Conduit {
    let peer = Peer::named(address).with_local(true);
    let peer = match identity {
        Some(identity) => peer.with_identity(identity),
        None => peer,
    };
    Conduit::of_socket(stream, peer)
}

fn abstract_name(name: &str) -> Result<PathBuf, Error> {
    if cfg!(any(target_os = "linux", target_os = "android")) {
        Ok(format!("\0{name}").into())
    } else {
        Err(Error::new(
            Code::InvalidAddress,
            "this system has no abstract socket names",
        )
        .with_hint("write a path, as in unix:/path")
        .with_address(format!("unix:@{name}")))
    }
}

fn dial_error(error: io::Error) -> Error {
    let described = match error.kind() {
        ErrorKind::NotFound => Error::new(Code::Refused, "there is no socket of this name")
            .with_hint("start the service, or check the path"),
        ErrorKind::ConnectionRefused => Error::new(Code::Refused, "nobody listens at the socket")
            .with_hint("start the service, or check the name"),
        ErrorKind::PermissionDenied => {
            Error::new(Code::Denied, "this user may not connect to the socket").with_hint(
                "ask for write permission on the socket and search permission on its directories",
            )
        }
        _ if is_out_of_descriptors(&error) => {
            Error::new(Code::Io, "this process has no file descriptor left")
                .with_hint("raise the limit (ulimit -n), or open fewer connections")
        }
        _ if error.raw_os_error() == Some(Errno::PROTOTYPE.raw_os_error()) => {
            Error::new(Code::Io, "the socket is of another kind, not a stream")
                .with_hint("check the path")
        }
        _ => Error::new(Code::Io, "the system could not connect").with_hint("see the cause"),
    };
    described.with_source(error)
}

fn bind_error(error: io::Error) -> Error {
    let described = match error.kind() {
        ErrorKind::AddrInUse => Error::new(Code::InUse, "another process listens there").with_hint(
            if cfg!(target_os = "linux") {
                "see who with `ss -lxp`, or choose another name"
            } else {
                "see who with `lsof -U`, or choose another name"
            },
        ),
        ErrorKind::NotFound => Error::new(Code::Io, "the directory of the socket does not exist")
            .with_hint("create it, or check the path"),
        ErrorKind::PermissionDenied => {
            Error::new(Code::Denied, "this user may not create the socket")
                .with_hint("choose a directory that this user may write to")
        }
        _ if is_out_of_descriptors(&error) => {
            Error::new(Code::Io, "this process has no file descriptor left")
                .with_hint("raise the limit (ulimit -n)")
        }
        _ => Error::new(Code::Io, "the system could not listen there").with_hint("see the cause"),
    };
    described.with_source(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as StdListener;

    use tokio::net::UnixStream;

    use super::*;
    use crate::transport::tests::TempPath;

    async fn dial(path: &TempPath) -> Result<Conduit, Error> {
        let address: Address = format!("unix:{}", path.as_str()).parse().unwrap();
        UnixConnector::new(&address).unwrap().connect().await
    }

    /// What a killed server leaves behind: a file at which nobody listens.
    fn leave_stale(path: &TempPath) {
        drop(StdListener::bind(path).unwrap());
        assert!(path.as_ref().exists());
    }

    #[tokio::test]
    async fn errors_tell_the_path_and_the_reason() {
        let path = TempPath::new();
        let error = dial(&path).await.unwrap_err();
        assert_eq!(error.code(), Code::Refused);
        assert!(
            error
                .to_string()
                .contains("there is no socket of this name"),
            "{error}"
        );
        assert!(error.to_string().contains(path.as_str()), "{error}");

        leave_stale(&path);
        let error = dial(&path).await.unwrap_err();
        assert_eq!(error.code(), Code::Refused);
        assert!(
            error.to_string().contains("nobody listens at the socket"),
            "{error}"
        );

        let nowhere = format!("{}/a", TempPath::new().as_str());
        let error = UnixListener::bind(&nowhere, &ListenOptions::new())
            .await
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::Io);
        assert!(
            error
                .to_string()
                .contains("directory of the socket does not exist"),
            "{error}"
        );
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn row_54_an_abstract_name_is_held_by_one() {
        let name = format!("rpc-core-held-{}", std::process::id());
        let held = UnixListener::bind_abstract(&name, &ListenOptions::new()).unwrap();
        let error = UnixListener::bind_abstract(&name, &ListenOptions::new())
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::InUse);
        drop(held);
        UnixListener::bind_abstract(&name, &ListenOptions::new()).unwrap();
    }

    /// A client that finds the queue full waits for its turn, as it would with TCP.
    #[tokio::test]
    async fn a_full_queue_is_waited_for() {
        let path = TempPath::new();
        let socket = tokio::net::UnixSocket::new_stream().unwrap();
        socket.bind(&path).unwrap();
        let listener = socket.listen(1).unwrap();
        let mut waiting = Vec::new();
        loop {
            match UnixStream::connect(&path).await {
                Ok(stream) => waiting.push(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        let last = tokio::spawn(async move { dial(&path).await });
        // The dial meets the full queue before the first place in it becomes free.
        tokio::task::yield_now().await;
        for _ in &waiting {
            listener.accept().await.unwrap();
        }
        let last = last.await.unwrap();
        last.unwrap();
    }
}
