//! The calls of a client, from the moment they are made until they end.

use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

use crate::proto::datagram::pace::{Again, Pace};
use crate::proto::{Call, later};

/// Calls by number: first they wait, in order, then they are sent until their reply is here.
#[derive(Debug, Default)]
pub(super) struct Calls {
    last: u64,
    /// The highest number that was sent.
    reached: u64,
    waiting: BTreeMap<u64, Box<Call>>,
    sent: BTreeMap<u64, Sent>,
    /// Calls that nobody waits for, of which the server may not know it.
    cancelled: BTreeMap<u64, Cancelled>,
    /// Nothing is due before it. It is not moved when a call ends, so now and then it causes one look
    /// at the tables for nothing.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Sent {
    call: Box<Call>,
    again: Again,
    /// The server has said that it has the call.
    underway: bool,
    /// The highest number that was sent when something was last heard of the call: no later reply
    /// than those can have pushed its own out of the server's memory.
    heard: u64,
    /// It was asked after out of turn since then.
    nudged: bool,
}

#[derive(Debug)]
struct Cancelled {
    again: Again,
    /// How often it may still be sent.
    left: u32,
}

/// A call that ended without a reply.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) number: u64,
    pub(super) token: usize,
    /// It may have reached the server.
    pub(super) sent: bool,
}

impl Calls {
    /// How often a cancellation is sent: for at least three seconds, because a server that is busy
    /// loses all that come meanwhile, and far more often than 20 % of loss ask for. If none is heard,
    /// the deadline ends the call.
    const CANCELS: u32 = 10;

    /// The first wait for the reply of a call that the server has. Only the reply can have been lost,
    /// and most likely it is not there yet.
    const UNDERWAY: Duration = Duration::from_millis(200);

    /// Takes in a call, and numbers it.
    pub(super) fn queue(&mut self, call: &mut Call) -> u64 {
        self.last = self.last.saturating_add(1);
        self.wake_at(call.deadline);
        let call = Box::new(call.take());
        self.waiting.insert(self.last, call);
        self.last
    }

    /// Takes the next call that may leave: there must be a place for it, and it may not be `span`
    /// numbers ahead of when something was last heard of another. Halfway there that one is asked
    /// after, so that a call which takes long holds nobody up. One that is late ends instead.
    pub(super) fn send_next(
        &mut self,
        now: Instant,
        places: usize,
        span: u64,
        pace: &mut Pace,
    ) -> Option<Result<u64, Ended>> {
        if self.sent.len() >= places {
            return None;
        }
        let &next = self.waiting.keys().next()?;
        let mut held = false;
        let mut nudged = false;
        for sent in self.sent.values_mut() {
            let ahead = next.saturating_sub(sent.heard);
            held |= ahead >= span;
            if ahead >= span / 2 && !sent.nudged {
                sent.nudged = true;
                sent.again.at = now;
                sent.again.wait = pace.first();
                nudged = true;
            }
        }
        if nudged {
            self.wake_at(now);
        }
        if held {
            return None;
        }
        let (number, call) = self.waiting.pop_first()?;
        if call.deadline <= now {
            return Some(Err(Ended {
                number,
                token: call.token,
                sent: false,
            }));
        }
        let again = Again::begin(now, pace);
        self.wake_at(again.at);
        let sent = Sent {
            call,
            again,
            underway: false,
            heard: number,
            nudged: false,
        };
        self.reached = number;
        self.sent.insert(number, sent);
        Some(Ok(number))
    }

    /// A call that was sent, and its deadline.
    pub(super) fn sent(&self, number: u64) -> Option<(&Call, Instant)> {
        let sent = self.sent.get(&number)?;
        Some((&sent.call, sent.call.deadline))
    }

    /// No reply to a call below is wanted any more.
    pub(super) fn floor(&self) -> u64 {
        let sent = self.sent.keys().next();
        let first = sent.or_else(|| self.waiting.keys().next());
        first.copied().unwrap_or(self.last.saturating_add(1))
    }

