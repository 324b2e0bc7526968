//! `udp://host:port`: datagrams, each a small message of its own.

mod crowd;

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use self::crowd::{Crowd, Place};
use super::accept::is_out_of_descriptors;
use super::port::{self, check_port, resolve};
use super::{
    Conduit, ConnectOptions, Connector, Datagrams, Gate, HostPort, ListenOptions, Listener, Peer,
    clear, spawn,
};
use crate::error::{Code, Error};

/// Room for what a read brings. Nobody who speaks our protocol sends a datagram of this length, and
/// the system cuts off what is longer, so one that fills the room is none of ours.
const ROOM: usize = 2048;

/// Makes connected sockets, one for each client. A name is resolved each time; of several addresses
/// each attempt takes the next, because only an answer tells whether somebody is there.
pub(super) struct UdpConnector {
    at: HostPort,
    address: String,
    options: ConnectOptions,
    attempts: AtomicUsize,
}

impl UdpConnector {
    pub(super) fn new(at: &HostPort, options: &ConnectOptions) -> Result<Self, Error> {
        let address = format!("udp://{at}");
        check_port(at, &address)?;
        clear::may_dial("udp", at, options)?;
        Ok(Self {
            at: at.clone(),
            address,
            options: options.clone(),
            attempts: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Connector for UdpConnector {
    async fn connect(&self) -> Result<Conduit, Error> {
        let candidates = resolve(&self.at, &self.address).await?;
        let candidates = clear::dialled("udp", &self.at, candidates, &self.options)?;
        let attempt = self.attempts.fetch_add(1, Ordering::Relaxed);
        let chosen = attempt.checked_rem(candidates.len()).unwrap_or_default();
        // A name that resolves to nothing was an error before.
        let refused = || ErrorKind::AddrNotAvailable.into();
        let to = candidates.get(chosen).copied().ok_or_else(refused);
        let dialled = match to {
            Ok(to) => dial(to).await,
            Err(error) => Err(error),
        };
        dialled.map_err(|error| dial_error(error).with_address(self.address.as_str()))
    }

    fn address(&self) -> &str {
        &self.address
    }

    /// Nobody knows whether datagrams arrive anywhere before one has come back.
    fn awaits_answer(&self) -> bool {
        true
    }
}

async fn dial(to: SocketAddr) -> io::Result<Conduit> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(to).await?;
    // Before the system has said so once, sending counts as having no room.
    socket.writable().await?;
    let to = socket.peer_addr().unwrap_or(to);
    let own = socket.local_addr().ok();
    let is_local = is_loopback(to) || own.is_some_and(|own| own.ip() == to.ip());
    let peer = Peer::socket("udp", to).with_local(is_local);
    let dialled = Dialled {
        socket,
        room: vec![0; ROOM],
    };
    Ok(Conduit::of_datagrams(dialled, peer))
}

/// A socket that is connected to a server.
struct Dialled {
    socket: UdpSocket,
    room: Vec<u8>,
}

impl Datagrams for Dialled {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            let mut buffer = ReadBuf::new(&mut self.room);
            ready!(self.socket.poll_recv(cx, &mut buffer))?;
            if buffer.remaining() > 0 {
                return Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())));
            }
        }
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        lost_is_sent(self.socket.try_send(datagram))
    }
}

/// What the system has no room for is lost like any other datagram.
fn lost_is_sent(sent: io::Result<usize>) -> io::Result<()> {
    match sent {
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        _ => Ok(()),
    }
}

/// One socket for all clients. What comes is sorted by a task of its own, which lives as long as the
/// listener or any client: those who are there go on when nobody new is let in.
pub(super) struct UdpListener {
    socket: Arc<Socket>,
    /// Until somebody says who may come in.
    idle: Option<(mpsc::Sender<Conduit>, oneshot::Receiver<()>)>,
    incoming: mpsc::Receiver<Conduit>,
    address: String,
}

