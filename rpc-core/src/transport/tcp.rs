//! `tcp://host:port`.

use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::net::TcpSocket;

use super::accept::is_out_of_descriptors;
use super::port::{self, check_port, resolve};
use super::{Conduit, ConnectOptions, Connector, HostPort, ListenOptions, Listener, Peer, clear};
use crate::error::{Code, Error};

// The system calls of the one come with the feature.
#[cfg(not(all(target_os = "linux", feature = "unix")))]
mod portable;
#[cfg(all(target_os = "linux", feature = "unix"))]
mod watched;

#[cfg(not(all(target_os = "linux", feature = "unix")))]
use portable as sockets;
#[cfg(all(target_os = "linux", feature = "unix"))]
use watched as sockets;

pub(super) use sockets::Stream;

/// How many connections wait in the kernel to be accepted: enough for a fleet that reconnects at
/// once; the kernel lowers it to its own bound.
const BACKLOG: u32 = 1024;

/// Bytes that the kernel keeps for a peer that has not taken them: 256 KiB, one round of chunks. What
/// is small waits behind them, and the kernel by itself goes up to megabytes; less would leave gaps
/// between one round and the next.
const SEND_BUFFER: u32 = 256 * 1024;

/// Opens connections to a port; a name is resolved each time, and all its addresses are tried in
/// turn.
pub(super) struct TcpConnector {
    at: HostPort,
    address: String,
    options: ConnectOptions,
}

impl TcpConnector {
    pub(super) fn new(at: &HostPort, options: &ConnectOptions) -> Result<Self, Error> {
        let address = format!("tcp://{at}");
        check_port(at, &address)?;
        clear::may_dial("tcp", at, options)?;
        Ok(Self {
            at: at.clone(),
            address,
            options: options.clone(),
        })
    }
}

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(&self) -> Result<Conduit, Error> {
        let candidates = resolve(&self.at, &self.address).await?;
        let candidates = clear::dialled("tcp", &self.at, candidates, &self.options)?;
        let (stream, at, is_local) = dial_any(candidates, &self.at)
            .await
            .map_err(|error| error.with_address(self.address.as_str()))?;
        Ok(conduit(stream, at, is_local))
    }

    fn address(&self) -> &str {
        &self.address
    }
}

/// Hands out the connections to a port.
pub(super) struct TcpListener {
    inner: sockets::Inner,
    address: String,
}

impl TcpListener {
    /// Listens at the first address of the host that allows it.
    pub(super) async fn bind(at: &HostPort, options: &ListenOptions) -> Result<Self, Error> {
        let candidates = resolve(at, &format!("tcp://{at}")).await?;
        let candidates = clear::listened("tcp", at, candidates, options)?;
        Self::bind_first("tcp", at, candidates)
    }

    /// The same for bytes that are no clear text.
    #[cfg(feature = "_tls")]
    pub(super) async fn bind_secure(at: &HostPort) -> Result<Self, Error> {
        let candidates = resolve(at, &format!("tls://{at}")).await?;
        Self::bind_first("tls", at, candidates)
    }

    fn bind_first(scheme: &str, at: &HostPort, candidates: Vec<SocketAddr>) -> Result<Self, Error> {
        let mut refusal = None;
        for candidate in candidates {
            match Self::bind_one(scheme, candidate) {
                Ok(listener) => return Ok(listener),
                Err(error) => refusal = Some(error),
            }
        }
        // A name that resolves to nothing was an error before.
        let refusal = refusal.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into());
        Err(port::bind_error(refusal, at, port::Family::Stream)
            .with_address(format!("{scheme}://{at}")))
    }

    fn bind_one(scheme: &str, at: SocketAddr) -> io::Result<Self> {
        let socket = socket(at)?;
        // So that a restarted server need not wait for its old connections to expire. On Windows
        // the option means another thing: to take the port from whoever has it.
        #[cfg(not(windows))]
        socket.set_reuseaddr(true)?;
        // What it accepts has it from there, which saves a system call for each.
        #[cfg(target_os = "linux")]
        let _ = socket.set_nodelay(true);
        socket.bind(at)?;
        let listener = socket.listen(BACKLOG)?;
        let address = format!("{scheme}://{}", HostPort::from(listener.local_addr()?));
        let inner = sockets::listener(listener)?;
        Ok(Self { inner, address })
    }

    /// The next connection, where it comes from, and whether that is this machine. Cancel safe.
    pub(super) async fn accept_stream(&mut self) -> io::Result<(Stream, SocketAddr, bool)> {
        // No further await: what was accepted must be returned.
        let (stream, at, own) = sockets::accept(&self.inner).await?;
        Ok((stream, at, is_here(at, own)))
    }
}

