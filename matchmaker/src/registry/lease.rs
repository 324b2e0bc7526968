//! Leases: who must be heard from by when.
//!
//! [`Leases`] keeps its own clock, which stands still while the registry itself was stopped: a
//! deadline is a point on that clock, so one addition extends every lease. It knows leases,
//! instances and connections by their numbers only, and nothing about what is registered.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use rpc_core::discovery::matchmaker::{InstanceId, LeaseId};

/// The lease of a registrant that asks for none in particular: two of its renewals, at a third each,
/// may be lost before it ends.
pub const LEASE_TTL_DEFAULT: Duration = Duration::from_secs(15);

/// The shortest lease. Below it, an ordinary scheduling delay ends a lease.
pub const LEASE_TTL_MIN: Duration = Duration::from_secs(2);

/// The longest lease. Beyond it, a dead instance is on offer for longer than anyone waits.
pub const LEASE_TTL_MAX: Duration = Duration::from_secs(60 * 60);

/// How often time is looked at while there are leases, so that a pause of our own is noticed
/// exactly: two wake-ups a second cost nothing.
pub const TICK: Duration = Duration::from_millis(500);

/// A tick that is late by more than this was no scheduling delay: the process was stopped, or the
/// host was. Renewals that arrived meanwhile lie unread in socket buffers.
pub const PAUSE_MIN: Duration = Duration::from_secs(1);

/// How many leases end within one [`EXPIRY_INTERVAL`]. Any second touches eleven intervals, so it
/// sees fewer than 1,000 leases end, and neither store nor watchers meet a flood.
pub const EXPIRY_BATCH: usize = 90;

/// The time between two batches of expired leases.
pub const EXPIRY_INTERVAL: Duration = Duration::from_millis(100);

/// How many outdated queue entries are kept beyond one per lease before the queue is rebuilt.
const QUEUE_SLACK: usize = 64;

/// Names a connection to the matchmaker, for as long as the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionKey(pub u64);

/// All leases of a registry.
///
/// - Commands: [`grant`](Self::grant), [`renew`](Self::renew), [`revoke`](Self::revoke),
///   [`bind`](Self::bind).
/// - Inputs: [`observe`](Self::observe) before anything else that takes the time,
///   [`closed`](Self::closed), [`expire`](Self::expire).
/// - Output: [`poll_timeout`](Self::poll_timeout), when `expire` wants to be called next.
///
/// A lease ends when `expire` returns it, not when its time is up: a renewal that comes between the
/// two still counts.
#[derive(Debug)]
pub struct Leases {
    leases: HashMap<LeaseId, Lease>,
    /// When to look at which lease. A renewal leaves the entry where it is, and the lease is queued
    /// again when the entry comes up: renewals outnumber expiries by far and stay one map access.
    queue: BinaryHeap<Reverse<(Duration, LeaseId)>>,
    bound: HashMap<ConnectionKey, BTreeSet<LeaseId>>,
    /// The zero of the lease clock.
    origin: Instant,
    /// How long the lease clock has stood still since.
    paused: Duration,
    /// When time was last known to flow.
    last_tick: Instant,
    batch_since: Instant,
    batch: usize,
}

#[derive(Debug)]
struct Lease {
    instance: InstanceId,
    ttl: Duration,
    /// On the lease clock.
    ends: Duration,
    /// The one entry of the queue that counts for this lease; others are outdated.
    queued: Duration,
    bound: Option<ConnectionKey>,
}

