//! The calls that this side makes.

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use super::assembly::{Assembly, Bounds};
use super::id::CallId;
use super::window::Window;
use crate::split::Kept;
use crate::wire::{Metadata, Outcome, Payload, Reply};

/// A call to be made.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: u64,
    pub(crate) fingerprint: u64,
    pub(crate) deadline: Instant,
    pub(crate) metadata: Metadata,
    pub(crate) payload: Payload,
    /// What the driver knows the call by; it comes back with the reply.
    pub(crate) token: usize,
}

impl Call {
    /// A call of nothing.
    pub(crate) fn empty(now: Instant) -> Self {
        Self {
            method: 0,
            fingerprint: 0,
            deadline: now,
            metadata: Metadata::new(),
            payload: Payload::default(),
            token: 0,
        }
    }

    /// Lets go of what it holds.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if !self.metadata.is_empty() {
            self.metadata = Metadata::new();
        }
        self.payload.clear();
    }

    /// Takes it out, and leaves a call of nothing.
    pub(super) fn take(&mut self) -> Self {
        Self {
            metadata: mem::take(&mut self.metadata),
            payload: mem::take(&mut self.payload),
            ..*self
        }
    }
}

/// Our calls, from the moment they are made until they end.
#[derive(Debug, Default)]
pub(super) struct Calls {
    last: u64,
    table: Window<Entry>,
    /// Calls that wait for a place in flight, oldest first. A call that ended while waiting may
    /// still be named here and is skipped when its turn comes.
    queue: VecDeque<CallId>,
    queued: usize,
    /// No deadline in the table is before it. It is not moved when a call ends, so now and then it
    /// causes one look at the table for nothing, which is cheaper than an ordered set for each call.
    earliest: Option<Instant>,
    /// Calls that ended after they were sent and before their reply. So many late replies are honest
    /// and no more. Only the number is kept: a list of names would be too short for some honest peer
    /// or too long for some hostile one.
    unanswered: u64,
    /// Bytes of replies under assembly.
    assembling: usize,
    /// What is kept of large calls for another attempt. Once a reply begins there will be none, and
    /// its bytes take the place of these.
    kept: Vec<(CallId, Kept)>,
}

#[derive(Debug)]
struct Entry {
    deadline: Instant,
    token: usize,
    state: State,
}

/// ```text
///   Queued --sent--> Sent --first frame of a long reply--> Receiving --last chunk--> (ended)
///      |               +--whole reply--> (ended)
///      +-- cancelled, late, or the connection gone: (ended), from every state
/// ```
#[derive(Debug)]
enum State {
    /// In a box, because an entry is moved with every call, and few calls wait.
    Queued(Box<Call>),
    Sent,
    /// In a box as well: few replies come in parts. With the outcome, so that a state is two words,
    /// which are moved as what they are.
    Receiving(Box<Incomplete>),
}

/// A reply that is arriving.
#[derive(Debug)]
struct Incomplete {
    outcome: Outcome,
    assembly: Assembly,
}

/// How far a call had come when it ended without a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Queued,
    Sent,
    /// Part of the reply was there: the method has run.
    Receiving,
}

/// What a frame for a call of ours meets.
pub(super) enum Arrival {
    /// The call ended with the reply at hand.
    Whole { token: usize },
    /// The call ended with this reply, which came in parts.
    Assembled { token: usize, reply: Reply },
    /// More chunks will come.
    Continues,
    /// The reply is over the limit; the call ended, and more of the reply may be on its way.
    TooLarge { token: usize, more: bool },
    /// All replies under assembly are over the limit; this call ended.
    Crowded { token: usize, more: bool },
    /// The call ended a moment ago and the peer could not know.
    Late,
    /// There is no such call.
    Stray,
}

impl Calls {
    /// Takes in a call that is sent at once, and numbers it.
    pub(super) fn send(&mut self, call: &Call) -> CallId {
        self.insert(call.deadline, call.token, State::Sent)
    }

    /// Takes in a call that must wait, and numbers it.
    pub(super) fn queue(&mut self, call: &mut Call) -> CallId {
        let call = call.take();
        let id = self.insert(call.deadline, call.token, State::Queued(Box::new(call)));
        self.queue.push_back(id);
        self.queued = self.queued.saturating_add(1);
        id
    }

    fn insert(&mut self, deadline: Instant, token: usize, state: State) -> CallId {
        self.last = self.last.saturating_add(1);
        let id = CallId(self.last);
        self.earliest = Some(
            self.earliest
                .map_or(deadline, |earliest| earliest.min(deadline)),
        );
        let entry = Entry {
            deadline,
            token,
            state,
        };
        self.table.push(id, entry);
        id
    }

