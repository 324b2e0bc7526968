//! Where callers and the task of a connection leave things for each other.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

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
    posts: Vec<Post>,
    /// Wakes the task; there only while it sleeps.
    driver: Option<Waker>,
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
enum Slot {
    /// Not in use; the next such, or one beyond all.
    Free(usize),
    Waiting(Option<Waker>),
    Done(Reply),
    /// Its caller is gone, and the task has yet to hear of it.
    Dropped,
}

/// The calls that have not been taken off the desk, by token.
#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    free: usize,
    used: usize,
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

    /// Leaves a call for the task; its token. With `cx` whoever polls is woken by the reply.
    pub(super) fn call(
        &self,
        mut call: Call,
        cx: Option<&mut Context<'_>>,
    ) -> Result<usize, Error> {
        let waker = cx.map(|cx| cx.waker().clone());
        let mut desk = self.lock();
        if let Some(fault) = &desk.fault {
            return Err(unsent(fault));
        }
        if desk.posts.len() >= self.posts_max {
            let waiting = desk.posts.len();
            let error = Error::new(Code::Overloaded, format!("{waiting} calls wait already"));
            return Err(error.with_hint("make fewer calls at once, or raise `queued_calls`"));
        }
        let token = desk.slots.take(waker);
        call.token = token;
        desk.posts.push(Post::Call(call));
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
        match slot {
            Slot::Waiting(Some(waker)) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            Slot::Waiting(empty) => {
                *empty = Some(cx.waker().clone());
                Poll::Pending
            }
            Slot::Done(_) => match desk.slots.free(token) {
                Slot::Done(reply) => Poll::Ready(reply),
                _ => Poll::Ready(unknown()),
            },
            Slot::Free(_) | Slot::Dropped => Poll::Ready(unknown()),
        }
    }

    /// Nobody waits for the reply of the call any more.
    pub(super) fn forget(&self, token: usize) {
        let mut desk = self.lock();
        match desk.slots.all.get_mut(token) {
            Some(slot @ Slot::Waiting(_)) => {
                *slot = Slot::Dropped;
                desk.posts.push(Post::Cancel(token));
                wake(desk);
            }
            Some(Slot::Done(_)) => {
                let reply = desk.slots.free(token);
                drop(desk);
                drop(reply);
            }
            _ => {}
        }
    }

    /// Calls of ours that have not ended.
    pub(super) fn calls_in_flight(&self) -> usize {
        self.lock().slots.used
    }

    // What the task does.

    /// Changes the posts that were left for an empty list.
    pub(super) fn take_posts(&self, posts: &mut Vec<Post>) {
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

    /// Puts down the replies of calls by their tokens, and collects who waits for them.
    pub(super) fn deliver(&self, replies: &mut Vec<(usize, Reply)>, wakers: &mut Vec<Waker>) {
        let mut desk = self.lock();
        for (token, reply) in replies.drain(..) {
            let Some(slot) = desk.slots.all.get_mut(token) else {
                continue;
            };
            // Of a call that was dropped the slot stays until the task has read the post.
            if let Slot::Waiting(waker) = slot {
                wakers.extend(waker.take());
                *slot = Slot::Done(reply);
            }
        }
    }

    /// The connection has ended: what waits for it is told why.
    pub(super) fn close(&self, fault: Fault, scratch: &mut Scratch) {
        self.deliver(&mut scratch.replies, &mut scratch.wakers);
        let mut desk = self.lock();
        let posts = mem::take(&mut desk.posts);
        for post in posts {
            // These never came to the protocol.
            if let Post::Call(call) = post {
                if let Some(slot @ Slot::Waiting(_)) = desk.slots.all.get_mut(call.token) {
                    if let Slot::Waiting(Some(waker)) =
                        mem::replace(slot, Slot::Done(Reply::Failure(unsent(&fault))))
                    {
                        scratch.wakers.push(waker);
                    }
                }
            }
        }
        scratch.wakers.append(&mut desk.waiting);
        desk.fault = Some(fault);
    }

    /// The task knows that nobody waits for the call.
    pub(super) fn release(&self, token: usize) {
        let mut desk = self.lock();
        if matches!(desk.slots.all.get(token), Some(Slot::Dropped)) {
            desk.slots.free(token);
        }
    }
}

impl Desk {
    /// A desk that nobody uses keeps little: this many entries of each list.
    const IDLE: usize = 8;

    fn tidy(&mut self) {
        if self.posts.capacity() > Self::IDLE {
            self.posts = Vec::new();
        }
        if self.slots.all.capacity() > Self::IDLE {
            self.slots = Slots::default();
        }
    }
}

impl Slots {
    fn take(&mut self, waker: Option<Waker>) -> usize {
        self.used += 1;
        let token = self.free;
        match self.all.get_mut(token) {
            Some(slot) => {
                if let Slot::Free(next) = *slot {
                    self.free = next;
                }
                *slot = Slot::Waiting(waker);
            }
            None => {
                self.all.push(Slot::Waiting(waker));
                self.free = self.all.len();
            }
        }
        token
    }

    fn free(&mut self, token: usize) -> Slot {
        let Some(slot) = self.all.get_mut(token) else {
            return Slot::Dropped;
        };
        self.used -= 1;
        mem::replace(slot, Slot::Free(mem::replace(&mut self.free, token)))
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
