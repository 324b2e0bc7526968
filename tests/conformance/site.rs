//! A place of one transport: where a server listens and how clients get there.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
#[cfg(target_os = "linux")]
use rpc_core::server::Forking;
use rpc_core::server::Iterative;
use rpc_core::transport::{Conduit, Connector, Listener, Peer, Restart};
use rpc_core::{Channel, ChannelBuilder, ClientTls, Code, Error, Server, ServerBuilder, ServerTls};
use rustix::pipe::{PipeFlags, pipe_with};
use support::certs::{Authority, as_it_is};
use tokio::sync::mpsc;

use super::service::{FormsServer, Log, Mirror, WorkClient, WorkServer, Worker};
#[cfg(target_os = "linux")]
use super::{central, elsewhere};

/// The transports that this version has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Tls,
    UnixPath,
    UnixAbstract,
    Fifo,
    Memory,
    /// Two unnamed pipes for each connection, as `pipe:` has them. Both ends are in this process, so
    /// that a test sees what its handlers leave.
    Pipe,
    /// A child for each connection, which passes all on to the server in this process.
    Exec,
    Udp,
    /// Not one of the crate's: the one in this file.
    Custom,
}

/// The patterns of servers that this version has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Concurrent,
    Iterative,
    /// With this very program as its subservers: each runs the same case up to the server.
    #[cfg(target_os = "linux")]
    Forking,
    /// With this very program as its subservers, for their types.
    #[cfg(target_os = "linux")]
    CentralDispatch,
}

/// One place, of its own for each test.
pub(crate) struct Site {
    transport: Transport,
    pattern: Pattern,
    /// The test that it is for, and which of its sites: the same in a process that serves for it.
    case: String,
    name: String,
    /// Where the first server listened; the next one at this site listens there again.
    address: Mutex<Option<String>>,
    custom: Arc<Exchange>,
}

impl Site {
    pub(crate) fn new(transport: Transport, case: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            transport,
            pattern: Pattern::Concurrent,
            case: case.to_owned(),
            name: format!("conformance-{}-{number}", std::process::id()),
            address: Mutex::default(),
            custom: Arc::new(Exchange::new(transport)),
        }
    }

    /// The same place, for servers of this pattern.
    pub(crate) fn with(mut self, pattern: Pattern) -> Self {
        self.pattern = pattern;
        self
    }

    /// Another place of the same kind.
    pub(crate) fn another(&self) -> Self {
        Self::new(self.transport, &format!("{}{ANOTHER}", self.case)).with(self.pattern)
    }

    pub(crate) fn pattern(&self) -> Pattern {
        self.pattern
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether the server knows how many calls run.
    pub(crate) fn counts_calls(&self) -> bool {
        matches!(self.pattern, Pattern::Concurrent | Pattern::Iterative)
    }

    /// Starts what was built, at this place.
    pub(crate) async fn start(&self, builder: ServerBuilder) -> Server {
        self.try_start(builder).await.expect("the server starts")
    }

    async fn try_start(&self, builder: ServerBuilder) -> Result<Server, Error> {
        let before = self.address();
        let builder = match self.pattern {
            Pattern::Concurrent => builder,
            Pattern::Iterative => builder.pattern(Iterative::new()),
            #[cfg(target_os = "linux")]
            Pattern::Forking => {
                let pattern = Forking::new().command(elsewhere::same_case(&self.case));
                builder.pattern(pattern.subservers_max(SUBSERVERS_MAX))
            }
            #[cfg(target_os = "linux")]
            Pattern::CentralDispatch => builder.pattern(central::pattern()),
        };
        let builder = match self.transport {
            Transport::Custom | Transport::Pipe => builder.listen_on(self.custom.listener()),
            Transport::Tls => builder
                .listen(before.unwrap_or_else(|| self.wish()))
                .tls(CERTIFICATES.server.clone()),
            _ => builder.listen(before.unwrap_or_else(|| self.wish())),
        };
        let server = builder.start().await?;
        let address = server.addresses().first().cloned();
        #[cfg(target_os = "linux")]
        let address = elsewhere::meet(&self.case, address);
        *self.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
        Ok(server)
    }

    /// A server with [`Forms`] and [`Work`](super::service::Work), and what its handlers leave.
    pub(crate) async fn serve(&self) -> (Server, Arc<Log>) {
        let begin = Instant::now();
        loop {
            let (worker, log) = Worker::new();
            let builder = Server::builder()
                .service(WorkServer::new(worker))
                .service(FormsServer::new(Mirror));
            match self.try_start(builder).await {
                Ok(server) => return (server, log),
                // A port that was free for a moment is another test's, for another.
                Err(error) if error.code() == Code::InUse && begin.elapsed() < IN_USE_MAX => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("the server does not start: {error}"),
            }
        }
    }

    pub(crate) fn channel(&self) -> ChannelBuilder {
        match self.transport {
            Transport::Custom | Transport::Pipe => {
                Channel::builder_over(CustomConnector(Arc::clone(&self.custom)))
            }
            Transport::Exec => {
                let relay = env!("CARGO_BIN_EXE_test-plugin");
                let address = format!("exec:'{relay}' relay '{}'", self.socket());
                Channel::builder(address).restart(Restart::always().attempts(u32::MAX))
            }
            Transport::Tls => Channel::builder(self.address().unwrap_or_else(|| self.wish()))
                .tls(CERTIFICATES.client.clone()),
            _ => Channel::builder(self.address().unwrap_or_else(|| self.wish())),
        }
    }

    pub(crate) async fn client(&self) -> WorkClient {
        WorkClient::new(self.channel().connect().await.expect("the client connects"))
    }

    fn address(&self) -> Option<String> {
        let address = self.address.lock();
        address.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn socket(&self) -> String {
        format!("{}/{}.sock", std::env::temp_dir().display(), self.name)
    }

    fn wish(&self) -> String {
        let name = &self.name;
        match self.transport {
            // Port 1 of the loopback device has no listener; a server asks for a free port.
            Transport::Tcp => "tcp://127.0.0.1:0".into(),
            Transport::Tls => "tls://127.0.0.1:0".into(),
            Transport::UnixPath | Transport::Exec => format!("unix:{}", self.socket()),
            Transport::Udp => "udp://127.0.0.1:0".into(),
            Transport::UnixAbstract => format!("unix:@{name}"),
            Transport::Fifo => format!("fifo:{}/{name}.wkp", std::env::temp_dir().display()),
            Transport::Memory => format!("memory:{name}"),
            Transport::Custom | Transport::Pipe => "custom".into(),
        }
    }
}

/// Both sides of `tls://`, each with a certificate that the other believes.
struct Certificates {
    server: ServerTls,
    client: ClientTls,
}

static CERTIFICATES: LazyLock<Certificates> = LazyLock::new(|| {
    let authority = Authority::new("conformance");
    let server = authority.server(&["127.0.0.1"], as_it_is);
    let client = authority.workload("spiffe://tests/client", as_it_is);
    let both = || -> Result<Certificates, Error> {
        Ok(Certificates {
            server: ServerTls::from_pem(server.chain, server.key)?.client_ca(authority.pem())?,
            client: ClientTls::new()
                .ca(authority.pem())?
                .own(client.chain, client.key)?,
        })
    };
    both().expect("the certificates are good")
});

/// Marks further sites of one case.
pub(super) const ANOTHER: char = '+';

/// How long another test may have the place of a server that is to come back. Only the system's
/// ports are ever anybody else's.
const IN_USE_MAX: Duration = Duration::from_secs(20);

/// More than the clients of any case.
#[cfg(target_os = "linux")]
const SUBSERVERS_MAX: usize = 256;

/// Checks until it holds; the time is far more than it takes.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..4000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("did not come about in 20 s: {what}");
}

