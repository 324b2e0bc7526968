//! From an address to a channel: the one place that knows both places and names.

use std::fmt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "discovery")]
use super::balance::Balance;
#[cfg(feature = "discovery")]
use super::daemon;
#[cfg(feature = "discovery")]
use super::matchmaker::Query;
use crate::client::dial::Dialer;
use crate::client::{Channel, Options};
use crate::codec::CodecId;
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::server::{Router, ServerBuilder};
use crate::service::{BoxFuture, Descriptor, Service};
#[cfg(all(unix, feature = "pipes"))]
use crate::transport;
#[cfg(feature = "_tls")]
use crate::transport::ClientTls;
use crate::transport::{Address, Connector, IntoAddress, Restart};

/// Builds a [`Channel`]. What is wrong with an address comes out at the end, so that the builder
/// reads as one sentence.
#[must_use = "a builder does nothing until `connect` or `connect_lazy`"]
pub struct ChannelBuilder {
    place: Place,
    service: Option<String>,
    #[cfg(feature = "discovery")]
    version: Option<String>,
    #[cfg(feature = "discovery")]
    matchmaker: Option<Result<Address, Error>>,
    deadline: Option<Duration>,
    options: Options,
    /// Who must be there, as [`expect_identity`](Self::expect_identity) was told.
    expected: Vec<String>,
    callbacks: Vec<Arc<dyn Service>>,
}

enum Place {
    Address(Result<Address, Error>),
    Connector(Box<dyn Connector>),
    #[cfg(all(unix, feature = "pipes"))]
    Child(Box<Command>),
}

impl Place {
    #[cfg(all(unix, feature = "pipes"))]
    fn child(command: Command) -> Self {
        Self::Child(Box::new(command))
    }

    #[cfg(not(all(unix, feature = "pipes")))]
    fn child(command: Command) -> Self {
        let command = command.get_program().to_string_lossy().into_owned();
        Self::Address(Ok(Address::Exec { command }))
    }
}

impl Channel {
    /// Says where the calls go, and how: an address, or `mm:Service` for the instances that the
    /// matchmaker knows.
    pub fn builder(address: impl IntoAddress) -> ChannelBuilder {
        ChannelBuilder::new(Place::Address(address.into_address()))
    }

    /// As [`builder`](Self::builder), over a transport of your own.
    pub fn builder_over(connector: impl Connector) -> ChannelBuilder {
        ChannelBuilder::new(Place::Connector(Box::new(connector)))
    }

    /// As [`builder`](Self::builder), to a child process that `command` starts and that serves its
    /// standard input and output, as one does that calls [`serve_stdio`](crate::serve_stdio). These
    /// two are pipes, whatever the command says of them; everything else is as it says, the standard
    /// error too.
    pub fn builder_for(command: Command) -> ChannelBuilder {
        ChannelBuilder::new(Place::child(command))
    }

    /// Dials `address` with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    /// As [`ChannelBuilder::connect`].
    pub async fn connect(address: impl IntoAddress) -> Result<Self, Error> {
        Self::builder(address).connect().await
    }

    /// Asks the default matchmaker for the instances of `service`, with the defaults of
    /// [`builder`](Self::builder).
    ///
    /// # Errors
    /// As [`ChannelBuilder::connect`].
    pub async fn discover(service: &str) -> Result<Self, Error> {
        let address = Address::by_name(service);
        Self::builder(address).connect().await
    }
}

impl ChannelBuilder {
    fn new(place: Place) -> Self {
        Self {
            place,
            service: None,
            #[cfg(feature = "discovery")]
            version: None,
            #[cfg(feature = "discovery")]
            matchmaker: None,
            deadline: None,
            options: Options::default(),
            expected: Vec::new(),
            callbacks: Vec::new(),
        }
    }

    /// What `mm://host:port` stands for when it names no service.
    pub(crate) fn of_service(mut self, service: &'static Descriptor) -> Self {
        self.service = Some(service.name.to_owned());
        self
    }

