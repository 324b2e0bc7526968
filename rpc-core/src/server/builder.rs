//! What to serve, where, and within which limits.

use std::fmt;
use std::sync::Arc;

use super::accept::Acceptor;
use super::companion::Place;
#[cfg(feature = "discovery")]
use super::companion::{Companion, Offering, Recruit, RegistrationWish};
use super::connections::Connections;
use super::pattern::{Host, Pattern, Strategy};
use super::reception::Reception;
use super::{Router, Server};
use crate::codec::CodecId;
#[cfg(feature = "udp")]
use crate::driver::gate;
use crate::driver::spawn;
use crate::error::{Code, Error};
use crate::layer::Layer;
use crate::limits::Limits;
use crate::proto::Opening;
use crate::service::{BoxFuture, Service};
#[cfg(feature = "_tls")]
use crate::transport::ServerTls;
use crate::transport::{Address, IntoAddress, ListenOptions, Listener};

/// Builds a [`Server`]. What is wrong with an address or a service comes out of
/// [`start`](Self::start), so that the builder reads as one sentence.
#[must_use = "a builder does nothing until `start`"]
pub struct ServerBuilder {
    services: Vec<Arc<dyn Service>>,
    /// The outermost first.
    layers: Vec<Box<dyn Layer>>,
    addresses: Vec<Result<Address, Error>>,
    listeners: Vec<Box<dyn Listener>>,
    listen_options: ListenOptions,
    pattern: Box<dyn Strategy>,
    limits: Limits,
    connections_max: usize,
    connections_per_peer_max: usize,
    handshaking_max: usize,
    calls_max: usize,
    buffers_max: usize,
    #[cfg(feature = "discovery")]
    companions: Vec<Recruit>,
    #[cfg(feature = "discovery")]
    pub(crate) wish: RegistrationWish,
}

impl ServerBuilder {
    /// Connections of one server: 4,096, or four fifths of the descriptors that the process may
    /// open, if that is less.
    pub const CONNECTIONS_MAX: usize = 4096;

    /// Connections from one host, or on a Unix socket from one user: 256, so that one peer cannot
    /// take them all.
    pub const CONNECTIONS_PER_PEER_MAX: usize = 256;

    /// Connections whose client has not said hello: 256, so that those who connect and say nothing
    /// cannot take the places of those who do.
    pub const HANDSHAKING_MAX: usize = 256;

    /// Calls in flight on all connections of one server: 8,192.
    pub const CALLS_MAX: usize = 8192;

    /// Bytes held for the clients of one server, over all connections: 512 MiB.
    pub const BUFFERS_MAX: usize = 512 * 1024 * 1024;

    pub(super) fn new() -> Self {
        Self {
            services: Vec::new(),
            layers: Vec::new(),
            addresses: Vec::new(),
            listeners: Vec::new(),
            listen_options: ListenOptions::default(),
            pattern: Pattern::default().0,
            limits: Limits::default(),
            connections_max: default_connections_max(),
            connections_per_peer_max: Self::CONNECTIONS_PER_PEER_MAX,
            handshaking_max: Self::HANDSHAKING_MAX,
            calls_max: Self::CALLS_MAX,
            buffers_max: Self::BUFFERS_MAX,
            #[cfg(feature = "discovery")]
            companions: Vec::new(),
            #[cfg(feature = "discovery")]
            wish: RegistrationWish::default(),
        }
    }

    /// Adds a service. All services of a server are offered on each of its connections.
    pub fn service(mut self, service: impl Service) -> Self {
        self.services.push(Arc::new(service));
        self
    }

    /// Puts a [layer](crate::layer) around all services. The first layer is the outermost.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// Adds an address to listen at: `tcp://127.0.0.1:0`, `unix:/run/calc.sock`,
    /// `fifo:/run/calc.wkp`, `memory:calc`.
    pub fn listen(mut self, address: impl IntoAddress) -> Self {
        self.addresses.push(address.into_address());
        self
    }

    /// Allows clear text beyond this host: `tcp://` at an address that other hosts reach, wildcards
    /// included, and to a matchmaker on another host. Whoever is on the way can read it and change
    /// it, and nobody knows who calls. Without this line both are errors.
    pub fn insecure(mut self) -> Self {
        self.listen_options = self.listen_options.insecure();
        #[cfg(feature = "discovery")]
        {
            self.wish.connect = self.wish.connect.insecure();
        }
        self
    }

    /// Lets processes of the group `gid` connect to well-known pipes (`fifo:`). Without this line only
    /// those of the server's own user may. See
    /// [`ListenOptions::allow_group`](crate::transport::ListenOptions::allow_group).
    pub fn allow_group(mut self, gid: u32) -> Self {
        self.listen_options = self.listen_options.allow_group(gid);
        self
    }

    /// Lets processes of these users, and of no others, connect to Unix sockets (`unix:`), and to
    /// well-known pipes (`fifo:`) where their modes let them in. Without this line the permissions of
    /// the socket's file decide, and at an abstract name the server's own user and root may connect. See
    /// [`ListenOptions::allow_uids`](crate::transport::ListenOptions::allow_uids).
    pub fn allow_uids(mut self, uids: impl IntoIterator<Item = u32>) -> Self {
        self.listen_options = self.listen_options.allow_uids(uids);
        self
    }

