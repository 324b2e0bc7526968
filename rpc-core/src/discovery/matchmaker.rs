//! The matchmaker's contract: an ordinary service, and the values that it takes and returns.
//!
//! A process registers what it offers under a *lease* and renews it; clients look names up and
//! watch them. This file is the contract alone: it knows nothing about how a registry keeps its
//! records, nor about how a registrar or a resolver uses the answers.
//!
//! # Growth
//! The shapes of these types are compared on every call, so a published type never changes. The
//! contract grows by methods beside the old ones, with types of their own, which an older client
//! never calls; what has no method yet travels in [`Registration::tags`].

mod error;

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::service;

pub use self::error::RegistryError;

/// Where a matchmaker listens, and is looked for, unless something else is said: the loopback
/// interface only, because plain TCP tells nobody apart.
pub const DEFAULT_ADDRESS: &str = "tcp://127.0.0.1:7111";

/// The environment variable that names another matchmaker.
pub const ADDRESS_VARIABLE: &str = "MATCHMAKER_ADDR";

/// The rendezvous: services register, clients discover.
///
/// # The registrant's loop
/// Register, then renew at a third of [`Registered::ttl`]. After [`RegistryError::LeaseLost`], after
/// a changed [`Registered::epoch`] and after every reconnect, register again: it is safe at any
/// time, and the matchmaker answers as if it had been a renewal when nothing changed. After
/// [`RegistryError::StaleIncarnation`], register with a higher [`Registration::incarnation`].
///
/// # The resolver's loop
/// Watch with no position, then with [`Snapshot::position`] of the last answer, for ever. Each
/// answer is the whole state of the name, so a lost or repeated answer does no harm, and neither
/// does a restart of the matchmaker, because its new [`Epoch`] answers at once.
///
/// Every method may be repeated safely, and every method may be cancelled at any time: the change is
/// then either made or not, never half made.
#[service(name = "rpc.Matchmaker", version = "1.0.0")]
pub trait Matchmaker {
    /// Registers an instance, or renews and updates it when it is registered already.
    ///
    /// Several instances may offer one service. The record of an instance belongs to the principal
    /// that registered it, and nobody else can replace it. A local registrant's record goes when the
    /// connection that it last registered or renewed on closes; a remote one's at the end of its
    /// lease.
    ///
    /// # Errors
    /// `StaleIncarnation`, `NotOwner`, `QuotaExceeded`, `Unavailable`, and the `Invalid..` ones.
    #[rpc(idempotent)]
    async fn register(&self, registration: &Registration) -> Result<Registered, RegistryError>;

    /// Gives a lease its full time again, counted from now.
    ///
    /// # Errors
    /// `LeaseLost` when it has ended, `NotOwner`.
    #[rpc(idempotent)]
    async fn renew(&self, lease: LeaseId) -> Result<Registered, RegistryError>;

    /// Removes the record of a lease, if it is still the one registered at `revision`. A lease that
    /// has ended already is a success.
    ///
    /// After it, the instance can only come back under a higher incarnation, so that a registration
    /// that was delayed on its way does not raise the dead.
    ///
    /// # Errors
    /// `Fenced` when the record has changed since, `NotOwner`, `Unavailable`.
    #[rpc(idempotent)]
    async fn deregister(&self, lease: LeaseId, revision: Revision) -> Result<(), RegistryError>;

    /// The instances that offer a service in a version that the query accepts, highest version
    /// first.
    ///
    /// # Errors
    /// `NotFound` when there is none, `InvalidName`, `InvalidRequirement`.
    #[rpc(idempotent)]
    async fn lookup(&self, query: &Query) -> Result<Snapshot, RegistryError>;

    /// Everything that is registered, by name and instance, from after `after` on. Where
    /// [`Snapshot::more`] is set, [`Snapshot::cursor`] leads to the rest.
    #[rpc(idempotent)]
    async fn list(&self, after: Option<Cursor>) -> Snapshot;

