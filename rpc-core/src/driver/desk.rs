//! Where callers and the task of a connection leave things for each other.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::pile::Pile;
use super::scratch::Scratch;
use crate::cancellation::Cancellation;
use crate::error::{Code, Error, Executed};
use crate::proto::{Call, CallId, Fault};
use crate::transport::Peer;
use crate::wire::Reply;

/// What all handles of a connection and its task share.
pub(super) struct Shared {
    /// Distinguishes the connections of a process.
    pub(super) id: u64,
    pub(super) peer: Peer,
    /// Fires when the connection has ended.
    pub(super) closed: Cancellation,
    /// A new call has no chance here.
    pub(super) draining: AtomicBool,
    /// The number of the codec that both sides agreed on, once a call of the peer's has come; 0
    /// before that.
    pub(super) codec: AtomicU8,
    /// [`Limits::queued_calls`](crate::Limits::queued_calls) and one batch: more cannot be waiting.
    posts_max: usize,
    desk: Mutex<Desk>,
}

/// Callers leave posts, the task leaves replies. The lock is held for a few assignments at a time:
/// the protocol itself belongs to the task alone.
#[derive(Default)]
pub(super) struct Desk {
    /// What the task has to do, in order.
    posts: Pile<Post>,
    /// Wakes the task; there only while it sleeps.
    driver: Option<Waker>,
    /// What time it is for the calls that are left while the task is awake.
    clock: Clock,
    slots: Slots,
    /// Who waits for the handshake.
    pub(super) waiting: Vec<Waker>,
    /// The handshake is over.
    pub(super) established: bool,
    /// Why the connection ended.
    pub(super) fault: Option<Fault>,
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

/// Where the reply of a call of ours will lie.
struct Slot {
    state: State,
    /// Who waits, or waited last: mostly it is the same task that calls again, and then nobody has to
    /// count one more who may wake it.
    waker: Option<Waker>,
    /// Of the call that is done; otherwise nothing that matters.
    reply: Reply,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in use; the next such, or one beyond all.
    Free(usize),
    Waiting,
    Done,
    /// Its caller is gone, and the task has yet to hear of it.
    Dropped,
}

/// The calls that have not been taken off the desk, by token.
#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    free: usize,
    used: usize,
    /// Free slots with the waker of their last caller. It holds on to what a task takes when that has
    /// ended, so all are let go when no call is left.
    kept: usize,
}

