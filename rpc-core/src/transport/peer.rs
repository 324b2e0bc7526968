//! Who is at the other end of a connection, as far as the operating system vouches for it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use super::{Address, HostPort};

/// The other end of a connection.
///
/// An address is where a peer is, an identity is who it is; only the second may decide what the
/// peer is allowed to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    place: Place,
    identity: Identity,
    local: bool,
}

/// Where a peer is. Few connections are ever asked.
#[derive(Clone, Debug)]
enum Place {
    /// Shared by the connections of one listener or connector.
    Named(Arc<str>),
    /// With the text, once somebody wants it.
    Tcp(SocketAddr, OnceLock<Box<str>>),
}

impl Place {
    fn text(&self) -> &str {
        match self {
            Self::Named(text) => text,
            Self::Tcp(at, text) => {
                text.get_or_init(|| format!("tcp://{}", HostPort::from(*at)).into())
            }
        }
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Place {}

/// Who a peer is, with a proof that the peer cannot forge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// The transport proves nothing, as plain TCP.
    #[default]
    Unknown,
    /// A process on this machine; the kernel says which.
    #[non_exhaustive]
    Process {
        /// The user that it ran as when it connected.
        uid: u32,
        /// The group that it ran as when it connected.
        gid: u32,
        /// Its number, where the system tells. Numbers are used again: it may name another process
        /// once this connection is closed.
        pid: Option<u32>,
    },
}

impl Identity {
    /// The process `pid` that runs as `uid` and `gid`.
    pub fn process(uid: u32, gid: u32, pid: Option<u32>) -> Self {
        Self::Process { uid, gid, pid }
    }
}

impl Peer {
    /// A peer at `address`, which is for people, on some machine and of unknown identity.
    pub fn new(address: impl Into<String>) -> Self {
        Self::at(Place::Named(address.into().into()))
    }

    /// As [`new`](Self::new), for an address that many peers have.
    pub(super) fn named(address: &Arc<str>) -> Self {
        Self::at(Place::Named(Arc::clone(address)))
    }

    /// A peer at the other end of a TCP connection.
    pub(super) fn tcp(at: SocketAddr) -> Self {
        Self::at(Place::Tcp(at, OnceLock::new()))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            identity: Identity::Unknown,
            local: false,
        }
    }

    /// Sets who the peer is. A transport does this on a proof, never on the peer's word.
    #[must_use]
    pub fn with_identity(mut self, identity: Identity) -> Self {
        self.identity = identity;
        self
    }

    /// Says that the peer is on this machine.
    #[must_use]
    pub fn with_local(mut self, local: bool) -> Self {
        self.local = local;
        self
    }

    /// Where the peer is, for people and logs.
    pub fn address(&self) -> &str {
        self.place.text()
    }

    /// The host that the peer is on, where its address has one.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match &self.place {
            Place::Tcp(at, _) => Some(at.ip()),
            Place::Named(text) => text.parse::<Address>().ok()?.host_port()?.ip(),
        }
    }

    /// Who the peer is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the peer is on this machine: Unix sockets, memory, and TCP that does not leave it.
    ///
    /// It is a fact about the way the bytes take, not a proof of identity: behind a proxy or a
    /// forwarded port the far end is somewhere else.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// The user that the peer ran as when it connected, if the kernel vouches for it.
    pub fn uid(&self) -> Option<u32> {
        match self.identity {
            Identity::Process { uid, .. } => Some(uid),
            Identity::Unknown => None,
        }
    }

    /// The group that the peer ran as when it connected, if the kernel vouches for it.
    pub fn gid(&self) -> Option<u32> {
        match self.identity {
            Identity::Process { gid, .. } => Some(gid),
            Identity::Unknown => None,
        }
    }

    /// The number of the peer's process, if the kernel tells.
    pub fn pid(&self) -> Option<u32> {
        match self.identity {
            Identity::Process { pid, .. } => pid,
            Identity::Unknown => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.address())?;
        match self.identity {
            Identity::Process {
                uid,
                pid: Some(pid),
                ..
            } => write!(f, " (uid {uid}, pid {pid})"),
            Identity::Process { uid, pid: None, .. } => write!(f, " (uid {uid})"),
            Identity::Unknown => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_nobody_until_the_kernel_says_so() {
        let peer = Peer::new("tcp://192.0.2.1:9");
        assert_eq!((peer.uid(), peer.gid(), peer.pid()), (None, None, None));
        assert!(!peer.is_local());
        assert_eq!(peer.to_string(), "tcp://192.0.2.1:9");

        let peer = Peer::new("unix:/a")
            .with_identity(Identity::process(1000, 100, Some(42)))
            .with_local(true);
        assert_eq!(
            (peer.uid(), peer.gid(), peer.pid()),
            (Some(1000), Some(100), Some(42))
        );
        assert!(peer.is_local());
        assert_eq!(peer.to_string(), "unix:/a (uid 1000, pid 42)");
    }
}