    /// Waits until the answer to the query differs from the one at `after`, at most for `wait`, and
    /// returns the state then. It answers at once with no position, with one of another epoch and
    /// with one that is behind.
    ///
    /// A name that nobody offers is an empty answer, not an error. `wait` must leave the reply time
    /// to arrive within the call's own deadline; the matchmaker may cut it short.
    ///
    /// # Errors
    /// `InvalidName`, `InvalidRequirement`, `QuotaExceeded`.
    #[rpc(idempotent)]
    async fn watch(
        &self,
        query: &Query,
        after: Option<Position>,
        wait: Duration,
    ) -> Result<Snapshot, RegistryError>;

    /// How the matchmaker is doing.
    #[rpc(idempotent)]
    async fn health(&self) -> Health;
}

/// Names one start of one process. It is drawn at random, so a process that starts again is another
/// instance, even under the same address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId([u8; 16]);

impl InstanceId {
    /// Draws an id.
    pub fn random() -> Self {
        Self(fastrand::u128(..).to_be_bytes())
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceId({self})")
    }
}

/// Reads the 32 hexadecimal digits that `Display` writes.
impl FromStr for InstanceId {
    type Err = ParseInstanceIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseInstanceIdError);
        }
        u128::from_str_radix(text, 16)
            .map(|id| Self(id.to_be_bytes()))
            .map_err(|_| ParseInstanceIdError)
    }
}

/// The text is not an [`InstanceId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseInstanceIdError;

impl fmt::Display for ParseInstanceIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an instance id is 32 hexadecimal digits, as `matchmaker list` prints them")
    }
}

impl StdError for ParseInstanceIdError {}

/// Names a lease. Ids are drawn at random and not reused, so an id from before a restart of the
/// matchmaker finds nothing instead of somebody else's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LeaseId(pub u64);

/// Counts the changes of a registry. One counter serves all names and never goes back within an
/// [`Epoch`].
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one life of a registry's store. Revisions compare within one epoch only; a changed epoch
/// means that history was lost and everything must be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Epoch(pub u64);

impl Epoch {
    /// Draws an epoch.
    pub fn random() -> Self {
        Self(fastrand::u64(..))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A point in the history of a registry, from which a watch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The life of the store in which the revision counts.
    pub epoch: Epoch,
    /// The last change that has been seen.
    pub revision: Revision,
}

impl Position {
    /// The point at `revision` in `epoch`.
    pub const fn new(epoch: Epoch, revision: Revision) -> Self {
        Self { epoch, revision }
    }
}

/// Names the host that a process runs on, as an opaque text of at most 64 printable ASCII
/// characters. Two processes with one host id reach each other's Unix sockets and FIFOs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostId(String);

impl HostId {
    /// The host with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an instance is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Endpoint {
    /// An address such as `tcp://10.0.0.7:7000` or `unix:/run/calc.sock`.
    pub address: String,
    /// The only host that reaches the address; `None` where every host does. Unix socket and FIFO
    /// addresses mean something on their own host only, so they always carry one.
    pub host: Option<HostId>,
}

impl Endpoint {
    /// An address that every host reaches.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            host: None,
        }
    }

    /// An address that only `host` reaches.
    pub fn on_host(address: impl Into<String>, host: HostId) -> Self {
        Self {
            address: address.into(),
            host: Some(host),
        }
    }
}

/// One service that an instance offers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Offer {
    /// The name, as in [`Descriptor::name`](crate::Descriptor).
    pub name: String,
    /// The semantic version, as in `1.2.0`.
    pub version: String,
    /// The fingerprint of the service's shapes: equal numbers can talk to each other, whatever their
    /// versions say.
    pub fingerprint: u64,
}

impl Offer {
    /// Offers `name` in `version`.
    pub fn new(name: impl Into<String>, version: impl Into<String>, fingerprint: u64) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            fingerprint,
        }
    }
}

