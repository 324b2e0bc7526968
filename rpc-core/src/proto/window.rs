//! A table of calls of our own, by number.

use std::collections::VecDeque;

use super::id::{ById, CallId};

/// Entries by call number. Numbers only go up and most calls are short, so the entries of the recent
/// numbers stand in a row, where one is found without a search. A call that outlives many later ones
/// moves to a table beside it, so that the row stays about as long as there are calls in it.
#[derive(Debug)]
pub(super) struct Window<T> {
    /// The number of the first place of `recent`.
    base: u64,
    recent: VecDeque<Option<T>>,
    /// Places of `recent` that are taken.
    taken: usize,
    old: ById<T>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self {
            base: 0,
            recent: VecDeque::new(),
            taken: 0,
            old: ById::default(),
        }
    }
}

impl<T> Window<T> {
    /// Places that may be empty however few are taken: moving entries for less is not worth it.
    const SLACK: usize = 64;

    /// Puts in the entry of a number above all before.
    #[inline]
    pub(super) fn push(&mut self, id: CallId, entry: T) {
        if self.recent.is_empty() {
            self.base = id.0;
        }
        self.recent.push_back(Some(entry));
        self.taken = self.taken.saturating_add(1);
        if self.recent.len() > self.taken.saturating_mul(2).saturating_add(Self::SLACK) {
            self.retire();
        }
    }

    #[inline]
    pub(super) fn get(&self, id: CallId) -> Option<&T> {
        match self.place(id) {
            Some(place) => self.recent.get(place)?.as_ref(),
            None => self.old.get(&id),
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: CallId) -> Option<&mut T> {
        match self.place(id) {
            Some(place) => self.recent.get_mut(place)?.as_mut(),
            None => self.old.get_mut(&id),
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, id: CallId) -> Option<T> {
        let Some(place) = self.place(id) else {
            return self.old.remove(&id);
        };
        let entry = self.recent.get_mut(place)?.take()?;
        self.taken = self.taken.saturating_sub(1);
        self.trim();
        Some(entry)
    }

    /// Takes the entry out if `look` has something to say about it, which is returned. The entry is not
    /// moved.
    #[inline]
    pub(super) fn clear_if<R>(
        &mut self,
        id: CallId,
        look: impl FnOnce(&T) -> Option<R>,
    ) -> Option<R> {
        let Some(place) = self.place(id) else {
            let said = look(self.old.get(&id)?)?;
            self.old.remove(&id);
            return Some(said);
        };
        let place = self.recent.get_mut(place)?;
        let said = look(place.as_ref()?)?;
        *place = None;
        self.taken = self.taken.saturating_sub(1);
        self.trim();
        Some(said)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (CallId, &T)> {
        let recent = (self.base..).zip(&self.recent);
        let recent = recent.filter_map(|(id, entry)| Some((CallId(id), entry.as_ref()?)));
        self.old
            .iter()
            .map(|(id, entry)| (*id, entry))
            .chain(recent)
    }

    pub(super) fn len(&self) -> usize {
        self.taken.saturating_add(self.old.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn place(&self, id: CallId) -> Option<usize> {
        usize::try_from(id.0.checked_sub(self.base)?).ok()
    }

    /// Takes the empty places off the front.
    #[inline]
    fn trim(&mut self) {
        while let Some(None) = self.recent.front() {
            self.recent.pop_front();
            self.base = self.base.saturating_add(1);
        }
    }

    /// Gives back the room that a crowd took, if there is no entry.
    pub(super) fn tidy(&mut self) {
        if self.is_empty() && self.recent.capacity().max(self.old.capacity()) > Self::SLACK {
            self.recent = VecDeque::new();
            self.old = ById::default();
        }
    }

    /// Moves the oldest entry out of the row.
    #[cold]
    fn retire(&mut self) {
        if let Some(Some(entry)) = self.recent.pop_front() {
            self.old.insert(CallId(self.base), entry);
            self.taken = self.taken.saturating_sub(1);
        }
        self.base = self.base.saturating_add(1);
        self.trim();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_number_in_any_order() {
        let mut window = Window::default();
        for id in 1..=100 {
            window.push(CallId(id), id * 10);
        }
        for id in (1..=100).rev() {
            assert_eq!(window.get(CallId(id)), Some(&(id * 10)));
            assert_eq!(window.remove(CallId(id)), Some(id * 10));
            assert_eq!(window.remove(CallId(id)), None);
        }
        assert!(window.is_empty());
        assert_eq!(window.get(CallId(1000)), None);
    }

    #[test]
    fn numbers_may_be_left_out_while_it_is_empty() {
        let mut window = Window::default();
        window.push(CallId(7), 'a');
        window.remove(CallId(7));
        window.push(CallId(900), 'b');
        assert_eq!(window.get(CallId(900)), Some(&'b'));
        assert_eq!(window.get(CallId(7)), None);
    }

    #[test]
    fn a_call_that_outlives_a_million_costs_no_room_for_them() {
        let mut window = Window::default();
        window.push(CallId(1), 1);
        for id in 2..1_000_000 {
            window.push(CallId(id), id);
            assert_eq!(window.remove(CallId(id)), Some(id));
        }
        assert!(
            window.recent.capacity() <= 256,
            "{}",
            window.recent.capacity()
        );
        assert_eq!(window.get(CallId(1)), Some(&1));
        let left: Vec<_> = window.iter().collect();
        assert_eq!(left, [(CallId(1), &1)]);
    }

    #[test]
    fn a_crowd_leaves_no_room_behind() {
        let mut window = Window::default();
        for id in 1..=10_000 {
            window.push(CallId(id), id);
        }
        assert_eq!(window.len(), 10_000);
        for id in 1..=10_000 {
            window.remove(CallId(id));
        }
        window.tidy();
        assert!(window.recent.capacity() <= 64);
    }
}
