//! A list that is filled and emptied over and over.

use std::mem;

/// A list whose entries stay when it is emptied, to be written over by the next ones.
///
/// An entry that is made elsewhere and moved here is read in larger pieces than it was written in, right
/// after that, and the processor waits until all of them have arrived. That takes longer than to write
/// it, where an old one lies.
#[derive(Debug)]
pub(super) struct Pile<T> {
    all: Vec<T>,
    used: usize,
}

impl<T> Default for Pile<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            used: 0,
        }
    }
}

impl<T> Pile<T> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.used
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// One more entry, to be written over: an old one, or what `make` makes.
    #[inline]
    pub(super) fn next(&mut self, make: impl FnOnce() -> T) -> &mut T {
        let place = self.used;
        if place >= self.all.len() {
            self.all.push(make());
        }
        self.used += 1;
        &mut self.all[place]
    }

    /// One more entry.
    pub(super) fn push(&mut self, entry: T) {
        match self.all.get_mut(self.used) {
            Some(old) => *old = entry,
            None => self.all.push(entry),
        }
        self.used += 1;
    }

    /// All entries, in order.
    #[inline]
    pub(super) fn entries(&mut self) -> &mut [T] {
        self.all.get_mut(..self.used).unwrap_or_default()
    }

    /// Empties it. What the entries hold stays with them, so whoever took them in has emptied those.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// Gives back what old entries beyond `max` need.
    #[inline]
    pub(super) fn shrink(&mut self, max: usize) {
        if self.used == 0 && self.all.capacity() > max {
            self.all = Vec::new();
        }
    }

    /// Changes it for an empty one.
    #[inline]
    pub(super) fn take(&mut self) -> Self {
        mem::take(self)
    }
}

#[cfg(test)]
impl<T> Pile<T> {
    pub(super) fn of(entries: impl IntoIterator<Item = T>) -> Self {
        let all: Vec<T> = entries.into_iter().collect();
        Self {
            used: all.len(),
            all,
        }
    }

    pub(super) fn into_entries(mut self) -> Vec<T> {
        self.all.truncate(self.used);
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_written_over_where_they_lie() {
        let mut pile = Pile::default();
        assert_eq!(pile.next(|| "a".to_owned()), "a", "there is no old entry");
        pile.push("b".to_owned());
        assert_eq!(pile.entries(), ["a", "b"]);
        pile.clear();
        assert!(pile.is_empty() && pile.entries().is_empty());
        let old = pile.next(|| unreachable!("there is an old entry"));
        assert_eq!(old, "a");
        old.push('c');
        pile.push("d".to_owned());
        pile.push("e".to_owned());
        assert_eq!(pile.entries(), ["ac", "d", "e"]);
        assert_eq!(pile.len(), 3);
    }

    #[test]
    fn only_an_empty_one_gives_its_room_back() {
        let mut pile = Pile::default();
        (0..10).for_each(|entry| pile.push(entry));
        pile.shrink(4);
        assert_eq!(pile.len(), 10);
        pile.clear();
        pile.shrink(100);
        assert_eq!(*pile.next(|| 10), 0);
        pile.clear();
        pile.shrink(4);
        assert_eq!(*pile.next(|| 10), 10);
    }
}
