//! Who is at the other end of a connection, as far as the operating system vouches for it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use super::{Address, Certificate, HostPort, Identity};

/// The other end of a connection.
///
/// An address is where a peer is, an identity is who it is; only the second may decide what the
/// peer is allowed to do.
#[derive(Clone, Debug)]
pub struct Peer {
    place: Place,
    identity: Identity,
    /// Where the proof arrives with the first bytes, and not with the connection.
    proved: Option<Arc<OnceLock<Identity>>>,
    local: bool,
}

/// Where a peer is. Few connections are ever asked.
#[derive(Clone, Debug)]
enum Place {
    /// Shared by the connections of one listener or connector.
    Named(Arc<str>),
    /// With the scheme of the transport, and the text once somebody wants it.
    Socket(&'static str, SocketAddr, OnceLock<Box<str>>),
}

impl Place {
    fn text(&self) -> &str {
        match self {
            Self::Named(text) => text,
            Self::Socket(scheme, at, text) => {
                text.get_or_init(|| format!("{scheme}://{}", HostPort::from(*at)).into())
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

impl Peer {
    /// A peer at `address`, which is for people, on some machine and of unknown identity.
    pub fn new(address: impl Into<String>) -> Self {
        Self::at(Place::Named(address.into().into()))
    }

    /// As [`new`](Self::new), for an address that many peers have.
    pub(super) fn named(address: &Arc<str>) -> Self {
        Self::at(Place::Named(Arc::clone(address)))
    }

    /// A peer at a port of a host, by the transport `scheme`.
    pub(super) fn socket(scheme: &'static str, at: SocketAddr) -> Self {
        Self::at(Place::Socket(scheme, at, OnceLock::new()))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            identity: Identity::Unknown,
            proved: None,
            local: false,
        }
    }

    /// The identity comes into `proof` before the first byte of the peer is handed out.
    #[cfg(feature = "_tls")]
    pub(super) fn with_proof(mut self, proof: Arc<OnceLock<Identity>>) -> Self {
        self.proved = Some(proof);
        self
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
            Place::Socket(_, at, _) => Some(at.ip()),
            Place::Named(text) => text.parse::<Address>().ok()?.host_port()?.ip(),
        }
    }

    /// Who the peer is.
    pub fn identity(&self) -> &Identity {
        let proved = self.proved.as_ref().and_then(|proof| proof.get());
        proved.unwrap_or(&self.identity)
    }

    /// The certificate whose key the peer holds, if it showed one that this side trusts.
    pub fn certificate(&self) -> Option<&Certificate> {
        match self.identity() {
            Identity::Certificate(certificate) => Some(certificate),
            _ => None,
        }
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
        match *self.identity() {
            Identity::Process { uid, .. } => Some(uid),
            _ => None,
        }
    }

    /// The group that the peer ran as when it connected, if the kernel vouches for it.
    pub fn gid(&self) -> Option<u32> {
        match *self.identity() {
            Identity::Process { gid, .. } => Some(gid),
            _ => None,
        }
    }

    /// The number of the peer's process, if the kernel tells.
    pub fn pid(&self) -> Option<u32> {
        match *self.identity() {
            Identity::Process { pid, .. } => pid,
            _ => None,
        }
    }
}

/// Two are equal that are at the same place and are the same.
impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        self.place == other.place
            && self.identity() == other.identity()
            && self.local == other.local
    }
}

impl Eq for Peer {}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.address())?;
        match self.identity() {
            Identity::Unknown => Ok(()),
            identity => write!(f, " ({identity})"),
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