    /// The versions that will do, as a semver range: `^1`, `>=1.2, <2`. Only for `mm:` addresses;
    /// the default is every version.
    #[cfg(feature = "discovery")]
    pub fn version(mut self, requirement: impl Into<String>) -> Self {
        self.version = Some(requirement.into());
        self
    }

    /// Where the matchmaker is. Only for `mm:` addresses that do not say so themselves; the default
    /// is the environment's `MATCHMAKER_ADDR`, or `tcp://127.0.0.1:7111`.
    #[cfg(feature = "discovery")]
    pub fn matchmaker(mut self, address: impl IntoAddress) -> Self {
        self.matchmaker = Some(address.into_address());
        self
    }

    /// The time allowed to each call, counted from its first poll; 10 s by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets the limits of each connection.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.options.limits = Arc::new(limits);
        self
    }

    /// The format of arguments and returns. The default is bincode, which every server has; with
    /// another one the first calls wait until the server has agreed.
    pub fn codec(mut self, codec: CodecId) -> Self {
        self.options.codec = codec;
        self
    }

    /// Offers a service to the servers, which reach it through
    /// [`Context::caller`](crate::Context::caller).
    pub fn service(mut self, service: impl Service) -> Self {
        self.callbacks.push(Arc::new(service));
        self
    }

    /// Allows clear text to other hosts: to `tcp://` addresses, found by name or written, and to a
    /// matchmaker. Whoever is on the way can read it and change it, and nobody knows who answers.
    /// Without this line such a connection is an error.
    pub fn insecure(mut self) -> Self {
        self.options.connect = self.options.connect.insecure();
        self
    }

    /// Which servers to believe at `tls://` addresses, found by name or written, and who this client
    /// is to them; the same for a matchmaker at a `tls://` address. The default is
    /// [`ClientTls::new`]: the authorities of this system, and no certificate of one's own.
    #[cfg(feature = "_tls")]
    pub fn tls(mut self, tls: ClientTls) -> Self {
        self.options.connect = self.options.connect.tls(tls);
        self
    }

    /// Says who must be at the other end, in the words of
    /// [`Identity::is`](crate::transport::Identity::is): `spiffe://prod/calc`, `dns:calc.example`,
    /// `uid:1000`. `{service}` in it stands for the name of the service. It comes on top of what is
    /// registered with an address; said several times, all must hold. Whoever else is there gets no
    /// byte of a call.
    pub fn expect_identity(mut self, name: impl Into<String>) -> Self {
        self.expected.push(name.into());
        self
    }

    /// Whether a child (`exec:`, or [`Channel::builder_for`]) that has ended is started again when a
    /// call needs it. By default it is not.
    pub fn restart(mut self, restart: Restart) -> Self {
        self.options.connect = self.options.connect.restart(restart);
        self
    }

    /// How long a child may take to end by itself once the last clone of the channel is dropped,
    /// which closes its standard input; then it is killed. 2 s by default.
    pub fn exit_grace(mut self, grace: Duration) -> Self {
        self.options.connect = self.options.connect.exit_grace(grace);
        self
    }

    /// Says of which user the process must be that answers, as `expect_identity("uid:..")` does: for
    /// Unix sockets, above all at abstract names, which any process of the machine can take while the
    /// service is away.
    pub fn expect_uid(self, uid: u32) -> Self {
        self.expect_identity(format!("uid:{uid}"))
    }

    /// Dials now. For a name: asks the matchmaker, and connects to one instance.
    ///
    /// For an address the peer's answer to the handshake is not waited for: the first calls travel
    /// along with it, and if the peer refuses it they fail as not executed and say why. Over TLS it
    /// is waited for, so that a client whose certificate is refused learns it here.
    ///
    /// # Errors
    /// The address is invalid or cannot be reached; the matchmaker cannot be reached, or knows no
    /// instance.
    pub fn connect(self) -> impl Future<Output = Result<Channel, Error>> + Send {
        // Boxed, so that it is compiled into this crate and not into each that calls it.
        let connecting: BoxFuture<_> = Box::pin(async move {
            let channel = self.connect_lazy()?;
            channel.warm_up().await?;
            Ok(channel)
        });
        connecting
    }

    /// Dials with the first call. Must be used within a tokio runtime.
    ///
    /// # Errors
    /// The address is invalid.
    pub fn connect_lazy(mut self) -> Result<Channel, Error> {
        self.expect()?;
        self.offer()?;
        let options = Arc::new(self.options);
        let connector = match self.place {
            Place::Connector(connector) => options.connect.guard(connector)?,
            #[cfg(all(unix, feature = "pipes"))]
            Place::Child(command) => {
                let connector = transport::to_child(*command, &options.connect);
                options.connect.guard(connector)?
            }
            Place::Address(address) => match address? {
                #[cfg(feature = "discovery")]
                Address::Matchmaker { daemon, service } => {
                    let Some(name) = service.or(self.service) else {
                        let error =
                            Error::new(Code::InvalidAddress, "the address names no service");
                        return Err(error.with_hint("write mm:Service, or mm://host:port/Service"));
                    };
                    let said = daemon.map(|at| Ok(Address::Tcp(at))).or(self.matchmaker);
                    let matchmaker = daemon::place(daemon::address(said)?)?;
                    matchmaker.connector(&daemon::options(&options.connect))?;
                    let mut query = Query::new(name);
                    query.version_requirement = self.version;
                    let balance = Balance::new(matchmaker, query, Arc::clone(&options));
                    return Ok(Channel::new(balance, options).allowing(self.deadline));
                }
                address => address.connector(&options.connect)?,
            },
        };
        let dialer = Dialer::new(connector, Arc::clone(&options), None);
        Ok(Channel::new(dialer, options).allowing(self.deadline))
    }

    /// Puts down who must be there.
    fn expect(&mut self) -> Result<(), Error> {
        let service = match &self.place {
            Place::Address(Ok(Address::Matchmaker {
                service: Some(service),
                ..
            })) => Some(service),
            _ => self.service.as_ref(),
        };
        for name in &self.expected {
            let connect = std::mem::take(&mut self.options.connect);
            self.options.connect = connect.expect_identity(fill_in(name, service)?);
        }
        Ok(())
    }

    /// Puts down what the servers may call.
    fn offer(&mut self) -> Result<(), Error> {
        if self.callbacks.is_empty() {
            return Ok(());
        }
        let router = Router::new(
            std::mem::take(&mut self.callbacks),
            ServerBuilder::CALLS_MAX,
            ServerBuilder::BUFFERS_MAX,
            *self.options.limits,
        )?;
        self.options.handler = Some(Arc::new(router));
        Ok(())
    }
}

/// The name of an identity, with that of the service where it belongs.
#[cold]
fn fill_in(name: &str, service: Option<&String>) -> Result<String, Error> {
    const PLACE: &[u8] = b"{service}";
    let (mut filled, mut rest) = (String::new(), name);
    // Looked for byte by byte: a search for texts is more code than all else here.
    while let Some(at) = rest
        .as_bytes()
        .windows(PLACE.len())
        .position(|it| it == PLACE)
    {
        let Some(service) = service else {
            let text = format!("no service is named that could stand in `{name}`");
            return Err(Error::new(Code::InvalidAddress, text).with_hint("write its name"));
        };
        filled.push_str(&rest[..at]);
        filled.push_str(service);
        rest = &rest[at + PLACE.len()..];
    }
    filled.push_str(rest);
    Ok(filled)
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ChannelBuilder");
        match &self.place {
            Place::Address(address) => debug.field("address", address),
            Place::Connector(connector) => debug.field("address", &connector.address()),
            #[cfg(all(unix, feature = "pipes"))]
            Place::Child(command) => debug.field("command", command),
        };
        debug.finish_non_exhaustive()
    }
}