/// The socket of a listener and of all its clients; closed with the last of them.
struct Socket {
    inner: UdpSocket,
    /// The listeners of this socket: one, or none any more.
    listeners: AtomicUsize,
    /// Bytes that wait for clients to take them.
    waiting: AtomicUsize,
    /// Told when this is dropped.
    _gone: oneshot::Sender<()>,
}

impl UdpListener {
    /// Clients that are let in and not taken over: as many as connections in the kernel's queue of a
    /// stream socket. Those beyond come again by themselves.
    const BACKLOG: usize = 128;

    /// Listens at the first address of the host that allows it.
    pub(super) async fn bind(at: &HostPort, options: &ListenOptions) -> Result<Self, Error> {
        let address = format!("udp://{at}");
        let mut refusal = None;
        let candidates = resolve(at, &address).await?;
        for candidate in clear::listened("udp", at, candidates, options)? {
            match Self::bind_one(candidate).await {
                Ok(listener) => return Ok(listener),
                Err(error) => refusal = Some(error),
            }
        }
        // A name that resolves to nothing was an error before.
        let refusal = refusal.unwrap_or_else(|| ErrorKind::AddrNotAvailable.into());
        Err(port::bind_error(refusal, at, port::Family::Datagram).with_address(address))
    }

    async fn bind_one(at: SocketAddr) -> io::Result<Self> {
        // Never with the option to share the port: on datagrams it means to take it from others.
        let inner = UdpSocket::bind(at).await?;
        inner.writable().await?;
        let address = format!("udp://{}", HostPort::from(inner.local_addr()?));
        let (sender, incoming) = mpsc::channel(Self::BACKLOG);
        let (_gone, gone) = oneshot::channel();
        let socket = Arc::new(Socket {
            inner,
            listeners: AtomicUsize::new(1),
            waiting: AtomicUsize::new(0),
            _gone,
        });
        Ok(Self {
            socket,
            idle: Some((sender, gone)),
            incoming,
            address,
        })
    }
}

#[async_trait]
impl Listener for UdpListener {
    async fn accept(&mut self) -> io::Result<Conduit> {
        match self.incoming.recv().await {
            Some(conduit) => Ok(conduit),
            // The runtime has dropped the task that sorts.
            None => Err(ErrorKind::NotConnected.into()),
        }
    }

    fn guard(&mut self, gate: Box<dyn Gate>) {
        if let Some((sender, gone)) = self.idle.take() {
            let crowd = Crowd::new(Arc::downgrade(&self.socket), gate, sender);
            spawn(Box::pin(crowd.run(gone)));
        }
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for UdpListener {
    fn drop(&mut self) {
        self.socket.listeners.store(0, Ordering::Relaxed);
    }
}

/// One client of a listener.
struct Accepted {
    socket: Arc<Socket>,
    to: SocketAddr,
    queue: mpsc::Receiver<Place>,
}

impl Datagrams for Accepted {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        Poll::Ready(match ready!(self.queue.poll_recv(cx)) {
            Some(place) => Ok(place.take()),
            None => Err(ErrorKind::UnexpectedEof.into()),
        })
    }

    fn send(&mut self, datagram: &[u8]) -> io::Result<()> {
        lost_is_sent(self.socket.inner.try_send_to(datagram, self.to))
    }
}

fn is_loopback(at: SocketAddr) -> bool {
    at.ip().to_canonical().is_loopback()
}

fn dial_error(error: io::Error) -> Error {
    let described = match error.kind() {
        ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown | ErrorKind::HostUnreachable => {
            Error::new(Code::Unreachable, "there is no way to the host")
                .with_hint("check the address, and this machine's network and routes")
        }
        ErrorKind::PermissionDenied => {
            Error::new(Code::Denied, "this system forbids the connection")
                .with_hint("check the firewall and the sandbox of this process")
        }
        _ if is_out_of_descriptors(&error) => {
            Error::new(Code::Io, "this process has no file descriptor left")
                .with_hint("raise the limit (ulimit -n), or open fewer connections")
        }
        _ => Error::new(Code::Io, "the system could not make a socket for it")
            .with_hint("see the cause"),
    };
    described.with_source(error)
}

#[cfg(test)]
mod tests;
