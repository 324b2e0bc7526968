//! What a server remembers of one client's calls, so that none runs twice.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;

use super::{RECORDS_MAX, REMEMBERED};

/// The calls of one client, by number.
///
/// ```text
///      below the floor            |   from the floor on
///   what has a record is known,   |   what has a record is known,
///   the rest is over for good     |   the rest is new
/// ```
///
/// The floor never goes down. It rises with what the client says that it has, and with each reply
/// that must be forgotten: of a number that was in the table once nobody can say "new" again.
#[derive(Debug)]
pub(super) struct Window {
    floor: u64,
    /// The client has the replies to all calls below.
    acknowledged: u64,
    records: BTreeMap<u64, Record>,
    /// The replies in the order in which they were made. One that is gone may still be named here and
    /// is skipped when its turn comes.
    order: VecDeque<u64>,
    /// Records of replies.
    replies: usize,
    /// Bytes of those replies.
    bytes: usize,
    memory: Memory,
}

#[derive(Debug)]
enum Record {
    Running,
    /// The whole datagram, as it was sent; empty if there was no memory for it.
    Replied {
        reply: Bytes,
        at: Instant,
    },
}

/// What a call meets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// It was never here.
    New,
    /// It is here, and not done.
    Running,
    /// It was here, and this was the reply.
    Replied(Bytes),
    /// It may have been here.
    Forgotten,
}

impl Window {
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            floor: 1,
            acknowledged: 1,
            records: BTreeMap::new(),
            order: VecDeque::new(),
            replies: 0,
            bytes: 0,
            memory,
        }
    }

    pub(super) fn meet(&self, number: u64) -> Meeting {
        match self.records.get(&number) {
            Some(Record::Running) => Meeting::Running,
            Some(Record::Replied { reply, .. }) if !reply.is_empty() => {
                Meeting::Replied(reply.clone())
            }
            Some(_) => Meeting::Forgotten,
            None if number < self.floor => Meeting::Forgotten,
            None => Meeting::New,
        }
    }

    /// The client needs no reply below `floor`.
    pub(super) fn acknowledge(&mut self, floor: u64) {
        if floor <= self.acknowledged {
            return;
        }
        self.acknowledged = floor;
        self.floor = self.floor.max(floor);
        let over = self.records.range(..floor);
        let over: Vec<u64> = over
            .filter(|(_, record)| matches!(record, Record::Replied { .. }))
            .map(|(&number, _)| number)
            .collect();
        for number in over {
            self.remove(number);
        }
        // What is named in the order and gone is never the most of it.
        if self.order.len() > self.replies.saturating_mul(2).saturating_add(RECORDS_MAX) {
            let records = &self.records;
            self.order.retain(|number| records.contains_key(number));
        }
    }

    /// A new call is run.
    pub(super) fn begin(&mut self, number: u64) {
        self.records.insert(number, Record::Running);
    }

    /// The call is over, and this is its reply.
    pub(super) fn finish(&mut self, now: Instant, number: u64, reply: Bytes) {
        self.remove(number);
        if number < self.acknowledged {
            // The client wants none, and what is below the floor is over without a record.
            return;
        }
        while self.replies >= RECORDS_MAX && self.forget_oldest() {}
        let mut reply = reply;
        while !self.memory.take(reply.len()) {
            if !self.forget_oldest() {
                reply = Bytes::new();
            }
        }
        self.bytes = self.bytes.saturating_add(reply.len());
        self.replies = self.replies.saturating_add(1);
        self.order.push_back(number);
        self.records
            .insert(number, Record::Replied { reply, at: now });
    }

    /// Forgets replies that are too old.
    pub(super) fn sweep(&mut self, now: Instant) {
        while let Some(number) = self.order.front() {
            match self.records.get(number) {
                Some(Record::Replied { at, .. }) => {
                    if now.saturating_duration_since(*at) < REMEMBERED {
                        return;
                    }
                    self.forget_oldest();
                }
                _ => {
                    self.order.pop_front();
                }
            }
        }
    }

    /// Forgets the reply that was made first, whose call is not new for that; `false` if there is
    /// none.
    fn forget_oldest(&mut self) -> bool {
        while let Some(number) = self.order.pop_front() {
            if self.remove(number) {
                self.floor = self.floor.max(number.saturating_add(1));
                return true;
            }
        }
        false
    }

    /// Takes a record out; whether it was one of a reply.
    fn remove(&mut self, number: u64) -> bool {
        let Some(Record::Replied { reply, .. }) = self.records.remove(&number) else {
            return false;
        };
        self.replies = self.replies.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(reply.len());
        self.memory.give(reply.len());
        true
    }

    /// Bytes of replies.
    pub(super) fn held(&self) -> usize {
        self.bytes
    }

    #[cfg(test)]
    pub(super) fn replies(&self) -> usize {
        self.replies
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.memory.give(self.bytes);
    }
}

