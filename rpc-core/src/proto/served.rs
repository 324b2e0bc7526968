//! The calls that the peer makes.

use std::collections::HashMap;
use std::time::Instant;

use super::assembly::{Assembly, Bounds};
use super::id::CallId;
use crate::wire::{Payload, RequestHead};

/// The peer's calls, from their first frame until their handler is gone.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// The highest number seen: numbers only go up, so a repeated call cannot run twice.
    last: u64,
    /// The peer picks the numbers, so they are hashed with a secret.
    table: HashMap<CallId, Entry>,
    /// No deadline in the table is before it; see [`Calls`](super::calls::Calls).
    earliest: Option<Instant>,
    /// Calls handed to a handler that has neither answered nor said that it goes on.
    starting: usize,
    /// Bytes of requests under assembly.
    assembling: usize,
    /// Which calls of the table are held; the oldest is released first.
    held: Vec<CallId>,
}

#[derive(Debug)]
struct Entry {
    deadline: Instant,
    state: State,
}

/// ```text
///   Receiving --last chunk--> (Held) --peer reads again--> starting --answered--> (ended)
///       +-- cancelled or late: (ended)                        +-- goes on --> Running
///                                             Running --answered--> (ended)
///                                                +-- cancelled or late --> Aborted
///                                                   Aborted --its handler is gone--> (ended)
/// ```
///
/// An aborted call keeps its place until its handler is gone: otherwise a peer that cancels as fast
/// as it calls could run any number of handlers at once.
#[derive(Debug)]
enum State {
    Receiving {
        head: RequestHead,
        assembly: Assembly,
    },
    Held {
        head: RequestHead,
        payload: Payload,
    },
    Running,
    Aborted,
}

/// A request that is complete.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) id: CallId,
    pub(super) head: RequestHead,
    pub(super) deadline: Instant,
    pub(super) payload: Payload,
}

/// What a frame for a call of the peer meets.
pub(super) enum Arrival {
    Complete(Complete),
    Continues,
    /// The request is over the limit and is forgotten.
    TooLarge,
    /// Too many bytes of requests are under assembly; this one is forgotten.
    Crowded,
    /// The call ended already, which the peer could not know.
    Late,
    /// There was no such call, or its request is complete.
    Stray,
}

/// What became of a call that is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// It never ran.
    Unstarted,
    /// Its handler is to be dropped.
    Running,
}

impl Served {
    /// Whether `id` may begin a call; from here on it counts as seen.
    #[inline]
    pub(super) fn admit(&mut self, id: CallId) -> bool {
        let fresh = id.0 > self.last;
        if fresh {
            self.last = id.0;
        }
        fresh
    }

    /// A request is handed to its handler, which either answers at once and needs no place in the
    /// table, or [goes on](Self::go_on).
    #[inline]
    pub(super) fn start(&mut self) {
        self.starting = self.starting.saturating_add(1);
    }

    /// A handler that was started answered at once.
    #[inline]
    pub(super) fn answered(&mut self) {
        self.starting = self.starting.saturating_sub(1);
    }

    /// A handler that was started goes on.
    pub(super) fn go_on(&mut self, id: CallId, deadline: Instant) {
        self.answered();
        self.insert(id, deadline, State::Running);
    }

    /// Requests that were handed out are not taken up any more.
    pub(super) fn abandon(&mut self) {
        self.starting = 0;
    }

    /// A request that came whole and must wait until the peer reads its replies.
    pub(super) fn hold(
        &mut self,
        id: CallId,
        deadline: Instant,
        head: RequestHead,
        payload: Payload,
    ) {
        if let Err(place) = self.held.binary_search(&id) {
            self.held.insert(place, id);
        }
        self.insert(id, deadline, State::Held { head, payload });
    }

    /// The first frame of a request in chunks.
    pub(super) fn begin(
        &mut self,
        id: CallId,
        deadline: Instant,
        head: RequestHead,
        first: &[u8],
        bounds: Bounds,
    ) -> Arrival {
        let assembling = self.assembling.saturating_add(first.len());
        if assembling > bounds.total {
            return Arrival::Crowded;
        }
        self.assembling = assembling;
        let assembly = Assembly::new(first);
        self.insert(id, deadline, State::Receiving { head, assembly });
        Arrival::Continues
    }

