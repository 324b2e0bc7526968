//! What a process offers, and what it gets for it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{Epoch, HostId, InstanceId, LeaseId, Revision};

/// Where an instance is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Endpoint {
    /// An address such as `tcp://10.0.0.7:7000` or `unix:/run/calc.sock`.
    pub address: String,
    /// The only host that reaches the address; `None` where every host does. Unix socket and FIFO
    /// addresses mean something on their own host only, so they always carry one.
    pub host: Option<HostId>,
    /// Who must be found there, in the words of
    /// [`Identity::is`](crate::transport::Identity::is): the SPIFFE ID or DNS name of the
    /// certificate at `tls://`, the user at `unix:`. A client sends no byte of a call to anybody
    /// else. `None` where the transport proves nothing.
    pub identity: Option<String>,
}

impl Endpoint {
    /// An address that every host reaches.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            host: None,
            identity: None,
        }
    }

    /// An address that only `host` reaches.
    pub fn on_host(address: impl Into<String>, host: HostId) -> Self {
        Self {
            address: address.into(),
            host: Some(host),
            identity: None,
        }
    }

    /// The same, where whoever `identity` names must be found; `None` for anybody.
    #[must_use]
    pub fn with_identity(mut self, identity: Option<String>) -> Self {
        self.identity = identity;
        self
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
