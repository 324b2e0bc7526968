//! Transports: how bytes travel between two processes.
//!
//! One file per transport, and one for [`Address`], the text that chooses among them. This module
//! knows bytes and who is at the other end; of frames, calls and services it knows nothing.
//!
//! A transport of your own is an implementation of [`Connector`] on the calling side and of
//! [`Listener`] on the serving side; both hand out [`Conduit`]s. The contract stands on the three.

mod accept;
mod address;
mod clear;
#[cfg(feature = "udp")]
mod datagrams;
#[cfg(all(unix, feature = "pipes"))]
mod duplex;
#[cfg(all(unix, feature = "pipes"))]
mod exec;
mod expect;
#[cfg(all(target_os = "linux", feature = "pipes"))]
mod fifo;
#[cfg(all(target_os = "linux", feature = "patterns"))]
mod handover;
mod identity;
#[cfg(feature = "memory")]
mod memory;
mod options;
mod peer;
#[cfg(all(unix, feature = "pipes"))]
pub(crate) mod pipe;
mod port;
mod restart;
#[cfg(all(target_os = "linux", feature = "unix"))]
mod socket;
#[cfg(all(target_os = "linux", feature = "unix"))]
mod sockopt;
mod tcp;
#[cfg(feature = "_tls")]
mod tls;
#[cfg(feature = "udp")]
mod udp;
#[cfg(all(unix, feature = "unix"))]
mod unix;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::fmt;
use std::io;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::{Code, Error};

pub use accept::{AcceptBackoff, AcceptFault};
pub use address::{Address, HostPort, IntoAddress, UNIX_PATH_MAX};
#[cfg(feature = "udp")]
pub use datagrams::{Datagrams, Examined, Gate};
#[cfg(all(target_os = "linux", feature = "patterns"))]
pub(crate) use fifo::Letter;
#[cfg(all(target_os = "linux", feature = "patterns"))]
pub(crate) use handover::{Handover, Passage};
pub use identity::{Certificate, Identity};
pub use options::{ConnectOptions, ListenOptions};
pub use peer::Peer;
pub use restart::Restart;
#[cfg(feature = "_tls")]
pub use tls::{ClientTls, ServerTls};

/// Starts a task of a transport. All of them are one type to the runtime, whose code for a task is
/// large and compiled once for each type.
#[cfg(any(feature = "udp", feature = "pipes"))]
fn spawn(task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(task)
}

/// A stream of bytes in both directions; implemented by everything that is one.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// This stream as what it is.
    #[doc(hidden)]
    fn as_any(&self) -> &dyn Any;
}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// An open connection: a stream of bytes each way, and who is at the other end.
///
/// What the layers above rely on, and what a transport of your own must therefore keep:
///
/// - **Order and integrity.** Bytes arrive in the order in which they were written, each of them
///   once, none changed. How they are cut into reads means nothing.
/// - **End of file.** A read of zero bytes means that the peer will never send again: it shut its
///   side down, dropped the conduit, or died. Everything written before arrives first, unless the
///   connection broke; then a read may fail with an error instead.
/// - **Half close.** `poll_shutdown` ends this side's direction alone; reading goes on.
/// - **Dropping** closes both directions at once and never blocks. Bytes that were not flushed may
///   be lost.
/// - **Backpressure.** While the peer does not read, writes become pending after a bounded amount.
/// - **Flush** may be a no-op, but after it nothing waits in a buffer of this process.
/// - **Errors** that say more than the system's carry an [`Error`] inside of the [`io::Error`]; it is
///   what the calls on the connection end with. One of [`Code::Refused`] says that nobody has taken
///   the connection and nobody will, so that none of the calls has run.
///
/// A transport that offers vectored writes should say so through `is_write_vectored`: the driver
/// then hands over everything that is ready in one call.
///
/// A conduit of [`Datagrams`] keeps none of this: each datagram stands for itself, and the driver
/// brings what is missing, by another protocol.
#[non_exhaustive]
pub struct Conduit {
    /// The bytes. Of a conduit of datagrams there are none: it reads as at its end.
    pub io: Box<dyn Io>,
    /// Who is at the other end.
    pub peer: Peer,
    /// What it is made of, if that is not a stream.
    #[cfg(feature = "udp")]
    pub(crate) datagrams: Option<Box<dyn Datagrams>>,
    /// Why the peer may not connect, if it may not.
    pub(crate) refusal: Option<&'static str>,
    /// It goes by events that the runtime has from the system, so that there are such.
    pub(crate) has_events: bool,
}