    /// The server has the call.
    pub(super) fn underway(&mut self, now: Instant, number: u64, pace: &mut Pace) {
        if let Some(sent) = self.sent.get_mut(&number) {
            sent.heard = self.reached;
            let was_nudged = mem::take(&mut sent.nudged);
            if !mem::replace(&mut sent.underway, true) || was_nudged {
                sent.again.wait = Self::UNDERWAY.max(pace.first());
                sent.again.at = later(now, pace.jitter(sent.again.wait));
            }
        }
    }

    /// The reply of a call is here: what the driver knows the call by.
    pub(super) fn finish(&mut self, now: Instant, number: u64, pace: &mut Pace) -> Option<usize> {
        self.cancelled.remove(&number);
        let sent = self.sent.remove(&number)?;
        if !sent.underway {
            sent.again.answered(now, pace);
        }
        Some(sent.call.token)
    }

    /// Ends a call without a reply.
    pub(super) fn end(&mut self, number: u64) -> Option<Ended> {
        let (call, sent) = match self.waiting.remove(&number) {
            Some(call) => (call, false),
            None => (self.sent.remove(&number)?.call, true),
        };
        Some(Ended {
            number,
            token: call.token,
            sent,
        })
    }

    /// Ends the calls that were not sent.
    pub(super) fn end_waiting(&mut self) -> Vec<Ended> {
        mem::take(&mut self.waiting)
            .into_iter()
            .map(|(number, call)| Ended {
                number,
                token: call.token,
                sent: false,
            })
            .collect()
    }

    /// Ends all calls, in order.
    pub(super) fn end_all(&mut self) -> Vec<Ended> {
        self.cancelled.clear();
        let sent = mem::take(&mut self.sent);
        let sent = sent.into_iter().map(|(number, sent)| Ended {
            number,
            token: sent.call.token,
            sent: true,
        });
        let mut ended: Vec<_> = sent.collect();
        ended.extend(self.end_waiting());
        ended
    }

    /// The server is to be told, more than once, that nobody waits for the call.
    pub(super) fn cancelled(&mut self, number: u64, again: Again) {
        self.wake_at(again.at);
        let left = Self::CANCELS.saturating_sub(1);
        self.cancelled.insert(number, Cancelled { again, left });
    }

    /// Ends the calls whose deadline is over.
    pub(super) fn late(&mut self, now: Instant) -> Vec<Ended> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let waiting = self.waiting.iter().map(|(&number, call)| (number, &**call));
        let sent = self
            .sent
            .iter()
            .map(|(&number, sent)| (number, &*sent.call));
        let late: Vec<u64> = waiting
            .chain(sent)
            .filter(|(_, call)| call.deadline <= now)
            .map(|(number, _)| number)
            .collect();
        late.into_iter()
            .filter_map(|number| self.end(number))
            .collect()
    }

    /// Calls to send again.
    pub(super) fn due(&mut self, now: Instant, pace: &mut Pace) -> Vec<u64> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let mut due = Vec::new();
        for (&number, sent) in &mut self.sent {
            if sent.again.at <= now {
                sent.again.repeat(now, pace);
                due.push(number);
            }
        }
        due
    }

    /// Cancellations to send again. Asked last, because it looks when anything is due next.
    pub(super) fn due_cancels(&mut self, now: Instant, pace: &mut Pace) -> Vec<u64> {
        if self.due.is_none_or(|due| now < due) {
            return Vec::new();
        }
        let mut due = Vec::new();
        self.cancelled.retain(|&number, cancelled| {
            if cancelled.again.at > now {
                return true;
            }
            if cancelled.left == 0 {
                return false;
            }
            cancelled.left = cancelled.left.saturating_sub(1);
            cancelled.again.repeat(now, pace);
            due.push(number);
            true
        });
        let waiting = self.waiting.values().map(|call| call.deadline);
        let sent = self.sent.values();
        let sent = sent.map(|sent| sent.again.at.min(sent.call.deadline));
        let cancelled = self.cancelled.values().map(|cancelled| cancelled.again.at);
        self.due = waiting.chain(sent).chain(cancelled).min();
        due
    }

    /// When anything is due next, or before that.
    pub(super) fn next_due(&self) -> Option<Instant> {
        match self.is_empty() {
            true => None,
            false => self.due,
        }
    }

    /// Calls that were not sent.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.sent.is_empty() && self.cancelled.is_empty()
    }

    fn wake_at(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}
