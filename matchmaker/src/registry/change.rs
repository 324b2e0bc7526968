//! What the registry holds and what happens to it, as values that a store can keep.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rpc_core::discovery::matchmaker::{Epoch, InstanceId, LeaseId, Registration, Revision};

use super::lease::ConnectionKey;

/// Who a registrant is, as far as its transport can tell. Records belong to principals, and quotas
/// are charged to them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

impl Principal {
    /// The user of a Unix socket.
    pub fn uid(uid: u32) -> Self {
        Self(format!("uid:{uid}").into())
    }

    /// Everybody at one IP address: plain TCP tells no more.
    pub fn host(address: IpAddr) -> Self {
        Self(format!("ip:{address}").into())
    }

    /// An identity under another name, such as one from a certificate, or one that a store kept.
    pub fn named(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text that stores keep.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a call to the registry comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who calls.
    pub principal: Principal,
    /// On which connection; watches are counted by it.
    pub connection: ConnectionKey,
    /// Whether the caller runs on this host, so that its closed connection means that it has died
    /// and not that a network has failed.
    pub local: bool,
}

impl Caller {
    /// A caller on this host.
    pub fn local(principal: Principal, connection: ConnectionKey) -> Self {
        Self {
            principal,
            connection,
            local: true,
        }
    }

    /// A caller on another host.
    pub fn remote(principal: Principal, connection: ConnectionKey) -> Self {
        Self {
            principal,
            connection,
            local: false,
        }
    }

    /// The connection that this caller's leases end with.
    pub(super) fn binding(&self) -> Option<ConnectionKey> {
        self.local.then_some(self.connection)
    }
}

/// One registered instance, as stores keep it: no times, because a lease starts anew wherever its
/// record is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What was registered, with its time to live settled.
    pub registration: Registration,
    /// Whose it is.
    pub principal: Principal,
    /// The lease that keeps it.
    pub lease: LeaseId,
    /// When it last changed, which is its fencing token.
    pub revision: Revision,
}

/// One change of the registry. Changes are numbered without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number.
    pub revision: Revision,
    /// The instance that changed.
    pub instance: InstanceId,
    /// What happened to it.
    pub action: Action,
    /// The services whose instances are not what they were, each once; whoever watches one of them
    /// is to be woken.
    pub names: Vec<String>,
}

/// What happened to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was registered, or registered differently.
    Put(Arc<Record>),
    /// It is gone.
    Remove(Cause),
}

/// Why an instance is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It said goodbye.
    Deregistered,
    /// It did not renew its lease in time.
    Expired,
    /// It ran on this host and its connection closed.
    ConnectionClosed,
    /// An operator removed it.
    Evicted,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deregistered => "deregistered",
            Self::Expired => "lease expired",
            Self::ConnectionClosed => "connection closed",
            Self::Evicted => "evicted",
        })
    }
}

/// Everything a registry holds at one revision, as a store gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The life of the store.
    pub epoch: Epoch,
    /// The last change.
    pub revision: Revision,
    /// The records, in the order of their instance ids.
    pub records: Vec<Arc<Record>>,
}

impl Contents {
    /// Nothing yet, in a life of its own.
    pub fn empty(epoch: Epoch) -> Self {
        Self {
            epoch,
            revision: Revision(0),
            records: Vec::new(),
        }
    }
}