    /// The call that is to be sent next.
    pub(super) fn next(&self) -> Option<&Call> {
        let id = self.queue.front()?;
        match &self.table.get(*id)?.state {
            State::Queued(call) => Some(call),
            _ => None,
        }
    }

    /// Takes the calls that ended while they waited off the front of the queue.
    pub(super) fn skip_ended(&mut self) {
        while let Some(id) = self.queue.front() {
            if self.table.get(*id).is_some() {
                return;
            }
            self.queue.pop_front();
        }
    }

    /// The call that [`next`](Self::next) named leaves.
    pub(super) fn send_next(&mut self) -> Option<(CallId, Box<Call>)> {
        let id = self.queue.pop_front()?;
        let entry = self.table.get_mut(id)?;
        match mem::replace(&mut entry.state, State::Sent) {
            State::Queued(call) => {
                self.queued = self.queued.saturating_sub(1);
                Some((id, call))
            }
            other => {
                entry.state = other;
                None
            }
        }
    }

    /// A large call leaves, which is kept for another attempt.
    pub(super) fn keep(&mut self, id: CallId, kept: Kept) {
        self.kept.push((id, kept));
    }

    /// Ends a call without a reply: what the driver knows it by, and how far it had come.
    pub(super) fn end(&mut self, id: CallId) -> Option<(usize, Progress)> {
        let entry = self.remove(id)?;
        let progress = entry.state.progress();
        if progress == Progress::Queued {
            self.queued = self.queued.saturating_sub(1);
            self.compact();
        } else {
            self.unanswered = self.unanswered.saturating_add(1);
        }
        Some((entry.token, progress))
    }

    /// Drops the dead from the queue once they are the most of it, so that a queue which does not
    /// move stays as small as the calls in it, at no more than a constant cost for each.
    fn compact(&mut self) {
        // Below this length a look through the queue is not worth it.
        const SMALL: usize = 64;
        if self.queued == 0 {
            self.queue.clear();
        } else if self.queue.len() > self.queued.saturating_mul(2).saturating_add(SMALL) {
            for _ in 0..self.queue.len() {
                let first = self.queue.pop_front();
                self.queue
                    .extend(first.filter(|id| self.table.get(*id).is_some()));
            }
        }
    }

    /// The reply of a call that did not run to its end, or whose result is of no use.
    pub(super) fn failure(&mut self, id: CallId) -> Arrival {
        match self.table.get(id) {
            Some(&Entry {
                state: State::Sent,
                token,
                ..
            }) => {
                self.remove(id);
                Arrival::Whole { token }
            }
            Some(_) => Arrival::Stray,
            None => self.late_or_stray(id, false),
        }
    }

    /// The token of a call that ends with a whole reply of `length` bytes, if there is no more to do
    /// about it. Otherwise [`response`](Self::response) knows what there is.
    #[inline]
    pub(super) fn usual_response(
        &mut self,
        id: CallId,
        length: usize,
        max: usize,
    ) -> Option<usize> {
        if length > max || !self.kept.is_empty() {
            return None;
        }
        self.table.clear_if(id, |entry| match entry.state {
            State::Sent => Some(entry.token),
            _ => None,
        })
    }

    /// The first frame of a reply with a payload.
    pub(super) fn response(
        &mut self,
        id: CallId,
        outcome: Outcome,
        payload: &[u8],
        more: bool,
        bounds: Bounds,
    ) -> Arrival {
        let length = payload.len();
        match self.table.get_mut(id) {
            Some(&mut Entry {
                state: ref mut state @ State::Sent,
                token,
                ..
            }) => {
                if length > bounds.message {
                    self.break_off(id, more);
                    return Arrival::TooLarge { token, more };
                }
                if more {
                    let assembling = self.assembling.saturating_add(length);
                    if assembling > bounds.total {
                        self.break_off(id, more);
                        return Arrival::Crowded { token, more };
                    }
                    self.assembling = assembling;
                    // First, so that the reply can lie where the request did.
                    if let Some(kept) = take_kept(&mut self.kept, id) {
                        kept.release();
                    }
                    let assembly = Assembly::new(payload);
                    *state = State::Receiving(Box::new(Incomplete { outcome, assembly }));
                    Arrival::Continues
                } else {
                    self.remove(id);
                    Arrival::Whole { token }
                }
            }
            // A reply to a call that was never sent, or a second first frame.
            Some(_) => Arrival::Stray,
            None => self.late_or_stray(id, more),
        }
    }