    /// The certificate that clients are shown at `tls://` addresses, and which clients to let in. Keep
    /// a clone: it can [`reload`](ServerTls::reload) a certificate that was renewed.
    #[cfg(feature = "_tls")]
    pub fn tls(mut self, tls: ServerTls) -> Self {
        self.listen_options = self.listen_options.tls(tls);
        self
    }

    /// Adds a listener of a transport of your own.
    pub fn listen_on(mut self, listener: impl Listener) -> Self {
        self.listeners.push(Box::new(listener));
        self
    }

    /// Sets who speaks with a client once it is connected: a task for each of them
    /// ([`Concurrent`](super::Concurrent), the default), one client at a time
    /// ([`Iterative`](super::Iterative)), a process for each of them ([`Forking`](super::Forking)), or a
    /// few processes for all ([`CentralDispatch`](super::CentralDispatch)).
    pub fn pattern(mut self, pattern: impl Into<Pattern>) -> Self {
        self.pattern = pattern.into().0;
        self
    }

    /// Sets the limits of each connection.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The most connections; who comes later is refused with a reason. The default is
    /// [`CONNECTIONS_MAX`](Self::CONNECTIONS_MAX).
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections;
        self
    }

    /// The most connections from one host, or on a Unix socket or a pipe from one
    /// user. The default is
    /// [`CONNECTIONS_PER_PEER_MAX`](Self::CONNECTIONS_PER_PEER_MAX).
    pub fn connections_per_peer_max(mut self, connections: usize) -> Self {
        self.connections_per_peer_max = connections;
        self
    }

    /// The most connections whose client has not said hello; one more ends the oldest of them. The
    /// default is [`HANDSHAKING_MAX`](Self::HANDSHAKING_MAX).
    pub fn handshaking_max(mut self, connections: usize) -> Self {
        self.handshaking_max = connections;
        self
    }

    /// The most calls in flight on all connections together; a call beyond is answered at once as
    /// overloaded and not executed. The default is [`CALLS_MAX`](Self::CALLS_MAX).
    pub fn calls_max(mut self, calls: usize) -> Self {
        self.calls_max = calls;
        self
    }

    /// The most bytes held for clients on all connections together: requests that arrive or run, and
    /// replies that are not taken. While it is exceeded, calls are answered at once as overloaded and
    /// not executed. The default is [`BUFFERS_MAX`](Self::BUFFERS_MAX).
    pub fn buffers_max(mut self, bytes: usize) -> Self {
        self.buffers_max = bytes;
        self
    }

    /// Something that is started with the server and told first when it stops.
    #[cfg(feature = "discovery")]
    pub(crate) fn companion(
        mut self,
        recruit: impl FnOnce(Offering, RegistrationWish) -> BoxFuture<Result<Box<dyn Companion>, Error>>
        + Send
        + 'static,
    ) -> Self {
        self.companions.push(Box::new(recruit));
        self
    }

    /// Binds all addresses and serves. Must run within a tokio runtime.
    ///
    /// In a [subserver](super::subserver_init) of this server it serves the client that the process
    /// was started for, and ends the process. In a subserver of another server of the program it
    /// returns a server at which nobody can arrive, or an error if the program has not said
    /// `subserver_init` and begins with a server that has no subservers.
    ///
    /// # Errors
    /// An address is invalid, in use or not allowed; two services have one name, or two methods one
    /// number; there is nothing to serve or nowhere to listen; the pattern cannot do with such an
    /// address, or not in this program. Nothing is served then.
    pub fn start(self) -> impl Future<Output = Result<Server, Error>> + Send {
        // Boxed, so that it is compiled into this crate and not into each that calls it.
        let starting: BoxFuture<_> = Box::pin(self.start_here());
        starting
    }

    async fn start_here(mut self) -> Result<Server, Error> {
        #[cfg(all(target_os = "linux", feature = "patterns"))]
        let duty = self.pattern.duty()?;
        #[cfg(all(target_os = "linux", feature = "patterns"))]
        let instance = duty.map_or_else(new_instance, |duty| duty.instance().to_be_bytes());
        #[cfg(not(all(target_os = "linux", feature = "patterns")))]
        let instance = new_instance();
        let reception = self.reception(instance)?;
        let addresses = self.checked_addresses()?;
        #[cfg(all(target_os = "linux", feature = "patterns"))]
        if let Some(duty) = duty {
            self.pattern
                .perform(duty, Arc::clone(&reception), self.listen_options)
                .await;
            // Another server of the program: only the main process listens.
            let addresses = addresses.iter().map(ToString::to_string).collect();
            return Ok(Server::idle(addresses, Arc::clone(&reception.connections)));
        }
        self.check_pattern(&addresses)?;
        let (mut listeners, mut elsewhere, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for address in addresses {
            if self.pattern.listens(&address) {
                places.push(Place {
                    address: address.to_string(),
                    identity: None,
                });
                elsewhere.push(address.to_string());
            } else {
                let mut listener = address.listen(&self.listen_options).await?;
                if self.pattern.hands_over() {
                    listener.defer();
                }
                places.push(Place::of(&*listener));
                listeners.push(listener);
            }
        }
        for listener in std::mem::take(&mut self.listeners) {
            places.push(Place::of(&*listener));
            listeners.push(listener);
        }
        let host = self.pattern.host(Arc::clone(&reception), elsewhere).await?;
        // From here on the server exists, so that an error below stops what was started.
        #[cfg_attr(not(feature = "discovery"), allow(unused_mut))]
        let mut server = open(listeners, &places, &reception, host);
        #[cfg(feature = "discovery")]
        {
            let offering = Offering {
                services: reception.router.descriptors().collect(),
                places,
                instance,
            };
            for recruit in self.companions {
                let companion = recruit(offering.clone(), self.wish.clone()).await?;
                server.companions.push(companion);
            }
        }
        Ok(server)
    }

    /// What clients are told, and the services behind it.
    fn reception(&mut self, instance: [u8; 16]) -> Result<Arc<Reception>, Error> {
        let mut services = std::mem::take(&mut self.services);
        for layer in self.layers.iter().rev() {
            for service in &mut services {
                *service = layer.layer(Arc::clone(service));
            }
        }
        let router = Router::new(services, self.calls_max, self.buffers_max, self.limits)?;
        let router = Arc::new(router);
        Ok(Arc::new(Reception {
            limits: Arc::new(self.limits),
            opening: Arc::new(Opening {
                instance,
                ..Opening::offering(CodecId::ALL.iter().map(|codec| codec.to_wire()).collect())
            }),
            connections_max: self.connections_max,
            connections_per_peer_max: self.connections_per_peer_max,
            connections: Arc::new(Connections::new(Arc::clone(&router), self.handshaking_max)),
            router,
        }))
    }

    /// The addresses, if all are valid.
    fn checked_addresses(&mut self) -> Result<Vec<Address>, Error> {
        let mut addresses = Vec::new();
        for address in std::mem::take(&mut self.addresses) {
            addresses.push(address?);
        }
        Ok(addresses)
    }

    /// Whether the pattern can do with these addresses, and with the listeners.
    fn check_pattern(&self, addresses: &[Address]) -> Result<(), Error> {
        for address in addresses {
            self.pattern.check(address)?;
        }
        if !self.listeners.is_empty() {
            return self.pattern.check_foreign();
        }
        if addresses.is_empty() {
            let text = "the server has no address to listen at";
            return Err(Error::new(Code::InvalidAddress, text)
                .with_hint("add `.listen(\"tcp://127.0.0.1:0\")`"));
        }
        Ok(())
    }
}

