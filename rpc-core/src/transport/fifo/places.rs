//! Places for sessions: so many for each user.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::record::Id;

/// The sessions of a listener, by user.
///
/// Linux gives the pipes of an unprivileged user 64 KiB each for the first 1,024 of them, and 8 KiB
/// for all beyond. A session has two pipes, which are the client's.
pub(super) struct Places {
    taken: Mutex<Taken>,
    /// A place became free.
    pub(super) freed: Notify,
}

#[derive(Default)]
struct Taken {
    /// Sessions of each user that has any.
    users: HashMap<u32, usize>,
    /// Pairs that are in use. Their names are gone, so that nothing else would stop a client from
    /// making them again.
    ids: HashSet<Id>,
}

/// What became of the wish for a place.
pub(super) enum Wish {
    Granted(Place),
    /// The user has all that it may have.
    Full,
    /// The pair is in use.
    Taken,
}

/// A place of a session, until dropped.
pub(super) struct Place {
    places: Arc<Places>,
    user: u32,
    id: Id,
}

impl Places {
    /// The most sessions of one user: 400 of them are 800 pipes, which leaves the user 224 for
    /// everything else before any shrink.
    pub(super) const PER_USER: usize = 400;

    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            taken: Mutex::default(),
            freed: Notify::new(),
        })
    }

    pub(super) fn take(self: &Arc<Self>, user: u32, id: Id) -> Wish {
        let mut taken = self.lock();
        if taken.ids.contains(&id) {
            return Wish::Taken;
        }
        let sessions = taken.users.entry(user).or_default();
        if *sessions >= Self::PER_USER {
            return Wish::Full;
        }
        *sessions = sessions.saturating_add(1);
        taken.ids.insert(id);
        Wish::Granted(Place {
            places: Arc::clone(self),
            user,
            id,
        })
    }

    /// Whether a wish of this user would be granted.
    pub(super) fn has_room(&self, user: u32) -> bool {
        let sessions = self.lock().users.get(&user).copied().unwrap_or_default();
        sessions < Self::PER_USER
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whose place it is.
    pub(super) fn user(&self) -> u32 {
        self.user
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.ids.remove(&self.id);
        if let Some(sessions) = taken.users.get_mut(&self.user) {
            *sessions = sessions.saturating_sub(1);
            if *sessions == 0 {
                taken.users.remove(&self.user);
            }
        }
        drop(taken);
        self.places.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_51_a_user_has_400_places_and_another_user_has_its_own() {
        let places = Places::new();
        let id = |number: usize| Id((number as u128).to_le_bytes());
        let mut held: Vec<_> = (0..Places::PER_USER)
            .map(|number| match places.take(7, id(number)) {
                Wish::Granted(place) => place,
                _ => panic!("place {number} is free"),
            })
            .collect();
        assert!(matches!(places.take(7, id(1000)), Wish::Full));
        assert!(matches!(places.take(8, id(1000)), Wish::Granted(_)));
        held.pop();
        assert!(matches!(places.take(7, id(1000)), Wish::Granted(_)));
        drop(held);
        assert!(places.lock().users.is_empty() && places.lock().ids.is_empty());
    }

    #[test]
    fn row_49_a_pair_in_use_is_refused() {
        let places = Places::new();
        let Wish::Granted(held) = places.take(7, Id([1; 16])) else {
            panic!("it is free");
        };
        assert!(matches!(places.take(7, Id([1; 16])), Wish::Taken));
        drop(held);
        assert!(matches!(places.take(7, Id([1; 16])), Wish::Granted(_)));
    }
}