/// What a process offers, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Registration {
    /// Which start of which process this is.
    pub instance: InstanceId,
    /// Orders the registrations of one instance: a lower one than the registered is refused, so what
    /// was delayed on its way cannot undo what came after it.
    pub incarnation: u64,
    /// The host the process runs on.
    pub host: HostId,
    /// The process id on that host, for people.
    pub pid: u32,
    /// The services, each name once.
    pub services: Vec<Offer>,
    /// Where they are reached, the preferred address first.
    pub endpoints: Vec<Endpoint>,
    /// How long the record lives without renewal; `None` is the matchmaker's default (15 s). The
    /// matchmaker bounds it (2 s to 1 h) and says what it granted in [`Registered::ttl`].
    pub ttl: Option<Duration>,
    /// Free text by key, such as a zone.
    pub tags: BTreeMap<String, String>,
}

impl Registration {
    /// A registration without services, addresses and tags, of incarnation 1 and the default time
    /// to live. The fields are public: fill in the rest.
    pub fn new(instance: InstanceId, host: HostId, pid: u32) -> Self {
        Self {
            instance,
            incarnation: 1,
            host,
            pid,
            services: Vec::new(),
            endpoints: Vec::new(),
            ttl: None,
            tags: BTreeMap::new(),
        }
    }
}

/// The answer to a registration and to a renewal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Registered {
    /// What is to be renewed.
    pub lease: LeaseId,
    /// The revision of the record, which is also its fencing token: within one epoch, a later
    /// registration always carries a higher one.
    pub revision: Revision,
    /// How long the lease lives from now on.
    pub ttl: Duration,
    /// The life of the store that holds the record.
    pub epoch: Epoch,
}

impl Registered {
    /// The record at `revision` in `epoch`, held by `lease` for `ttl`.
    pub const fn new(lease: LeaseId, revision: Revision, ttl: Duration, epoch: Epoch) -> Self {
        Self {
            lease,
            revision,
            ttl,
            epoch,
        }
    }
}

/// What a client looks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Query {
    /// The name of the service.
    pub name: String,
    /// Which versions will do: a semver range such as `^1`, `>=1.2, <2` or `1.2.*`. A bare `1.2.0`
    /// means `^1.2.0`, and `=1.2.0` exactly that one. A pre-release is found only by a range that
    /// names a pre-release of the same three numbers. `None` takes every version.
    pub version_requirement: Option<String>,
}

impl Query {
    /// Looks for any version of `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version_requirement: None,
        }
    }

    /// Looks for versions within `requirement` only.
    pub fn with_version(mut self, requirement: impl Into<String>) -> Self {
        self.version_requirement = Some(requirement.into());
        self
    }
}

/// How far an instance can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// It renews its lease in time.
    Ready,
    /// It has missed renewals and its lease is about to end: prefer another one.
    Suspect,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Suspect => "suspect",
        })
    }
}

/// One service of one instance, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Instance {
    /// What is offered.
    pub offer: Offer,
    /// Who must be found at the endpoints; another instance there is somebody else.
    pub instance: InstanceId,
    /// Which registration of the instance this is.
    pub incarnation: u64,
    /// Where it is reached, the preferred address first.
    pub endpoints: Vec<Endpoint>,
    /// The host it runs on.
    pub host: HostId,
    /// Its process id on that host.
    pub pid: u32,
    /// What it says about itself.
    pub tags: BTreeMap<String, String>,
    /// The fencing token: the revision at which this record was registered.
    pub revision: Revision,
    /// How long it has been registered with this matchmaker.
    pub age: Duration,
    /// How far it can be relied on, at the time of the answer.
    pub state: State,
    /// How long its lease has left, at the time of the answer.
    pub expires_in: Duration,
}