    /// A further frame of a request.
    pub(super) fn chunk(
        &mut self,
        id: CallId,
        chunk: &[u8],
        more: bool,
        bounds: Bounds,
    ) -> Arrival {
        let known = id.0 <= self.last;
        let Some(entry) = self.table.get_mut(&id) else {
            return if known { Arrival::Late } else { Arrival::Stray };
        };
        let State::Receiving { assembly, .. } = &mut entry.state else {
            return Arrival::Stray;
        };
        if assembly.len().saturating_add(chunk.len()) > bounds.message {
            self.remove(id);
            return Arrival::TooLarge;
        }
        if self.assembling.saturating_add(chunk.len()) > bounds.total {
            self.remove(id);
            return Arrival::Crowded;
        }
        assembly.push(chunk);
        self.assembling = self.assembling.saturating_add(chunk.len());
        if more {
            return Arrival::Continues;
        }
        match self.remove(id) {
            Some(Entry {
                deadline,
                state: State::Receiving { head, assembly },
            }) => Arrival::Complete(Complete {
                id,
                head,
                deadline,
                payload: assembly.finish(),
            }),
            _ => Arrival::Late,
        }
    }

    /// The buffer of a message of which so many bytes more are to come, if there is such a message
    /// and the limits leave room for them.
    pub(super) fn lend(&mut self, id: CallId, wanted: usize, bounds: Bounds) -> Option<Vec<u8>> {
        let State::Receiving { assembly, .. } = &mut self.table.get_mut(&id)?.state else {
            return None;
        };
        let fits = assembly.len().saturating_add(wanted) <= bounds.message
            && self.assembling.saturating_add(wanted) <= bounds.total;
        fits.then(|| assembly.lend(wanted)).flatten()
    }

    /// The buffer that was lent comes back with so many bytes more.
    pub(super) fn give_back(&mut self, id: CallId, buffer: Vec<u8>, more: usize) {
        let state = self.table.get_mut(&id).map(|entry| &mut entry.state);
        if let Some(State::Receiving { assembly, .. }) = state {
            assembly.give_back(buffer);
            self.assembling = self.assembling.saturating_add(more);
        }
    }

    /// Whether requests wait until the peer reads its replies.
    #[inline]
    pub(super) fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// A held request that may run now.
    pub(super) fn release(&mut self) -> Option<Complete> {
        let id = *self.held.first()?;
        match self.remove(id)? {
            Entry {
                deadline,
                state: State::Held { head, payload },
            } => Some(Complete {
                id,
                head,
                deadline,
                payload,
            }),
            _ => None,
        }
    }

    /// A call is to stop: cancelled, late, or the connection is gone.
    pub(super) fn stop(&mut self, id: CallId) -> Option<Stopped> {
        let entry = self.table.get_mut(&id)?;
        match entry.state {
            State::Running => {
                entry.state = State::Aborted;
                Some(Stopped::Running)
            }
            State::Aborted => None,
            State::Receiving { .. } | State::Held { .. } => {
                self.remove(id);
                Some(Stopped::Unstarted)
            }
        }
    }

    /// The handler of a call is gone; whether the peer still waits for its reply.
    pub(super) fn finish(&mut self, id: CallId) -> bool {
        matches!(
            self.remove(id),
            Some(Entry {
                state: State::Running,
                ..
            })
        )
    }

    /// Calls whose deadline is over; the caller stops them.
    pub(super) fn late(&mut self, now: Instant) -> Vec<CallId> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let mut late = Vec::new();
        self.earliest = None;
        for (id, entry) in &self.table {
            if matches!(entry.state, State::Aborted) {
                continue;
            }
            if entry.deadline <= now {
                late.push(*id);
            } else if self
                .earliest
                .is_none_or(|earliest| entry.deadline < earliest)
            {
                self.earliest = Some(entry.deadline);
            }
        }
        late
    }

    pub(super) fn ids(&self) -> Vec<CallId> {
        let mut ids = Vec::new();
        self.table.keys().for_each(|id| ids.push(*id));
        ids
    }

    pub(super) fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    pub(super) fn assembling(&self) -> usize {
        self.assembling
    }

    #[inline]
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Gives back the room that a crowd took, if no call is left of it.
    pub(super) fn tidy(&mut self) {
        if self.is_roomy() {
            self.table = HashMap::new();
        }
    }

    /// Whether there is room for calls and no call.
    pub(super) fn is_roomy(&self) -> bool {
        self.table.is_empty() && self.table.capacity() > 0
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.table.len().saturating_add(self.starting)
    }

    fn insert(&mut self, id: CallId, deadline: Instant, state: State) {
        self.earliest = Some(
            self.earliest
                .map_or(deadline, |earliest| earliest.min(deadline)),
        );
        self.table.insert(id, Entry { deadline, state });
    }

    fn remove(&mut self, id: CallId) -> Option<Entry> {
        let entry = self.table.remove(&id)?;
        match &entry.state {
            State::Receiving { assembly, .. } => {
                self.assembling = self.assembling.saturating_sub(assembly.len());
            }
            State::Held { .. } => {
                if let Ok(place) = self.held.binary_search(&id) {
                    self.held.remove(place);
                }
            }
            State::Running | State::Aborted => {}
        }
        Some(entry)
    }
}