/// The number of one life of a server.
fn new_instance() -> [u8; 16] {
    fastrand::u128(..).to_be_bytes()
}

/// A server that takes in who comes to these listeners.
#[cfg_attr(not(feature = "udp"), allow(unused_mut))]
fn open(
    listeners: Vec<Box<dyn Listener>>,
    places: &[Place],
    reception: &Arc<Reception>,
    host: Arc<dyn Host>,
) -> Server {
    let addresses = places.iter().map(|place| place.address.clone()).collect();
    let mut server = Server::idle(addresses, Arc::clone(&reception.connections));
    server.host = Some(Arc::clone(&host));
    for mut listener in listeners {
        #[cfg(feature = "udp")]
        {
            let (limits, opening) = (&reception.limits, &reception.opening);
            listener.guard(gate(Arc::clone(limits), Arc::clone(opening)));
        }
        let acceptor = Acceptor {
            listener,
            stop: server.stop.clone(),
            reception: Arc::clone(reception),
            host: Arc::clone(&host),
        };
        server.acceptors.push(spawn(acceptor.run()));
    }
    server
}

fn default_connections_max() -> usize {
    let descriptors = descriptors_max().unwrap_or(usize::MAX);
    ServerBuilder::CONNECTIONS_MAX.min(descriptors / 5 * 4)
}

/// How many descriptors this process may have open, if somebody says so.
#[cfg(all(unix, feature = "_rustix"))]
fn descriptors_max() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| usize::try_from(limit).ok())
}

/// The same for a small program, which links nothing to ask the system with.
#[cfg(not(all(unix, feature = "_rustix")))]
fn descriptors_max() -> Option<usize> {
    use std::fs::File;
    use std::io::Read as _;

    // Read at once and by bytes, which is little code, too.
    let mut limits = [0; 4096];
    let length = File::open("/proc/self/limits")
        .ok()?
        .read(&mut limits)
        .ok()?;
    let mut lines = limits.get(..length)?.split(|byte| *byte == b'\n');
    let limit = lines.find_map(|line| line.strip_prefix(b"Max open files"))?;
    let digits = limit
        .trim_ascii_start()
        .split(|byte| *byte == b' ')
        .next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<_> = self
            .services
            .iter()
            .map(|service| service.descriptor().name)
            .collect();
        f.debug_struct("ServerBuilder")
            .field("services", &services)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}