impl Shared {
    pub(super) fn new(peer: Peer, queued_calls: usize) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self::with_id(NEXT.fetch_add(1, Ordering::Relaxed), peer, queued_calls)
    }

    pub(super) fn with_id(id: u64, peer: Peer, queued_calls: usize) -> Arc<Self> {
        /// Calls that can be on their way to the task besides those that it has queued.
        const BATCH: usize = 4096;
        Arc::new(Self {
            id,
            peer,
            closed: Cancellation::new(),
            draining: AtomicBool::new(false),
            codec: AtomicU8::new(0),
            posts_max: queued_calls.saturating_add(BATCH),
            desk: Mutex::default(),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Desk> {
        // A panic under the lock is a bug, but no reason for more panics in everyone else.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves for the task a call that `write` writes, who is told the time and the token, which is
    /// returned. The call is one of nothing before. It is allowed so much time. With `cx` whoever polls
    /// is woken by the reply.
    #[inline]
    pub(super) fn call(
        &self,
        allowed: Duration,
        cx: Option<&mut Context<'_>>,
        write: impl FnOnce(&mut Call, Instant, usize),
    ) -> Result<usize, Error> {
        let mut desk = self.lock();
        if desk.fault.is_some() || desk.posts.len() >= self.posts_max {
            return Err(desk.refusal());
        }
        let now = match desk.driver {
            // Whoever woke the task last may have done so long ago.
            Some(_) => desk.clock.exact(),
            None => desk.clock.recent(allowed),
        };
        let token = desk.slots.take(cx.map(|cx| cx.waker()));
        match desk.posts.next(|| Post::Call(Call::empty(now))) {
            Post::Call(call) => write(call, now, token),
            other => {
                let mut call = Call::empty(now);
                write(&mut call, now, token);
                *other = Post::Call(call);
            }
        }
        wake(desk);
        Ok(token)
    }

    /// Leaves something else for the task. Once the connection has ended nobody picks it up.
    pub(super) fn post(&self, post: Post) {
        let mut desk = self.lock();
        if desk.fault.is_none() {
            desk.posts.push(post);
            wake(desk);
        }
    }

    /// The reply of the call, once; until then `cx` is woken when it is there.
    pub(super) fn poll_reply(&self, token: usize, cx: &mut Context<'_>) -> Poll<Reply> {
        let mut desk = self.lock();
        let Some(slot) = desk.slots.all.get_mut(token) else {
            return Poll::Ready(unknown());
        };
        match slot.state {
            State::Waiting => {
                match &mut slot.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    empty => *empty = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Done => {
                let reply = Poll::Ready(slot.reply.take());
                desk.slots.free(token);
                reply
            }
            State::Free(_) | State::Dropped => Poll::Ready(unknown()),
        }
    }

    /// Nobody waits for the reply of the call any more.
    pub(super) fn forget(&self, token: usize) {
        let mut desk = self.lock();
        let Some(slot) = desk.slots.all.get_mut(token) else {
            return;
        };
        match slot.state {
            State::Waiting => {
                slot.state = State::Dropped;
                let waker = slot.waker.take();
                desk.posts.push(Post::Cancel(token));
                wake(desk);
                drop(waker);
            }
            State::Done => {
                let reply = slot.reply.take();
                desk.slots.free(token);
                drop(desk);
                drop(reply);
            }
            State::Free(_) | State::Dropped => {}
        }
    }

    /// Calls of ours that have not ended.
    pub(super) fn calls_in_flight(&self) -> usize {
        self.lock().slots.used
    }

    // What the task does.

    /// Changes the posts that were left for an empty list.
    pub(super) fn take_posts(&self, posts: &mut Pile<Post>) {
        let mut desk = self.lock();
        if !desk.posts.is_empty() {
            mem::swap(&mut desk.posts, posts);
        }
    }

    /// Whether callers have left something, and others have calls under way and may leave more.
    pub(super) fn is_filling(&self) -> bool {
        let desk = self.lock();
        !desk.posts.is_empty() && desk.posts.len() < desk.slots.used
    }

    /// The task goes to sleep, to be woken by the next post; `None` if one is here already. Whether
    /// a call of ours is under way.
    pub(super) fn sleep(&self, cx: &Context<'_>) -> Option<bool> {
        let mut desk = self.lock();
        if !desk.posts.is_empty() {
            return None;
        }
        desk.driver = Some(cx.waker().clone());
        let busy = desk.slots.used > 0;
        if !busy {
            desk.tidy();
        }
        Some(busy)
    }

    /// Puts down the replies of calls by their tokens, and collects who waits for them, by the same.
    pub(super) fn deliver(
        &self,
        replies: &mut Pile<(usize, Reply)>,
        wakers: &mut Vec<(usize, Waker)>,
    ) {
        let mut desk = self.lock();
        for (token, reply) in replies.entries() {
            match desk.slots.all.get_mut(*token) {
                Some(slot) if slot.state == State::Waiting => {
                    wakers.extend(slot.waker.take().map(|waker| (*token, waker)));
                    slot.state = State::Done;
                    slot.reply.move_in(reply);
                }
                // Of a call that was dropped the slot stays until the task has read the post.
                _ => *reply = Reply::default(),
            }
        }
        replies.clear();
    }

    /// Takes back the wakers of those who were woken and have not taken their replies yet, for their next
    /// calls.
    pub(super) fn keep(&self, wakers: &mut Vec<(usize, Waker)>) {
        let mut desk = self.lock();
        for (token, waker) in wakers.drain(..) {
            if let Some(slot) = desk.slots.all.get_mut(token) {
                if slot.state == State::Done && slot.waker.is_none() {
                    slot.waker = Some(waker);
                }
            }
        }
    }

    /// The connection has ended: what waits for it is told why.
    pub(super) fn close(&self, fault: Fault, scratch: &mut Scratch) {
        self.deliver(&mut scratch.replies, &mut scratch.wakers);
        let mut desk = self.lock();
        let mut posts = desk.posts.take();
        for post in posts.entries() {
            // These never came to the protocol.
            let Post::Call(call) = post else { continue };
            match desk.slots.all.get_mut(call.token) {
                Some(slot) if slot.state == State::Waiting => {
                    let waker = slot.waker.take();
                    scratch
                        .wakers
                        .extend(waker.map(|waker| (call.token, waker)));
                    slot.state = State::Done;
                    slot.reply = Reply::Failure(unsent(&fault));
                }
                _ => {}
            }
        }
        desk.wake_waiting(scratch);
        desk.fault = Some(fault);
    }

    /// The task knows that nobody waits for the call.
    pub(super) fn release(&self, token: usize) {
        let mut desk = self.lock();
        let slot = desk.slots.all.get(token);
        if slot.is_some_and(|slot| slot.state == State::Dropped) {
            desk.slots.free(token);
        }
    }
}

/// The token of no call.
const NOBODY: usize = usize::MAX;

impl Desk {
    /// A desk that nobody uses keeps little: this many entries of each list.
    const IDLE: usize = 8;

    /// Collects who waits for the handshake.
    pub(super) fn wake_waiting(&mut self, scratch: &mut Scratch) {
        let waiting = self.waiting.drain(..).map(|waker| (NOBODY, waker));
        scratch.wakers.extend(waiting);
    }

    /// Why no call can be left.
    #[cold]
    fn refusal(&self) -> Error {
        if let Some(fault) = &self.fault {
            return unsent(fault);
        }
        let waiting = self.posts.len();
        let error = Error::new(Code::Overloaded, format!("{waiting} calls wait already"));
        error.with_hint("make fewer calls at once, or raise `queued_calls`")
    }

    fn tidy(&mut self) {
        self.posts.shrink(Self::IDLE);
        if self.slots.all.capacity() > Self::IDLE {
            self.slots = Slots::default();
        }
    }
}

impl Slots {
    #[inline]
    fn take(&mut self, waker: Option<&Waker>) -> usize {
        self.used += 1;
        let token = self.free;
        match self.all.get_mut(token) {
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
        token
    }

    #[inline]
    fn free(&mut self, token: usize) {
        let Some(slot) = self.all.get_mut(token) else {
            return;
        };
        slot.state = State::Free(mem::replace(&mut self.free, token));
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

/// Wakes the task, if it sleeps. Not under the lock, which is the first thing it will want.
fn wake(mut desk: MutexGuard<'_, Desk>) {
    let driver = desk.driver.take();
    drop(desk);
    if let Some(driver) = driver {
        driver.wake();
    }
}

/// What becomes of a call that the task never picked up.
fn unsent(fault: &Fault) -> Error {
    fault.to_error().with_executed(Executed::No)
}

fn unknown() -> Reply {
    Reply::Failure(Error::new(Code::Internal, "the call is not known"))
}

#[cfg(test)]
mod tests;
