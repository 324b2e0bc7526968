//! What lives beside a server and leaves before it: the seam for registration.

use async_trait::async_trait;

use crate::error::Error;
use crate::service::{BoxFuture, Descriptor};
use crate::transport::{Address, ConnectOptions, Listener};

/// What a server offers once it listens.
#[derive(Clone, Debug)]
pub(crate) struct Offering {
    pub(crate) services: Vec<&'static Descriptor>,
    /// Where it listens.
    pub(crate) places: Vec<Place>,
    /// What every handshake says about who this is.
    pub(crate) instance: [u8; 16],
}

/// Where a server listens.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// With the port that the system chose.
    pub(crate) address: String,
    /// Who clients find there, as far as the transport proves it.
    pub(crate) identity: Option<String>,
}

impl Place {
    /// Where clients find `listener`.
    pub(super) fn of(listener: &dyn Listener) -> Self {
        Self {
            address: listener.address(),
            identity: listener.identity(),
        }
    }
}

/// Started with a server and told first when it drains.
#[async_trait]
pub(crate) trait Companion: Send + Sync + 'static {
    /// The server is about to stop; nobody new should be sent to it.
    async fn leave(&mut self);
}

/// What the builder was told about registration, read when the server starts, so that the order of
/// its lines does not matter.
#[derive(Clone, Debug, Default)]
pub(crate) struct RegistrationWish {
    pub(crate) matchmaker: Option<Result<Address, Error>>,
    /// Of the connections to it.
    pub(crate) connect: ConnectOptions,
    pub(crate) advertise: Vec<Result<Address, Error>>,
}

/// Makes a companion once the server listens.
pub(crate) type Recruit = Box<
    dyn FnOnce(Offering, RegistrationWish) -> BoxFuture<Result<Box<dyn Companion>, Error>> + Send,
>;