    /// A further frame of a reply.
    pub(super) fn chunk(
        &mut self,
        id: CallId,
        chunk: &[u8],
        more: bool,
        bounds: Bounds,
    ) -> Arrival {
        match self.table.get_mut(id) {
            Some(&mut Entry {
                state: State::Receiving(ref mut reply),
                token,
                ..
            }) => {
                let assembly = &mut reply.assembly;
                if assembly.len().saturating_add(chunk.len()) > bounds.message {
                    self.break_off(id, more);
                    return Arrival::TooLarge { token, more };
                }
                let assembling = self.assembling.saturating_add(chunk.len());
                if assembling > bounds.total {
                    self.break_off(id, more);
                    return Arrival::Crowded { token, more };
                }
                assembly.push(chunk);
                self.assembling = assembling;
                if more {
                    return Arrival::Continues;
                }
                match self.remove(id) {
                    Some(Entry {
                        state: State::Receiving(reply),
                        ..
                    }) => {
                        let reply = reply.outcome.reply(reply.assembly.finish());
                        Arrival::Assembled { token, reply }
                    }
                    _ => Arrival::Stray,
                }
            }
            Some(_) => Arrival::Stray,
            None => self.late_or_stray(id, more),
        }
    }

    /// The buffer of a message of which so many bytes more are to come, if there is such a message
    /// and the limits leave room for them.
    pub(super) fn lend(&mut self, id: CallId, wanted: usize, bounds: Bounds) -> Option<Vec<u8>> {
        let State::Receiving(reply) = &mut self.table.get_mut(id)?.state else {
            return None;
        };
        let assembly = &mut reply.assembly;
        let fits = assembly.len().saturating_add(wanted) <= bounds.message
            && self.assembling.saturating_add(wanted) <= bounds.total;
        fits.then(|| assembly.lend(wanted)).flatten()
    }

    /// The buffer that was lent comes back with so many bytes more.
    pub(super) fn give_back(&mut self, id: CallId, buffer: Vec<u8>, more: usize) {
        let state = self.table.get_mut(id).map(|entry| &mut entry.state);
        if let Some(State::Receiving(reply)) = state {
            reply.assembly.give_back(buffer);
            self.assembling = self.assembling.saturating_add(more);
        }
    }

    /// Calls whose deadline is over; the caller ends them.
    pub(super) fn late(&mut self, now: Instant) -> Vec<CallId> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let mut late = Vec::new();
        self.earliest = None;
        for (id, entry) in self.table.iter() {
            if entry.deadline <= now {
                late.push(id);
            } else if self
                .earliest
                .is_none_or(|earliest| entry.deadline < earliest)
            {
                self.earliest = Some(entry.deadline);
            }
        }
        late
    }

    /// Calls numbered above `last`, which the peer will not run.
    pub(super) fn above(&self, last: u64) -> Vec<CallId> {
        let mut ids: Vec<CallId> = Vec::new();
        for (id, _) in self.table.iter() {
            // They are nearly in order, so that hardly one is moved.
            if id.0 > last {
                ids.insert(ids.partition_point(|other| *other < id), id);
            }
        }
        ids
    }

    pub(super) fn earliest(&self) -> Option<Instant> {
        self.earliest
    }

    /// Calls that were sent and have not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.table.len().saturating_sub(self.queued)
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    #[cfg(test)]
    pub(super) fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Gives back the room that a crowd took, if no call is left of it.
    pub(super) fn tidy(&mut self) {
        self.table.tidy();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Whether the peer has answered every call that was sent; `false` as well once a call has ended here
    /// before its answer.
    pub(super) fn are_answered(&self) -> bool {
        self.table.is_empty() && self.unanswered == 0
    }

    /// Ends a call in the middle of its reply, of which more may be on its way.
    fn break_off(&mut self, id: CallId, more: bool) {
        if more {
            self.end(id);
        } else {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: CallId) -> Option<Entry> {
        if !self.kept.is_empty() {
            take_kept(&mut self.kept, id);
        }
        let entry = self.table.remove(id)?;
        if let State::Receiving(reply) = &entry.state {
            self.assembling = self.assembling.saturating_sub(reply.assembly.len());
        }
        Some(entry)
    }

    fn late_or_stray(&mut self, id: CallId, more: bool) -> Arrival {
        if id.0 > self.last || self.unanswered == 0 {
            return Arrival::Stray;
        }
        if !more {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        Arrival::Late
    }
}

/// What was kept of the call.
fn take_kept(kept: &mut Vec<(CallId, Kept)>, id: CallId) -> Option<Kept> {
    let at = kept.iter().position(|(kept, _)| *kept == id)?;
    Some(kept.swap_remove(at).1)
}

impl State {
    fn progress(&self) -> Progress {
        match self {
            Self::Queued(_) => Progress::Queued,
            Self::Sent => Progress::Sent,
            Self::Receiving(_) => Progress::Receiving,
        }
    }
}