/// What all clients of a server together may have remembered. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory(Arc<AtomicUsize>);

impl Memory {
    /// Bytes of replies over all clients: 64 MiB, a hundred clients with all that they may have, or
    /// thousands that say what they need no more.
    pub(super) const MAX: usize = 64 * 1024 * 1024;

    /// Takes so much, if it is there.
    fn take(&self, bytes: usize) -> bool {
        let taken = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= Self::MAX)
            });
        taken.is_ok()
    }

    fn give(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn reply(length: usize) -> Bytes {
        Bytes::from(vec![b'!'; length])
    }

    /// A window in which calls up to `last` have run and were replied to.
    fn replied(last: u64, now: Instant) -> Window {
        let mut window = Window::new(Memory::default());
        for number in 1..=last {
            assert_eq!(window.meet(number), Meeting::New);
            window.begin(number);
            assert_eq!(window.meet(number), Meeting::Running);
            window.finish(now, number, reply(10));
        }
        window
    }

    #[test]
    fn the_last_512_replies_are_remembered_and_nothing_below_is_new_again() {
        let window = replied(600, Instant::now());
        for number in 1..=88 {
            assert_eq!(window.meet(number), Meeting::Forgotten);
        }
        for number in 89..=600 {
            assert_eq!(window.meet(number), Meeting::Replied(reply(10)));
        }
        assert_eq!(window.meet(601), Meeting::New);
        assert_eq!(
            window.meet(0),
            Meeting::Forgotten,
            "no call has this number"
        );
    }

    #[test]
    fn a_call_that_runs_for_long_stays_known_below_the_floor() {
        let now = Instant::now();
        let mut window = Window::new(Memory::default());
        window.begin(1);
        for number in 2..=2000 {
            window.begin(number);
            window.finish(now, number, reply(10));
        }
        assert_eq!(window.meet(1), Meeting::Running);
        window.finish(now, 1, reply(10));
        assert_eq!(window.meet(1), Meeting::Replied(reply(10)));
        assert_eq!(window.meet(1489), Meeting::Forgotten, "the oldest went");
        assert_eq!(window.meet(1490), Meeting::Replied(reply(10)));
    }

    #[test]
    fn what_the_client_has_is_let_go() {
        let now = Instant::now();
        let mut window = replied(100, now);
        window.begin(101);
        window.acknowledge(50);
        assert_eq!(window.meet(49), Meeting::Forgotten);
        assert_eq!(window.meet(50), Meeting::Replied(reply(10)));
        assert_eq!(window.replies(), 51);
        window.acknowledge(20);
        assert_eq!(window.meet(49), Meeting::Forgotten, "it never goes down");
        window.acknowledge(200);
        assert_eq!((window.replies(), window.held()), (0, 0));
        assert_eq!(window.meet(101), Meeting::Running);
        assert_eq!(window.meet(199), Meeting::Forgotten);
        assert_eq!(window.meet(200), Meeting::New);
        // What the client has is no reason to forget what it has not.
        window.begin(200);
        window.finish(now, 200, reply(10));
        window.sweep(now);
        assert_eq!(window.meet(200), Meeting::Replied(reply(10)));
    }

    #[test]
    fn a_reply_is_forgotten_after_five_minutes() {
        let start = Instant::now();
        let mut window = replied(10, start);
        let later = start + REMEMBERED;
        window.sweep(later - Duration::from_secs(1));
        assert_eq!(window.replies(), 10);
        window.begin(11);
        window.finish(later - Duration::from_secs(1), 11, reply(10));
        window.sweep(later);
        assert_eq!(window.replies(), 1);
        assert_eq!(window.meet(10), Meeting::Forgotten);
        assert_eq!(window.meet(11), Meeting::Replied(reply(10)));
    }

    #[test]
    fn all_clients_share_64_mib_and_give_back_what_they_had() {
        let now = Instant::now();
        let memory = Memory::default();
        let mut hog = Window::new(memory.clone());
        for number in 1..=64 {
            hog.finish(now, number, reply(1024 * 1024));
        }
        assert_eq!(memory.used(), Memory::MAX);
        let mut other = Window::new(memory.clone());
        other.begin(1);
        other.finish(now, 1, reply(1000));
        // It ran, so it is not new; it is only not remembered.
        assert_eq!(other.meet(1), Meeting::Forgotten);
        assert_eq!(other.meet(2), Meeting::New);
        // Who has much loses the oldest of its own.
        hog.finish(now, 65, reply(1000));
        assert_eq!(hog.meet(1), Meeting::Forgotten);
        assert_eq!(hog.meet(65), Meeting::Replied(reply(1000)));
        drop(hog);
        drop(other);
        assert_eq!(memory.used(), 0);
    }
}