impl Conduit {
    /// A connection over `io` to `peer`.
    pub fn new(io: impl Io, peer: Peer) -> Self {
        Self {
            io: Box::new(io),
            peer,
            #[cfg(feature = "udp")]
            datagrams: None,
            refusal: None,
            has_events: false,
        }
    }

    /// A connection to `peer` over a socket of the runtime's.
    pub(crate) fn of_socket(io: impl Io, peer: Peer) -> Self {
        Self {
            has_events: true,
            ..Self::new(io, peer)
        }
    }

    /// Calls to or from `peer` by single datagrams.
    #[cfg(feature = "udp")]
    pub fn of_datagrams(datagrams: impl Datagrams, peer: Peer) -> Self {
        Self {
            io: Box::new(tokio::io::empty()),
            peer,
            datagrams: Some(Box::new(datagrams)),
            refusal: None,
            has_events: false,
        }
    }

    /// The same connection, of a peer that may not connect: a server answers its hello with a refusal
    /// ([`Code::Denied`]) that says why, and none of the calls that came with it runs.
    #[must_use]
    pub fn refused(mut self, why: &'static str) -> Self {
        self.refusal = Some(why);
        self
    }
}

impl fmt::Debug for Conduit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conduit")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// The calling side of a transport: opens connections to one place, one for each call of
/// [`connect`](Self::connect).
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Opens a new connection.
    ///
    /// It has no time limit of its own: the caller sets one and drops the future when it is over.
    /// Cancel safe: a dropped future leaves no connection behind.
    ///
    /// # Errors
    ///
    /// [`Code::Refused`] where nothing listens, [`Code::Unreachable`] where the place cannot be
    /// reached, [`Code::Denied`] where the system forbids it; nothing was sent, so the error says
    /// [`Executed::No`](crate::Executed::No).
    async fn connect(&self) -> Result<Conduit, Error>;

    /// Where it connects to, for people and in errors.
    fn address(&self) -> &str;

    /// Whether the server may still refuse who this side is, or not be there at all, when
    /// [`connect`](Self::connect) has returned. Then no call is sent before it has answered, at the price of one way there and back
    /// for each connection.
    fn awaits_answer(&self) -> bool {
        false
    }

    /// Why it never will connect again, if that is so: calls then fail at once, without a wait for
    /// another attempt. By default there is always another attempt.
    fn spent(&self) -> Option<Error> {
        None
    }

    /// Whether a call that was made and not sent yet may go over a later connection as well, when the
    /// last clone of its client is dropped in between. By default it may, as where a connection is
    /// lost; not where the other end lives no longer than its connection. Where it may, this may be
    /// dropped some calls later than the client.
    fn is_lasting(&self) -> bool {
        true
    }
}

/// A connector to the child that `command` starts, as `exec:` has it.
#[cfg(all(unix, feature = "pipes"))]
pub(crate) fn to_child(
    command: std::process::Command,
    options: &ConnectOptions,
) -> Box<dyn Connector> {
    Box::new(exec::ExecConnector::new(command, options))
}

/// The first byte of a connection of this framework. It stands in no text, UTF-8 or otherwise, so
/// what a program prints before it speaks is told from what it says.
#[cfg(all(unix, feature = "pipes"))]
pub(crate) const FIRST_BYTE: u8 = 0xf8;