#[async_trait]
impl Listener for TcpListener {
    async fn accept(&mut self) -> io::Result<Conduit> {
        let (stream, at, is_local) = self.accept_stream().await?;
        Ok(conduit(stream, at, is_local))
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

/// A connection that another process accepted.
#[cfg(all(target_os = "linux", feature = "patterns"))]
pub(super) fn take_over(stream: std::net::TcpStream) -> io::Result<Conduit> {
    let at = stream.peer_addr()?;
    let own = stream.local_addr().ok();
    let stream = Stream::new(stream.into())?;
    Ok(conduit(stream, at, is_here(at, own)))
}

fn conduit(stream: Stream, at: SocketAddr, is_local: bool) -> Conduit {
    let peer = Peer::socket("tcp", at).with_local(is_local);
    Conduit::of_socket(stream, peer)
}

/// Whether `at`, to which a socket of the address `own` leads, is this machine.
fn is_here(at: SocketAddr, own: Option<SocketAddr>) -> bool {
    is_loopback(at) || own.is_some_and(|own| own.ip() == at.ip())
}

fn is_loopback(at: SocketAddr) -> bool {
    at.ip().to_canonical().is_loopback()
}

/// A socket for an address of this family. What a listener accepts has the buffers of its socket.
fn socket(at: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match at {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A wish, which the system need not grant.
    let _ = socket.set_send_buffer_size(SEND_BUFFER);
    Ok(socket)
}

/// The first connection that can be had, where it leads, and whether that is this machine.
pub(super) async fn dial_any(
    candidates: Vec<SocketAddr>,
    at: &HostPort,
) -> Result<(Stream, SocketAddr, bool), Error> {
    let mut failures = Vec::new();
    for candidate in candidates {
        match dial(candidate).await {
            Ok(dialled) => return Ok(dialled),
            Err(error) => failures.push((candidate, error)),
        }
    }
    Err(dial_error(failures, at))
}

async fn dial(at: SocketAddr) -> io::Result<(Stream, SocketAddr, bool)> {
    let (stream, at, own) = sockets::connect(at).await?;
    if own.is_some_and(|own| is_one_end(own, at)) {
        return Err(ErrorKind::ConnectionRefused.into());
    }
    Ok((stream, at, is_here(at, own)))
}

/// Whether both ends of a connection are one. With nobody listening, the kernel may choose the very
/// port that is dialled as our own; TCP then connects the socket to itself, and the real server could
/// not bind its port any more.
fn is_one_end(own: SocketAddr, peer: SocketAddr) -> bool {
    (own.ip(), own.port()) == (peer.ip(), peer.port())
}

/// One error for all the addresses that were tried. Where they failed in different ways, that
/// nobody listens says the most: that host at least was reached.
fn dial_error(failures: Vec<(SocketAddr, io::Error)>, at: &HostPort) -> Error {
    let one_by_one = match failures.len() {
        0 | 1 => String::new(),
        tried => {
            let mut text = format!("none of the {tried} addresses of `{}` answered", at.host());
            for (candidate, error) in &failures {
                let _ = write!(text, ", {candidate}: {}", explain(error).1);
            }
            text
        }
    };
    let decisive = failures
        .into_iter()
        .map(|(_, error)| error)
        .min_by_key(|error| explain(error).0 != Code::Refused)
        .unwrap_or_else(|| ErrorKind::AddrNotAvailable.into());
    let (code, what, hint) = explain(&decisive);
    let message = if one_by_one.is_empty() {
        what.to_owned()
    } else {
        one_by_one
    };
    Error::new(code, message)
        .with_hint(hint)
        .with_source(decisive)
}

/// Kind, sentence and hint for a failed attempt to connect.
fn explain(error: &io::Error) -> (Code, &'static str, &'static str) {
    match error.kind() {
        ErrorKind::ConnectionRefused => (
            Code::Refused,
            "nothing listens there",
            "start the service, or check host and port",
        ),
        ErrorKind::TimedOut => (
            Code::Unreachable,
            "the host did not answer",
            "check that it runs, and that no firewall drops the packets",
        ),
        ErrorKind::HostUnreachable => (
            Code::Unreachable,
            "there is no way to the host",
            "check the address and the network",
        ),
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => (
            Code::Unreachable,
            "there is no way to the network of the host",
            "check this machine's network and routes",
        ),
        ErrorKind::PermissionDenied => (
            Code::Denied,
            "this system forbids the connection",
            "check the firewall and the sandbox of this process",
        ),
        ErrorKind::AddrNotAvailable => (
            Code::Io,
            "this machine has no free port left for the connection",
            "keep connections instead of opening one for each call",
        ),
        _ if is_out_of_descriptors(error) => (
            Code::Io,
            "this process has no file descriptor left",
            "raise the limit (ulimit -n), or open fewer connections",
        ),
        _ => (Code::Io, "the system could not connect", "see the cause"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Address;

    fn at(text: &str) -> HostPort {
        HostPort::from(text.parse::<SocketAddr>().unwrap())
    }

    #[tokio::test]
    async fn a_taken_port_says_how_to_find_its_holder() {
        let listener = TcpListener::bind(&at("127.0.0.1:0"), &ListenOptions::new())
            .await
            .unwrap();
        let Ok(Address::Tcp(here)) = listener.address.parse() else {
            panic!("{}", listener.address);
        };
        let port = here.port();
        let error = TcpListener::bind(&at(&format!("127.0.0.1:{port}")), &ListenOptions::new())
            .await
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::InUse);
        let text = error.to_string();
        assert!(
            text.contains(&format!("port {port} is taken; see who holds it with")),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_restarted_server_gets_its_port_back_at_once() {
        let mut listener = TcpListener::bind(&at("127.0.0.1:0"), &ListenOptions::new())
            .await
            .unwrap();
        let Ok(Address::Tcp(here)) = listener.address.parse() else {
            panic!("{}", listener.address);
        };
        let connector = TcpConnector::new(&here, &ConnectOptions::new()).unwrap();
        let (client, server) = tokio::join!(connector.connect(), listener.accept());
        // The side that closes first keeps the port in TIME_WAIT.
        drop(server.unwrap());
        drop(client.unwrap());
        drop(listener);
        TcpListener::bind(&here, &ListenOptions::new())
            .await
            .unwrap();
    }

    #[tokio::test]
    #[cfg(all(target_os = "linux", feature = "unix"))]
    async fn neither_end_waits_for_acknowledgements() {
        use rustix::net::sockopt::{socket_send_buffer_size, tcp_nodelay};
        use tokio::io::AsyncWriteExt as _;

        let mut listener = TcpListener::bind(&at("127.0.0.1:0"), &ListenOptions::new())
            .await
            .unwrap();
        let Ok(Address::Tcp(here)) = listener.address.parse() else {
            panic!("{}", listener.address);
        };
        let here = vec![here.to_string().parse().unwrap()];
        let at = at("127.0.0.1:1");
        let speak = async {
            let (mut stream, peer, is_local) = dial_any(here, &at).await.unwrap();
            // From the second write on it matters.
            stream.write_all(b"one").await.unwrap();
            stream.write_all(b"two").await.unwrap();
            Ok::<_, Error>((stream, peer, is_local))
        };
        let (client, server) = tokio::join!(speak, listener.accept_stream());
        for (stream, peer, is_local) in [client.unwrap(), server.unwrap()] {
            let socket = stream.descriptor().unwrap();
            assert!(tcp_nodelay(socket).unwrap());
            // The system says twice what it was asked for.
            let buffer = socket_send_buffer_size(socket).unwrap();
            assert!(buffer <= 2 * SEND_BUFFER as usize, "{buffer}");
            assert!(is_local && peer.ip().is_loopback(), "{peer}");
        }
    }

    #[tokio::test]
    async fn a_foreign_address_cannot_be_listened_on() {
        let error = TcpListener::bind(&at("192.0.2.1:0"), &ListenOptions::new().insecure())
            .await
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::Io);
        assert!(
            error
                .to_string()
                .contains("`192.0.2.1` is no address of this machine"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn port_zero_is_for_listeners() {
        let error = TcpConnector::new(&at("127.0.0.1:0"), &ConnectOptions::new())
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::InvalidAddress);
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_named() {
        // A part of more than 63 bytes is refused by the resolver itself, without asking anybody.
        let name = "a".repeat(64);
        let connector = TcpConnector::new(
            &HostPort::parse(&format!("{name}:80")).unwrap(),
            &ConnectOptions::new(),
        )
        .unwrap();
        let error = connector.connect().await.unwrap_err();
        assert_eq!(error.code(), Code::Unreachable);
        assert!(
            error
                .to_string()
                .contains(&format!("`{name}` does not resolve")),
            "{error}"
        );
    }

    #[test]
    fn several_failures_are_told_one_by_one_and_refusal_decides() {
        let failures = vec![
            (
                "[::1]:80".parse().unwrap(),
                ErrorKind::NetworkUnreachable.into(),
            ),
            (
                "127.0.0.1:80".parse().unwrap(),
                ErrorKind::ConnectionRefused.into(),
            ),
        ];
        let error = dial_error(failures, &at("127.0.0.1:80"));
        assert_eq!(error.code(), Code::Refused);
        assert_eq!(
            error.message(),
            "none of the 2 addresses of `127.0.0.1` answered, [::1]:80: there is no way to the \
             network of the host, 127.0.0.1:80: nothing listens there"
        );
    }

    #[test]
    fn each_cause_has_its_own_words() {
        let kinds = [
            ErrorKind::ConnectionRefused,
            ErrorKind::TimedOut,
            ErrorKind::HostUnreachable,
            ErrorKind::NetworkUnreachable,
            ErrorKind::PermissionDenied,
            ErrorKind::AddrNotAvailable,
            ErrorKind::Other,
        ];
        let sentences: std::collections::HashSet<_> =
            kinds.iter().map(|&kind| explain(&kind.into()).1).collect();
        assert_eq!(sentences.len(), kinds.len());
    }

    #[tokio::test]
    async fn a_socket_connected_to_itself_is_noticed() {
        // Dialling from the very port that is dialled is what the kernel does by chance.
        let own = TcpSocket::new_v4().unwrap();
        own.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let here = own.local_addr().unwrap();
        let stream = own.connect(here).await.unwrap();
        assert!(is_one_end(here, stream.peer_addr().unwrap()));
    }
}
