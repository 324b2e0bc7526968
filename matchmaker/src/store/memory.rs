//! The store that survives nothing: registrants register again after a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use rpc_core::discovery::matchmaker::{Epoch, InstanceId, Revision};

use super::{Store, StoreError};
use crate::registry::{Action, Change, Contents, Record};

/// Keeps records in memory, for as long as the process runs.
#[derive(Debug)]
pub struct MemoryStore {
    epoch: Epoch,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    revision: Revision,
    records: BTreeMap<InstanceId, Arc<Record>>,
}

impl MemoryStore {
    /// An empty store with a life of its own.
    pub fn new() -> Self {
        Self {
            epoch: Epoch::random(),
            held: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self) -> Result<Contents, StoreError> {
        let held = self.held();
        let records = held.records.values().map(Arc::clone).collect();
        Ok(Contents {
            epoch: self.epoch,
            revision: held.revision,
            records,
        })
    }

    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut held = self.held();
        let new = || {
            changes
                .iter()
                .filter(|change| change.revision > held.revision)
        };
        let mut committed = held.revision;
        for Change {
            revision: found, ..
        } in new()
        {
            if found.0 != committed.0.saturating_add(1) {
                return Err(StoreError::OutOfOrder {
                    committed,
                    found: *found,
                });
            }
            committed = *found;
        }
        let first = held.revision;
        for change in changes.iter().filter(|change| change.revision > first) {
            match &change.action {
                Action::Put(record) => held.records.insert(change.instance, Arc::clone(record)),
                Action::Remove(_) => held.records.remove(&change.instance),
            };
        }
        held.revision = committed;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[tokio::test]
    async fn it_keeps_the_contract() {
        contract::check(MemoryStore::new(), |store| async { store }).await;
    }

    #[tokio::test]
    async fn every_store_has_a_life_of_its_own() {
        let (one, other) = (MemoryStore::new(), MemoryStore::new());
        assert_ne!(
            one.load().await.unwrap().epoch,
            other.load().await.unwrap().epoch
        );
    }
}