/// The serving side of a transport: hands out the connections that clients open.
#[async_trait]
pub trait Listener: Send + 'static {
    /// Waits for the next connection.
    ///
    /// Must be cancel safe: the server drops the future whenever something else happens, and a
    /// connection that was not returned must be there for the next call. It must not wait for
    /// bytes of the peer either, or one silent client would keep out all the others; the system may
    /// bring a client with its first bytes, and a silent one a second later, as it does for `tcp://` on
    /// Linux with the feature `unix`.
    ///
    /// # Errors
    ///
    /// Whatever the system says. The server goes on after an error as [`AcceptFault`] classifies
    /// it, so an implementation should keep the error's kind or number.
    async fn accept(&mut self) -> io::Result<Conduit>;

    /// Sends further clients away until [`resume`](Self::resume), so that they wait outside and come
    /// again by themselves: for a server that speaks with one client at a time. Who was accepted
    /// before is not concerned. Whether it did; most transports cannot, and need not, because what
    /// they have accepted can wait as well.
    fn suspend(&mut self) -> bool {
        false
    }

    /// Leaves it to other processes to open the connections that are accepted from now on, where the
    /// transport can: for a server that hands its clients over. Sockets need nothing of the kind.
    #[doc(hidden)]
    fn defer(&mut self) {}

    /// Lets clients come again, after [`suspend`](Self::suspend). Cancel safe.
    ///
    /// # Errors
    ///
    /// Whatever the system says. The server tries again after a pause, as after an error of
    /// [`accept`](Self::accept).
    async fn resume(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Sets who tells clients from strangers, for a listener of [`Datagrams`], which lets nobody in
    /// before. Others do nothing: their transport tells by itself.
    #[cfg(feature = "udp")]
    fn guard(&mut self, gate: Box<dyn Gate>) {
        drop(gate);
    }

    /// The address under which clients reach the listener, with a chosen port filled in.
    fn address(&self) -> String;

    /// Who clients find there, in the words of [`Identity::is`]. It is registered beside the address,
    /// and clients that discover it refuse anybody else.
    fn identity(&self) -> Option<String> {
        None
    }
}

impl Address {
    /// Prepares connections to the address; nothing is dialled yet.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidAddress`] if this version cannot connect there, or if the address names a
    /// service and not a place (`mm:`); [`Code::Insecure`] for clear text to another host that the
    /// options do not allow. Where the host is a name, that comes out of
    /// [`connect`](Connector::connect).
    pub fn connector(&self, options: &ConnectOptions) -> Result<Box<dyn Connector>, Error> {
        let guarded = options.guard(self.plain_connector(options)?);
        guarded.map_err(|error| error.with_address(self.to_string()))
    }

    /// The same, whoever is at the other end.
    fn plain_connector(&self, options: &ConnectOptions) -> Result<Box<dyn Connector>, Error> {
        match self {
            Self::Tcp(at) => Ok(Box::new(tcp::TcpConnector::new(at, options)?)),
            #[cfg(feature = "_tls")]
            Self::Tls(at) => Ok(Box::new(tls::TlsConnector::new(at, options)?)),
            #[cfg(feature = "udp")]
            Self::Udp(at) => Ok(Box::new(udp::UdpConnector::new(at, options)?)),
            #[cfg(all(unix, feature = "unix"))]
            Self::Unix { .. } | Self::UnixAbstract { .. } => {
                Ok(Box::new(unix::UnixConnector::new(self)?))
            }
            #[cfg(all(target_os = "linux", feature = "pipes"))]
            Self::Fifo { path } => Ok(Box::new(fifo::FifoConnector::new(path))),
            #[cfg(all(unix, feature = "pipes"))]
            Self::Pipe => Ok(Box::new(pipe::PipeConnector)),
            #[cfg(all(unix, feature = "pipes"))]
            Self::Exec { command } => {
                Ok(Box::new(exec::ExecConnector::for_line(command, options)?))
            }
            #[cfg(feature = "memory")]
            Self::Memory { name } => Ok(Box::new(memory::MemoryConnector::new(name))),
            _ => Err(self.unsupported("connect to")),
        }
    }

