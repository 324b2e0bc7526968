//! What registrants may occupy, and what they do occupy.

use std::collections::HashMap;
use std::time::Duration;

use rpc_core::discovery::matchmaker::RegistryError;

use super::change::Principal;
use super::lease::{LEASE_TTL_DEFAULT, LEASE_TTL_MAX, LEASE_TTL_MIN};

/// What a registrant may occupy.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Service entries of one principal: 1,024. A large process offers a few dozen.
    pub names_per_principal: usize,
    /// Service entries in all: 100,000, which is about 100 MB.
    pub names_total: usize,
    /// Bytes of addresses and tags of one instance: 4 KiB.
    pub value_bytes: usize,
    /// Open watches on one connection: 256. A client opens one for each service that it calls.
    pub watches_per_connection: usize,
    /// Watches that may wait at a time, of all connections.
    pub watches_total: usize,
    /// The lease of who asks for none in particular.
    pub ttl_default: Duration,
    /// The shortest lease; less is raised to it.
    pub ttl_min: Duration,
    /// The longest lease; more is cut to it.
    pub ttl_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            names_per_principal: 1_024,
            names_total: 100_000,
            value_bytes: 4 * 1024,
            watches_per_connection: 256,
            watches_total: 100_000,
            ttl_default: LEASE_TTL_DEFAULT,
            ttl_min: LEASE_TTL_MIN,
            ttl_max: LEASE_TTL_MAX,
        }
    }
}

impl Limits {
    /// The lease that is granted to who asks for `ttl`.
    pub(crate) fn ttl(&self, ttl: Option<Duration>) -> Duration {
        ttl.unwrap_or(self.ttl_default)
            .min(self.ttl_max)
            .max(self.ttl_min)
    }
}

/// Service entries, by the principal that they are charged to.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    by_principal: HashMap<Principal, usize>,
    total: usize,
}

impl Accounts {
    /// Whether a principal may replace `before` service entries by `after`.
    pub(super) fn afford(
        &self,
        limits: &Limits,
        principal: &Principal,
        before: usize,
        after: usize,
    ) -> Result<(), RegistryError> {
        // Whoever does not grow is let through, even where a limit has been lowered meanwhile.
        let more = after.saturating_sub(before);
        if more == 0 {
            return Ok(());
        }
        let own = self.by_principal.get(principal).copied().unwrap_or(0);
        if own.saturating_add(more) > limits.names_per_principal {
            return Err(quota(
                "services of one principal",
                limits.names_per_principal,
            ));
        }
        if self.total.saturating_add(more) > limits.names_total {
            return Err(quota("services in all", limits.names_total));
        }
        Ok(())
    }

    /// Replaces `before` service entries of a principal by `after`.
    pub(super) fn charge(&mut self, principal: &Principal, before: usize, after: usize) {
        self.total = self.total.saturating_sub(before).saturating_add(after);
        let own = self.by_principal.entry(principal.clone()).or_default();
        *own = own.saturating_sub(before).saturating_add(after);
        if *own == 0 {
            self.by_principal.remove(principal);
        }
    }
}

/// The refusal to grow beyond a limit.
pub(super) fn quota(what: &str, limit: usize) -> RegistryError {
    RegistryError::QuotaExceeded {
        what: what.into(),
        limit: u64::try_from(limit).unwrap_or(u64::MAX),
    }
}
