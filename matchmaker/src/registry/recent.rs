//! A map that remembers its most recent keys only.
//!
//! What has gone leaves a trace for a while, and the traces of a busy registry must not outgrow it.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// At most `capacity` of the keys inserted last.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    capacity: usize,
    inserted: u64,
    values: HashMap<K, (u64, V)>,
    /// In the order of insertion. Entries whose number is not the key's own are outdated.
    order: VecDeque<(u64, K)>,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            inserted: 0,
            values: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Remembers a key as the most recent one, and returns the one that is forgotten for it.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<(K, V)> {
        self.inserted = self.inserted.saturating_add(1);
        self.values.insert(key.clone(), (self.inserted, value));
        self.order.push_back((self.inserted, key));
        if self.order.len() <= self.capacity {
            return None;
        }
        let (number, oldest) = self.order.pop_front()?;
        if self.values.get(&oldest)?.0 != number {
            return None;
        }
        let (_, value) = self.values.remove(&oldest)?;
        Some((oldest, value))
    }

    pub(super) fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.values.remove(key).map(|(_, value)| value)
    }

    pub(super) fn find<Q>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.values.get(key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut recent = Recent::new(2);
        assert_eq!(recent.insert("a", 1), None);
        assert_eq!(recent.insert("b", 2), None);
        assert_eq!(recent.insert("c", 3), Some(("a", 1)));
        assert_eq!(recent.find("a"), None);
        assert_eq!(recent.remove("b"), Some(2));
        assert_eq!(recent.find("c"), Some(&3));
    }

    #[test]
    fn a_key_that_comes_and_goes_stays_bounded() {
        let mut recent = Recent::new(4);
        for n in 0..1_000 {
            assert_eq!(recent.insert("a", n), None);
        }
        assert_eq!(recent.find("a"), Some(&999));
        assert!(recent.order.len() <= 4);
    }
}