    /// Listens at the address. Must run within a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Code::InUse`] if somebody listens there already, [`Code::Denied`] if the system forbids
    /// it, [`Code::Insecure`] for clear text that other hosts reach and the options do not allow,
    /// [`Code::InvalidAddress`] if this version cannot listen there, [`Code::Io`] for the rest.
    pub async fn listen(&self, options: &ListenOptions) -> Result<Box<dyn Listener>, Error> {
        match self {
            Self::Tcp(at) => Ok(Box::new(tcp::TcpListener::bind(at, options).await?)),
            #[cfg(feature = "_tls")]
            Self::Tls(at) => Ok(Box::new(tls::TlsListener::bind(at, options).await?)),
            #[cfg(feature = "udp")]
            Self::Udp(at) => Ok(Box::new(udp::UdpListener::bind(at, options).await?)),
            #[cfg(all(unix, feature = "unix"))]
            Self::Unix { path } => Ok(Box::new(unix::UnixListener::bind(path, options).await?)),
            #[cfg(all(unix, feature = "unix"))]
            Self::UnixAbstract { name } => {
                Ok(Box::new(unix::UnixListener::bind_abstract(name, options)?))
            }
            #[cfg(all(target_os = "linux", feature = "pipes"))]
            Self::Fifo { path } => Ok(Box::new(fifo::FifoListener::bind(path, options).await?)),
            #[cfg(all(unix, feature = "pipes"))]
            Self::Pipe => Ok(Box::new(pipe::PipeListener::inherit(())?)),
            #[cfg(feature = "memory")]
            Self::Memory { name } => Ok(Box::new(memory::MemoryListener::bind(name)?)),
            _ => Err(self.unsupported("listen on")),
        }
    }

    /// Whether what a listener there accepts can be handed over to another process.
    pub(crate) fn can_be_handed_over(&self) -> bool {
        matches!(
            self,
            Self::Tcp(_) | Self::Unix { .. } | Self::UnixAbstract { .. } | Self::Fifo { .. }
        )
    }

    /// The feature of this crate that the address needs and that this program was built without.
    fn missing_feature(&self) -> Option<&'static str> {
        let (feature, is_on) = match self {
            Self::Tcp(_) => return None,
            Self::Tls(_) => ("tls", cfg!(feature = "_tls")),
            Self::Udp(_) => ("udp", cfg!(feature = "udp")),
            Self::Unix { .. } | Self::UnixAbstract { .. } => ("unix", cfg!(feature = "unix")),
            Self::Fifo { .. } | Self::Pipe | Self::Exec { .. } => {
                ("pipes", cfg!(feature = "pipes"))
            }
            Self::Memory { .. } => ("memory", cfg!(feature = "memory")),
            Self::Matchmaker { .. } => ("discovery", cfg!(feature = "discovery")),
        };
        (!is_on).then_some(feature)
    }

    /// Why nobody can `verb` the address in this program.
    pub(crate) fn unsupported(&self, verb: &str) -> Error {
        let scheme = self.scheme();
        let article = if matches!(self, Self::Matchmaker { .. } | Self::Exec { .. }) {
            "an"
        } else {
            "a"
        };
        let refusal = |why: &str| {
            let text = format!("cannot {verb} {article} {scheme}: address: {why}");
            Error::new(Code::InvalidAddress, text)
        };
        let error = match (self.missing_feature(), self) {
            (Some(feature), _) => refusal(&format!("this program was built without `{feature}`"))
                .with_hint(format!("enable the feature `{feature}` of rpc-core")),
            (None, Self::Matchmaker { .. }) => refusal("it names a service and not a place")
                .with_hint(
                    "ask the matchmaker where the service is, or write the service's address",
                ),
            (None, Self::Exec { .. }) if cfg!(unix) => refusal("it starts a program").with_hint(
                "the program that is started listens on `pipe:`, or calls `serve_stdio`",
            ),
            (None, _) => refusal("this system has no such thing").with_hint(if cfg!(unix) {
                "use tcp://, udp://, unix:, pipe:, exec: or memory:"
            } else {
                "use tcp://, udp:// or memory:"
            }),
        };
        error.with_address(self.to_string())
    }
}