impl Instance {
    /// `offer` as `registration` makes it, fresh at `revision`. The fields are public: the times and
    /// the state are for the registry to fill in.
    pub fn new(offer: Offer, registration: &Registration, revision: Revision) -> Self {
        Self {
            offer,
            instance: registration.instance,
            incarnation: registration.incarnation,
            endpoints: registration.endpoints.clone(),
            host: registration.host.clone(),
            pid: registration.pid,
            tags: registration.tags.clone(),
            revision,
            age: Duration::ZERO,
            state: State::Ready,
            expires_in: Duration::ZERO,
        }
    }
}

/// Where the next page of a list begins: after this service of this instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cursor {
    /// The last name of the page before.
    pub name: String,
    /// The last instance of the page before.
    pub instance: InstanceId,
}

impl Cursor {
    /// The place after `instance` of the service `name`.
    pub fn new(name: impl Into<String>, instance: InstanceId) -> Self {
        Self {
            name: name.into(),
            instance,
        }
    }
}

/// Instances as they stood at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// The life of the store that answered.
    pub epoch: Epoch,
    /// The last change in any name when the answer was made.
    pub revision: Revision,
    /// The instances.
    pub instances: Vec<Instance>,
    /// Whether there are more than fit into one answer (about 1 MiB). A lookup and a watch then hold
    /// the highest versions; a list goes on from [`cursor`](Self::cursor).
    pub more: bool,
}

impl Snapshot {
    /// All of `instances` at `revision` in `epoch`.
    pub fn new(epoch: Epoch, revision: Revision, instances: Vec<Instance>) -> Self {
        Self {
            epoch,
            revision,
            instances,
            more: false,
        }
    }

    /// Where a watch goes on after this answer.
    pub fn position(&self) -> Position {
        Position::new(self.epoch, self.revision)
    }

    /// Where a list goes on after this page; `None` when it was the last.
    pub fn cursor(&self) -> Option<Cursor> {
        let last = self.instances.last().filter(|_| self.more)?;
        Some(Cursor::new(last.offer.name.clone(), last.instance))
    }
}

/// How a matchmaker is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// The version of the matchmaker itself.
    pub version: String,
    /// The life of its store.
    pub epoch: Epoch,
    /// The last change.
    pub revision: Revision,
    /// How long it has been running.
    pub uptime: Duration,
    /// How many processes are registered.
    pub instances: u64,
    /// How many names have at least one instance.
    pub services: u64,
    /// How many watches are waiting.
    pub watches: u64,
    /// How many changes the store has not confirmed yet; it stays at zero while the store is well.
    pub unconfirmed: u64,
    /// For how long in total the matchmaker found itself stopped, and extended all leases by.
    pub paused: Duration,
}

impl Health {
    /// A matchmaker of `version` that has just started at `position`. The fields are public: fill
    /// in the rest.
    pub fn new(version: impl Into<String>, position: Position) -> Self {
        Self {
            version: version.into(),
            epoch: position.epoch,
            revision: position.revision,
            uptime: Duration::ZERO,
            instances: 0,
            services: 0,
            watches: 0,
            unconfirmed: 0,
            paused: Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_id_reads_back_what_it_prints() {
        let id = InstanceId::random();
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().parse(), Ok(id));
        let small = InstanceId::from_bytes([0; 16]);
        assert_eq!(small.to_string().parse(), Ok(small));
        for wrong in [
            "",
            "00",
            "+0000000000000000000000000000000",
            "g000000000000000000000000000000",
        ] {
            assert_eq!(
                wrong.parse::<InstanceId>(),
                Err(ParseInstanceIdError),
                "{wrong}"
            );
        }
    }

    #[test]
    fn only_an_unfinished_page_has_a_cursor() {
        let registration = Registration::new(InstanceId::random(), HostId::new("here"), 1);
        let offer = Offer::new("Calculator", "1.0.0", 7);
        let instance = Instance::new(offer, &registration, Revision(1));
        let mut page = Snapshot::new(Epoch(1), Revision(1), vec![instance]);
        assert_eq!(page.cursor(), None);
        page.more = true;
        assert_eq!(
            page.cursor(),
            Some(Cursor::new("Calculator", registration.instance))
        );
    }
}
