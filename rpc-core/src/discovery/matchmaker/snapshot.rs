//! What clients ask, and what they are told.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::id::{Epoch, HostId, InstanceId, Position, Revision};
use super::registration::{Endpoint, Offer, Registration};

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