impl Leases {
    /// No leases, at `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            leases: HashMap::new(),
            queue: BinaryHeap::new(),
            bound: HashMap::new(),
            origin: now,
            paused: Duration::ZERO,
            last_tick: now,
            batch_since: now,
            batch: 0,
        }
    }

    /// Takes note of the time, and stops the lease clock for as long as nobody did.
    pub fn observe(&mut self, now: Instant) {
        let gap = now.saturating_duration_since(self.last_tick);
        if self.leases.is_empty() {
            // Nobody ticks where nothing can expire, so a gap means nothing.
            self.last_tick = now;
        } else if gap > TICK.saturating_add(PAUSE_MIN) {
            self.paused = self.paused.saturating_add(gap);
            self.last_tick = now;
        }
    }

    /// Grants a lease. An id that is in use is granted anew.
    pub fn grant(&mut self, now: Instant, id: LeaseId, instance: InstanceId, ttl: Duration) {
        self.revoke(id);
        let ends = self.clock(now).saturating_add(ttl);
        self.leases.insert(
            id,
            Lease {
                instance,
                ttl,
                ends,
                queued: ends,
                bound: None,
            },
        );
        self.enqueue(ends, id);
    }

    /// Gives a lease its full time again; `ttl` replaces the one granted. Returns whether the lease
    /// exists.
    pub fn renew(&mut self, now: Instant, id: LeaseId, ttl: Duration) -> bool {
        let ends = self.clock(now).saturating_add(ttl);
        let Some(lease) = self.leases.get_mut(&id) else {
            return false;
        };
        lease.ttl = ttl;
        lease.ends = ends;
        if ends < lease.queued {
            lease.queued = ends;
            self.enqueue(ends, id);
        }
        true
    }

    /// Ends a lease now.
    pub fn revoke(&mut self, id: LeaseId) -> Option<InstanceId> {
        let lease = self.leases.remove(&id)?;
        self.unbind(id, lease.bound);
        Some(lease.instance)
    }

    /// Ties a lease to a connection, so that both end together, or unties it.
    pub fn bind(&mut self, id: LeaseId, connection: Option<ConnectionKey>) {
        let Some(lease) = self.leases.get_mut(&id) else {
            return;
        };
        if lease.bound == connection {
            return;
        }
        let before = std::mem::replace(&mut lease.bound, connection);
        self.unbind(id, before);
        if let Some(connection) = connection {
            self.bound.entry(connection).or_default().insert(id);
        }
    }

    /// Ends the leases that are tied to a connection; those that have moved to another since stay.
    pub fn closed(&mut self, connection: ConnectionKey) -> Vec<InstanceId> {
        let ids = self.bound.remove(&connection).unwrap_or_default();
        ids.into_iter()
            .filter_map(|id| self.leases.remove(&id))
            .map(|l| l.instance)
            .collect()
    }

    /// Ends the leases whose time is up, soonest first and at most [`EXPIRY_BATCH`] per
    /// [`EXPIRY_INTERVAL`].
    pub fn expire(&mut self, now: Instant) -> Vec<InstanceId> {
        self.observe(now);
        self.last_tick = self.last_tick.max(now);
        if now.saturating_duration_since(self.batch_since) >= EXPIRY_INTERVAL {
            self.batch_since = now;
            self.batch = 0;
        }
        let clock = self.clock(now);
        let mut ended = Vec::new();
        while self.batch < EXPIRY_BATCH {
            match self.queue.peek() {
                Some(Reverse((at, _))) if *at <= clock => {}
                _ => break,
            }
            let Some(Reverse((at, id))) = self.queue.pop() else {
                break;
            };
            let Some(lease) = self.leases.get_mut(&id) else {
                continue;
            };
            if lease.queued != at {
                continue;
            }
            if lease.ends > clock {
                let ends = lease.ends;
                lease.queued = ends;
                self.enqueue(ends, id);
                continue;
            }
            ended.extend(self.revoke(id));
            self.batch = self.batch.saturating_add(1);
        }
        ended
    }

    /// When [`expire`](Self::expire) wants to be called next; `None` while there are no leases.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.leases.is_empty() {
            return None;
        }
        let tick = self.last_tick.checked_add(TICK)?;
        let Some(Reverse((at, _))) = self.queue.peek() else {
            return Some(tick);
        };
        let mut next = self.origin.checked_add(self.paused.saturating_add(*at))?;
        if self.batch >= EXPIRY_BATCH {
            next = next.max(self.batch_since.checked_add(EXPIRY_INTERVAL)?);
        }
        Some(next.min(tick))
    }

    /// How long a lease has left, and how long it was granted for.
    pub fn time_left(&self, now: Instant, id: LeaseId) -> Option<(Duration, Duration)> {
        let lease = self.leases.get(&id)?;
        Some((lease.ends.saturating_sub(self.clock(now)), lease.ttl))
    }

    /// Whether the lease exists, and whose it is.
    pub fn instance(&self, id: LeaseId) -> Option<InstanceId> {
        self.leases.get(&id).map(|lease| lease.instance)
    }

    /// For how long in total the registry found itself stopped.
    pub fn paused(&self) -> Duration {
        self.paused
    }

    /// How many leases there are.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    fn clock(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
            .saturating_sub(self.paused)
    }

    fn enqueue(&mut self, at: Duration, id: LeaseId) {
        // Short lives and shortened leases leave outdated entries behind until their time comes,
        // which may be an hour: rebuilding at twice the size keeps the queue in proportion.
        let limit = self
            .leases
            .len()
            .saturating_mul(2)
            .saturating_add(QUEUE_SLACK);
        if self.queue.len() >= limit {
            self.queue = self
                .leases
                .iter()
                .map(|(id, lease)| Reverse((lease.queued, *id)))
                .collect();
        }
        self.queue.push(Reverse((at, id)));
    }

    fn unbind(&mut self, id: LeaseId, connection: Option<ConnectionKey>) {
        let Some(connection) = connection else { return };
        if let Some(ids) = self.bound.get_mut(&connection) {
            ids.remove(&id);
            if ids.is_empty() {
                self.bound.remove(&connection);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(15);

    fn instance(n: u64) -> InstanceId {
        InstanceId::from_bytes(u128::from(n).to_be_bytes())
    }

    /// Ticks as a punctual driver does, until `until`, and returns what ended and when.
    fn run(leases: &mut Leases, until: Instant) -> Vec<(Instant, InstanceId)> {
        let mut ended = Vec::new();
        while let Some(at) = leases.poll_timeout().filter(|at| *at <= until) {
            ended.extend(leases.expire(at).into_iter().map(|instance| (at, instance)));
        }
        ended
    }

    #[test]
    fn a_lease_ends_at_its_time_and_not_before() {
        let start = Instant::now();
        let mut leases = Leases::new(start);
        leases.grant(start, LeaseId(1), instance(1), TTL);
        assert_eq!(run(&mut leases, start + TTL - Duration::from_millis(1)), []);
        assert_eq!(run(&mut leases, start + TTL), [(start + TTL, instance(1))]);
        assert_eq!(leases.poll_timeout(), None);
    }

    #[test]
    fn a_renewal_counts_from_its_own_time() {
        let start = Instant::now();
        let mut leases = Leases::new(start);
        leases.grant(start, LeaseId(1), instance(1), TTL);
        let later = start + Duration::from_secs(10);
        run(&mut leases, later);
        assert!(leases.renew(later, LeaseId(1), TTL));
        assert_eq!(
            run(&mut leases, start + TTL * 3),
            [(later + TTL, instance(1))]
        );
        assert!(!leases.renew(start + TTL * 3, LeaseId(1), TTL));
    }

    #[test]
    fn a_shortened_lease_ends_sooner() {
        let start = Instant::now();
        let mut leases = Leases::new(start);
        leases.grant(start, LeaseId(1), instance(1), Duration::from_secs(60));
        leases.renew(start, LeaseId(1), TTL);
        assert_eq!(
            run(&mut leases, start + TTL * 8),
            [(start + TTL, instance(1))]
        );
    }

    #[test]
    fn row_31_a_pause_of_the_registry_extends_every_lease_by_as_much() {
        let start = Instant::now();
        let mut leases = Leases::new(start);
        for n in 0..1_000 {
            leases.grant(start, LeaseId(n), instance(n), TTL);
        }
        let stopped = start + Duration::from_secs(5);
        assert_eq!(run(&mut leases, stopped), []);
        let resumed = stopped + Duration::from_secs(60);
        assert_eq!(leases.expire(resumed), []);
        assert_eq!(leases.paused(), Duration::from_secs(60));
        // Everyone has as much time left as before the pause, and renews in it.
        assert_eq!(run(&mut leases, resumed + Duration::from_secs(9)), []);
        for n in 0..1_000 {
            assert!(leases.renew(resumed + Duration::from_secs(9), LeaseId(n), TTL));
        }
        assert_eq!(run(&mut leases, resumed + Duration::from_secs(23)), []);
    }

    #[test]
    fn row_31_a_pause_is_seen_by_whatever_comes_first_after_it() {
        let start = Instant::now();
        let mut leases = Leases::new(start);
        leases.grant(start, LeaseId(1), instance(1), TTL);
        let resumed = start + Duration::from_secs(60);
        leases.observe(resumed);
        assert!(leases.renew(resumed, LeaseId(1), TTL));
        // The renewal is worth its time and no more: the pause is not counted twice.
        assert_eq!(
            run(&mut leases, resumed + TTL * 3),
            [(resumed + TTL, instance(1))]
        );
    }

    #[test]
    fn row_31_a_late_tick_below_a_second_is_no_pause() {
        let start = Instant::now();
        let mut leases = Leases::new(start);
        leases.grant(start, LeaseId(1), instance(1), TTL);
        leases.expire(start + TICK + PAUSE_MIN);
        assert_eq!(leases.paused(), Duration::ZERO);
        leases.expire(start + (TICK + PAUSE_MIN) * 2 + Duration::from_millis(1));
        assert!(leases.paused() > PAUSE_MIN);
    }

    #[test]
    fn row_31_mass_expiry_is_spread() {
        let start = Instant::now();
        let mut leases = Leases::new(start);
        for n in 0..5_000 {
            leases.grant(start, LeaseId(n), instance(n), TTL);
        }
        let ended = run(&mut leases, start + Duration::from_secs(60));
        assert_eq!(ended.len(), 5_000);
        for (n, (at, _)) in ended.iter().enumerate() {
            if let Some((later, _)) = ended.get(n + 1_000) {
                assert!(*later - *at >= Duration::from_secs(1), "at {n}");
            }
        }
        let (last, _) = ended[ended.len() - 1];
        assert!(
            last - start < TTL + Duration::from_secs(6),
            "{:?}",
            last - start
        );
    }

    #[test]
    fn a_closing_connection_ends_the_leases_that_are_still_its_own() {
        let start = Instant::now();
        let mut leases = Leases::new(start);
        for n in 1..=3 {
            leases.grant(start, LeaseId(n), instance(n), TTL);
            leases.bind(LeaseId(n), Some(ConnectionKey(7)));
        }
        leases.bind(LeaseId(2), Some(ConnectionKey(8)));
        leases.bind(LeaseId(3), None);
        assert_eq!(leases.closed(ConnectionKey(7)), [instance(1)]);
        assert_eq!(leases.closed(ConnectionKey(7)), []);
        assert_eq!(leases.closed(ConnectionKey(8)), [instance(2)]);
        assert_eq!(leases.len(), 1);
        assert!(leases.bound.is_empty());
    }

    #[test]
    fn short_lives_do_not_grow_the_queue() {
        let start = Instant::now();
        let mut leases = Leases::new(start);
        for n in 0..10_000 {
            leases.grant(start, LeaseId(n), instance(n), LEASE_TTL_MAX);
            leases.revoke(LeaseId(n));
        }
        assert!(
            leases.queue.len() <= QUEUE_SLACK + 2,
            "{}",
            leases.queue.len()
        );
    }
}
