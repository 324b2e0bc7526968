//! Where callers and the task of a connection leave things for each other.

use std::mem;
use std::task::Waker;

use super::clock::Clock;
use super::pile::Pile;
use crate::error::Code;
use crate::proto::{Call, CallId, Fault};
use crate::wire::Reply;

/// Callers leave posts, the task leaves replies. The lock around it is held for a few assignments at a
/// time: the protocol itself belongs to the task alone.
#[derive(Default)]
pub(super) struct Desk {
    /// What the task has to do, in order.
    pub(super) posts: Pile<Post>,
    /// What time it is for the calls that are left while the task is awake.
    pub(super) clock: Clock,
    pub(super) slots: Slots,
}

impl Desk {
    /// A desk that nobody uses keeps little: this many entries of each list.
    const IDLE: usize = 8;

    /// Gives back what a crowd needed. No call is left.
    #[inline]
    pub(super) fn tidy(&mut self) {
        self.posts.shrink(Self::IDLE);
        if self.slots.all.capacity() > Self::IDLE {
            self.slots = Slots::default();
        }
    }
}

/// Something for the task to do.
pub(super) enum Post {
    Call(Call),
    /// Nobody waits for the call of this token any more.
    Cancel(usize),
    /// A handler that went on is gone, and this is what it left.
    Respond(CallId, Reply),
    GoAway(Code, String),
    Close(Fault),
    /// Ends the connection, but only if its handshake is not over.
    Evict,
}

/// Where a call lies: on which desk, and at what place there.
#[derive(Clone, Copy)]
pub(super) struct Token(pub(super) usize);

impl Token {
    /// Desks of a connection whose callers come from several threads. Each thread leaves its calls on one,
    /// so that it waits for another neither for the lock nor for what that one wrote last. More than the
    /// threads that are busy with one connection would only have to be looked at.
    pub(super) const DESKS: usize = 4;

    #[inline]
    pub(super) fn new(desk: usize, place: usize) -> Self {
        // There are far fewer places than numbers: each is one of a list in memory.
        Self(place.wrapping_mul(Self::DESKS) | desk)
    }

    #[inline]
    pub(super) fn desk(self) -> usize {
        self.0 % Self::DESKS
    }

    #[inline]
    pub(super) fn place(self) -> usize {
        self.0 / Self::DESKS
    }
}

/// Where the reply of a call of ours will lie.
pub(super) struct Slot {
    pub(super) state: State,
    /// Who waits, or waited last: mostly it is the same task that calls again, and then nobody has to
    /// count one more who may wake it.
    pub(super) waker: Option<Waker>,
    /// Of the call that is done; otherwise nothing that matters.
    pub(super) reply: Reply,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not in use; the next such, or one beyond all.
    Free(usize),
    Waiting,
    Done,
    /// Its caller is gone, and the task has yet to hear of it.
    Dropped,
}

/// The calls that have not been taken off the desk, by their places.
#[derive(Default)]
pub(super) struct Slots {
    all: Vec<Slot>,
    free: usize,
    used: usize,
    /// Free slots with the waker of their last caller. It holds on to what a task takes when that has
    /// ended, so all are let go when no call is left.
    kept: usize,
}

impl Slots {
    /// Calls that have not been taken off.
    #[inline]
    pub(super) fn used(&self) -> usize {
        self.used
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Slot> {
        self.all.get_mut(place)
    }

    /// A place for a call of who is woken by this.
    #[inline]
    pub(super) fn take(&mut self, waker: Option<&Waker>) -> usize {
        self.used += 1;
        let place = self.free;
        match self.all.get_mut(place) {
            Some(slot) => {
                if let State::Free(next) = slot.state {
                    self.free = next;
                }
                slot.state = State::Waiting;
                self.kept -= usize::from(slot.waker.is_some());
                match (&slot.waker, waker) {
                    (Some(last), Some(waker)) if last.will_wake(waker) => {}
                    _ => slot.waker = waker.cloned(),
                }
            }
            None => {
                self.all.push(Slot {
                    state: State::Waiting,
                    waker: waker.cloned(),
                    reply: Reply::default(),
                });
                self.free = self.all.len();
            }
        }
        place
    }

    /// Nobody needs the place any more.
    #[inline]
    pub(super) fn free(&mut self, place: usize) {
        let Some(slot) = self.all.get_mut(place) else {
            return;
        };
        slot.state = State::Free(mem::replace(&mut self.free, place));
        self.used -= 1;
        if self.used > 0 {
            self.kept += usize::from(slot.waker.is_some());
            return;
        }
        // It was the last call. Whoever made it may be gone for good.
        slot.waker = None;
        if self.kept > 0 {
            self.let_go();
        }
    }

    #[cold]
    fn let_go(&mut self) {
        for slot in &mut self.all {
            slot.waker = None;
        }
        self.kept = 0;
    }
}

#[cfg(test)]
impl Slots {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }
}
