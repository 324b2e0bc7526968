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
mod id;
mod registration;
mod snapshot;

pub use error::RegistryError;
pub use id::{Epoch, HostId, InstanceId, LeaseId, ParseInstanceIdError, Position, Revision};
pub use registration::{Endpoint, Offer, Registered, Registration};
pub use snapshot::{Cursor, Health, Instance, Query, Snapshot, State};

use std::time::Duration;

use crate::service;

/// Where a matchmaker listens, and is looked for, unless something else is said: the loopback
/// interface only, because plain TCP tells nobody apart.
pub const DEFAULT_ADDRESS: &str = "tcp://127.0.0.1:7111";

/// The environment variable that names another matchmaker.
pub const ADDRESS_VARIABLE: &str = "MATCHMAKER_ADDR";

/// The environment variable that, as `1` or `true`, allows clear text between this process and a
/// matchmaker on another host. It says nothing about calls to services.
pub const INSECURE_VARIABLE: &str = "MATCHMAKER_INSECURE";

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
