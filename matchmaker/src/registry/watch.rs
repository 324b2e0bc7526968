//! Who waits for a change of which name.
//!
//! [`Watches`] finds the watches that a change concerns and counts them by connection. What wakes a
//! watch is the caller's own type: it knows nothing about tasks or connections.

use std::collections::{BTreeMap, HashMap};

use rpc_core::discovery::matchmaker::RegistryError;

use super::account::quota;
use super::change::Change;
use super::lease::ConnectionKey;

/// Names a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WatchId(u64);

/// The open watches, each with a `W` to wake it.
#[derive(Debug)]
pub struct Watches<W> {
    opened: u64,
    by_id: HashMap<WatchId, (ConnectionKey, String)>,
    /// So that a change of one name costs what the watches of that name cost.
    by_name: HashMap<String, BTreeMap<WatchId, W>>,
    by_connection: HashMap<ConnectionKey, usize>,
    per_connection_max: usize,
    total_max: usize,
}

impl<W> Watches<W> {
    /// No watches; each connection may open `per_connection_max`, and all together `total_max`.
    pub fn new(per_connection_max: usize, total_max: usize) -> Self {
        Self {
            opened: 0,
            by_id: HashMap::new(),
            by_name: HashMap::new(),
            by_connection: HashMap::new(),
            per_connection_max,
            total_max,
        }
    }

    /// Opens a watch of a name, which need not exist.
    pub fn open(
        &mut self,
        connection: ConnectionKey,
        name: &str,
        waker: W,
    ) -> Result<WatchId, RegistryError> {
        if self.by_id.len() >= self.total_max {
            return Err(quota("watches", self.total_max));
        }
        let count = self.by_connection.entry(connection).or_default();
        if *count >= self.per_connection_max {
            if *count == 0 {
                self.by_connection.remove(&connection);
            }
            return Err(quota("watches on one connection", self.per_connection_max));
        }
        *count = count.saturating_add(1);
        self.opened = self.opened.saturating_add(1);
        let id = WatchId(self.opened);
        self.by_id.insert(id, (connection, name.to_owned()));
        self.by_name
            .entry(name.to_owned())
            .or_default()
            .insert(id, waker);
        Ok(id)
    }

    /// Closes a watch.
    pub fn close(&mut self, id: WatchId) {
        let Some((connection, name)) = self.by_id.remove(&id) else {
            return;
        };
        if let Some(watches) = self.by_name.get_mut(&name) {
            watches.remove(&id);
            if watches.is_empty() {
                self.by_name.remove(&name);
            }
        }
        if let Some(count) = self.by_connection.get_mut(&connection) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_connection.remove(&connection);
            }
        }
    }

    /// The watches that a change concerns.
    pub fn woken<'a>(&'a self, change: &'a Change) -> impl Iterator<Item = &'a W> {
        change
            .names
            .iter()
            .filter_map(|name| self.by_name.get(name))
            .flat_map(BTreeMap::values)
    }

    /// How many watches are open.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::{Action, Cause};
    use super::*;
    use rpc_core::discovery::matchmaker::{InstanceId, Revision};

    fn change(names: &[&str]) -> Change {
        Change {
            revision: Revision(1),
            instance: InstanceId::from_bytes([0; 16]),
            action: Action::Remove(Cause::Expired),
            names: names.iter().map(|name| name.to_string()).collect(),
        }
    }

    #[test]
    fn a_change_wakes_the_watches_of_its_names_only() {
        let mut watches = Watches::new(256, 1000);
        for (name, waker) in [("A", "a1"), ("B", "b"), ("A", "a2"), ("missing", "m")] {
            watches.open(ConnectionKey(1), name, waker).unwrap();
        }
        let woken =
            |names: &[&str]| -> Vec<&str> { watches.woken(&change(names)).copied().collect() };
        assert_eq!(woken(&["A"]), ["a1", "a2"]);
        assert_eq!(woken(&["A", "B"]), ["a1", "a2", "b"]);
        assert_eq!(woken(&["C"]), [""; 0]);
    }

    #[test]
    fn row_39_watches_are_counted_by_connection() {
        let mut watches = Watches::new(2, 100);
        let first = watches.open(ConnectionKey(1), "A", ()).unwrap();
        watches.open(ConnectionKey(1), "A", ()).unwrap();
        assert_eq!(
            watches.open(ConnectionKey(1), "B", ()),
            Err(RegistryError::QuotaExceeded {
                what: "watches on one connection".into(),
                limit: 2
            })
        );
        watches.open(ConnectionKey(2), "B", ()).unwrap();
        watches.close(first);
        watches.close(first);
        watches.open(ConnectionKey(1), "B", ()).unwrap();
        assert_eq!(watches.len(), 3);
    }

    #[test]
    fn closed_watches_leave_nothing_behind() {
        let mut watches = Watches::new(256, 1000);
        for n in 0..100 {
            let id = watches
                .open(ConnectionKey(n), &format!("x{n}"), ())
                .unwrap();
            watches.close(id);
        }
        assert!(watches.is_empty() && watches.by_name.is_empty());
        assert!(watches.by_connection.is_empty());
    }

    #[test]
    fn all_connections_together_have_a_limit() {
        let mut watches = Watches::new(2, 3);
        for connection in [1, 1, 2] {
            watches
                .open(ConnectionKey(connection), "Calculator", ())
                .unwrap();
        }
        let refused = watches
            .open(ConnectionKey(3), "Calculator", ())
            .unwrap_err();
        assert_eq!(refused, quota("watches", 3));
    }
}
