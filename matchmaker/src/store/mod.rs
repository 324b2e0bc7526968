//! Where the registry's records are kept.
//!
//! The registry decides and the store remembers: each change is applied in memory first and
//! committed here before its caller hears of it. Readers are answered from memory, so a store that
//! is slow or away never keeps anyone from services that are known already.
//!
//! Leases are not stored. A loaded record gets its full time again, and who has died meanwhile does
//! not renew it.

mod memory;

#[cfg(test)]
pub(crate) mod contract;

use std::error::Error as StdError;
use std::fmt;

use async_trait::async_trait;
use rpc_core::discovery::matchmaker::Revision;

use crate::registry::{Change, Contents};

pub use self::memory::MemoryStore;

/// Keeps the records of one registry.
///
/// One registry writes to a store at a time, and its calls do not overlap.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Everything that has been committed.
    ///
    /// The epoch stays the same for as long as the store can vouch that nobody has seen a revision
    /// that it has forgotten, and is a new one otherwise.
    async fn load(&self) -> Result<Contents, StoreError>;

    /// Commits changes, all or none, and returns when they would survive whatever this store
    /// survives.
    ///
    /// Changes come in order and without gaps. Those that are committed already are skipped, so that
    /// a commit may be repeated whose answer was lost or whose future was dropped.
    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError>;
}

/// Why a store did not do what it was asked to.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The medium behind it failed; the same commit may succeed later.
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A change does not follow on the last one committed: somebody else writes to the store.
    OutOfOrder {
        /// The last change committed.
        committed: Revision,
        /// The change that was to follow it.
        found: Revision,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { doing, source } => {
                write!(f, "the store failed while {doing}: {source}")
            }
            Self::OutOfOrder { committed, found } => write!(
                f,
                "change {found} does not follow on change {committed}, the last in the store; \
                 make sure that one matchmaker alone writes to it"
            ),
        }
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Unavailable { source, .. } => Some(source.as_ref()),
            Self::OutOfOrder { .. } => None,
        }
    }
}