/// Where the ends of the custom transport meet.
pub(crate) struct Exchange {
    listener: Mutex<Option<mpsc::Sender<Conduit>>>,
    wire: fn() -> (Conduit, Conduit),
}

impl Exchange {
    /// Smaller than a frame may be, so that every larger one crosses in pieces.
    const BUFFER: usize = 1000;

    /// Connections that wait to be accepted, as many as of a socket.
    const BACKLOG: usize = 128;

    fn new(transport: Transport) -> Self {
        Self {
            listener: Mutex::default(),
            wire: match transport {
                Transport::Pipe => Self::pipes,
                _ => Self::duplex,
            },
        }
    }

    fn duplex() -> (Conduit, Conduit) {
        let (ours, theirs) = tokio::io::duplex(Self::BUFFER);
        let (client, server) = Self::peers();
        (Conduit::new(ours, server), Conduit::new(theirs, client))
    }

    fn pipes() -> (Conduit, Conduit) {
        let flags = PipeFlags::CLOEXEC;
        let (down, to_client) = pipe_with(flags).expect("a pipe");
        let (up, to_server) = pipe_with(flags).expect("a pipe");
        let (client, server) = Self::peers();
        (
            Conduit::over_pipes(down, to_server, server).expect("two pipes"),
            Conduit::over_pipes(up, to_client, client).expect("two pipes"),
        )
    }

    fn peers() -> (Peer, Peer) {
        (Peer::new("custom:client"), Peer::new("custom:server"))
    }

    fn listener(&self) -> CustomListener {
        let (sender, incoming) = mpsc::channel(Self::BACKLOG);
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        CustomListener(incoming)
    }
}

struct CustomConnector(Arc<Exchange>);

#[async_trait]
impl Connector for CustomConnector {
    async fn connect(&self) -> Result<Conduit, Error> {
        let refused = || Error::new(Code::Refused, "nobody listens");
        let (ours, theirs) = (self.0.wire)();
        let listener = self.0.listener.lock();
        let listener = listener.unwrap_or_else(PoisonError::into_inner);
        let sender = listener.as_ref().ok_or_else(refused)?;
        sender.try_send(theirs).map_err(|_| refused())?;
        Ok(ours)
    }

    fn address(&self) -> &str {
        "custom:server"
    }
}

struct CustomListener(mpsc::Receiver<Conduit>);

#[async_trait]
impl Listener for CustomListener {
    async fn accept(&mut self) -> io::Result<Conduit> {
        match self.0.recv().await {
            Some(conduit) => Ok(conduit),
            None => std::future::pending().await,
        }
    }

    fn address(&self) -> String {
        "custom:server".into()
    }
}
