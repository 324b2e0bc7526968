//! What all handles of a connection and its task share.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::desk::{Desk, Post, State, Token};
use super::has_threads;
use super::pile::Pile;
use super::scratch::Scratch;
use super::sleeper::Sleeper;
use crate::cancellation::Latch;
use crate::error::{Code, Error, Executed};
use crate::proto::{Call, Fault};
use crate::transport::Peer;
use crate::wire::Reply;

/// What all handles of a connection and its task share: desks, and who waits where.
///
/// In this order, because what every call reads must not lie in one line of the cache with what every
/// call writes: between threads such a line goes back and forth, and that takes longer than the rest of
/// a call.
#[repr(C)]
pub(super) struct Shared {
    /// A new call has no chance here.
    pub(super) draining: AtomicBool,
    /// The number of the codec that both sides agreed on, once a call of the peer's has come; 0
    /// before that.
    pub(super) codec: AtomicU8,
    /// Callers come from the threads of a runtime that has several.
    has_threads: bool,
    /// Nobody makes calls any more: the task wants to know when none of ours is under way.
    closes_when_idle: AtomicBool,
    sleeper: Sleeper,
    /// [`Limits::queued_calls`](crate::Limits::queued_calls) and one batch: more cannot be waiting on
    /// one desk.
    posts_max: usize,
    /// Distinguishes the connections of a process.
    pub(super) id: u64,
    /// Fires when the connection has ended.
    pub(super) closed: Latch,
    /// Why it has.
    fault: OnceLock<Fault>,
    /// The desks beside the first, where several threads have called.
    more: OnceLock<Box<[Apart<Mutex<Desk>>; Token::DESKS - 1]>>,
    pub(super) peer: Peer,
    first: Mutex<Desk>,
    hall: Mutex<Hall>,
}

/// So many bytes are a line of the cache, on nearly all processors. The peer is hardly ever looked at.
const _: () = assert!(size_of::<Peer>() >= 64);

/// In lines of its own: two, because processors fetch them in pairs.
#[derive(Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// Who waits for the handshake.
#[derive(Default)]
struct Hall {
    is_open: bool,
    waiting: Vec<Waker>,
}

thread_local! {
    /// The desk of this thread, wherever it calls.
    static DESK: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % Token::DESKS
    };
}

/// The number of the desk of this thread.
fn own_number() -> usize {
    DESK.with(|desk| *desk)
}

/// The token of no call.
const NOBODY: usize = usize::MAX;

impl Shared {
    pub(super) fn new(peer: Peer, queued_calls: usize) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self::with_id(NEXT.fetch_add(1, Ordering::Relaxed), peer, queued_calls)
    }

    pub(super) fn with_id(id: u64, peer: Peer, queued_calls: usize) -> Arc<Self> {
        Arc::new(Self::of(id, peer, queued_calls, has_threads()))
    }

    fn of(id: u64, peer: Peer, queued_calls: usize, has_threads: bool) -> Self {
        /// Calls that can be on their way to the task besides those that it has queued.
        const BATCH: usize = 4096;
        Self {
            draining: AtomicBool::new(false),
            codec: AtomicU8::new(0),
            has_threads,
            closes_when_idle: AtomicBool::new(false),
            sleeper: Sleeper::default(),
            posts_max: queued_calls.saturating_add(BATCH),
            id,
            closed: Latch::new(),
            fault: OnceLock::new(),
            more: OnceLock::new(),
            peer,
            first: Mutex::default(),
            hall: Mutex::default(),
        }
    }

    /// Whether the runtime of the connection has several threads.
    pub(super) fn has_threads(&self) -> bool {
        self.has_threads
    }

    /// Why the connection ended, if it has.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.fault.get()
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
        let (number, mut desk) = self.own_desk();
        if self.fault.get().is_some() || desk.posts.len() >= self.posts_max {
            return Err(self.refusal(&desk));
        }
        let now = match self.sleeper.is_asleep() {
            // Whoever woke the task last may have done so long ago.
            true => desk.clock.exact(),
            false => desk.clock.recent(allowed),
        };
        let place = desk.slots.take(cx.map(|cx| cx.waker()));
        let Token(token) = Token::new(number, place);
        match desk.posts.next(|| Post::Call(Call::empty(now))) {
            Post::Call(call) => write(call, now, token),
            other => {
                let mut call = Call::empty(now);
                write(&mut call, now, token);
                *other = Post::Call(call);
            }
        }
        drop(desk);
        self.sleeper.wake();
        Ok(token)
    }

    /// Leaves something else for the task, always on the first desk: a close must not overtake the answer
    /// of a handler, and a connection that only serves needs no other. Once the connection has ended nobody
    /// picks it up.
    pub(super) fn post(&self, post: Post) {
        let mut desk = lock(&self.first);
        if self.fault.get().is_none() {
            desk.posts.push(post);
            drop(desk);
            self.sleeper.wake();
        }
    }

    /// The task ends the connection as soon as no call of ours is under way.
    pub(super) fn close_when_idle(&self) {
        // Under a lock of those that are taken between lying down and looking here.
        let desk = lock(&self.first);
        self.closes_when_idle.store(true, Ordering::Relaxed);
        drop(desk);
        self.sleeper.wake();
    }

    /// The reply of the call, once; until then `cx` is woken when it is there.
    pub(super) fn poll_reply(&self, token: usize, cx: &mut Context<'_>) -> Poll<Reply> {
        let (mut desk, place) = self.place(token);
        let Some(slot) = desk.slots.get_mut(place) else {
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
                self.free(desk, place);
                reply
            }
            State::Free(_) | State::Dropped => Poll::Ready(unknown()),
        }
    }

    /// Nobody waits for the reply of the call any more.
    pub(super) fn forget(&self, token: usize) {
        let (mut desk, place) = self.place(token);
        let Some(slot) = desk.slots.get_mut(place) else {
            return;
        };
        match slot.state {
            State::Waiting => {
                slot.state = State::Dropped;
                let waker = slot.waker.take();
                // On the desk of the call itself, so that it comes after that.
                desk.posts.push(Post::Cancel(token));
                drop(desk);
                self.sleeper.wake();
                drop(waker);
            }
            State::Done => {
                let reply = slot.reply.take();
                self.free(desk, place);
                drop(reply);
            }
            State::Free(_) | State::Dropped => {}
        }
    }

    /// Takes a call off its desk.
    #[inline]
    fn free(&self, mut desk: MutexGuard<'_, Desk>, place: usize) {
        desk.slots.free(place);
        if desk.slots.used() == 0 && self.closes_when_idle() {
            drop(desk);
            self.sleeper.wake();
        }
    }

    /// Waits until the handshake is over.
    ///
    /// # Errors
    /// Why it failed, or why the connection has ended since.
    pub(super) fn poll_established(&self, cx: &Context<'_>) -> Poll<Result<(), Error>> {
        let mut hall = lock(&self.hall);
        if let Some(fault) = self.fault.get() {
            return Poll::Ready(Err(fault.to_error()));
        }
        if hall.is_open {
            return Poll::Ready(Ok(()));
        }
        if !hall.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            hall.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Calls of ours that have not ended.
    pub(super) fn calls_in_flight(&self) -> usize {
        self.desks().map(|desk| desk.slots.used()).sum()
    }

    // What the task does.

    /// How many desks there are.
    #[inline]
    pub(super) fn desks_len(&self) -> usize {
        match self.more.get() {
            Some(_) => Token::DESKS,
            None => 1,
        }
    }

    /// Changes the posts that were left on the desk of this number for an empty list.
    pub(super) fn take_posts(&self, desk: usize, posts: &mut Pile<Post>) {
        let mut desk = self.desk(desk);
        if !desk.posts.is_empty() {
            mem::swap(&mut desk.posts, posts);
        }
    }

    /// Whether callers have left something, and others have calls under way and may leave more.
    pub(super) fn is_filling(&self) -> bool {
        let (mut posts, mut used) = (0_usize, 0_usize);
        for desk in self.desks() {
            posts = posts.saturating_add(desk.posts.len());
            used = used.saturating_add(desk.slots.used());
        }
        posts > 0 && posts < used
    }

    /// The task goes to sleep, to be woken by the next post; `None` if one is here already. Whether
    /// a call of ours is under way.
    pub(super) fn sleep(&self, cx: &Context<'_>) -> Option<bool> {
        // Before the desks are looked at: who comes to one after that knows it.
        self.sleeper.lie_down(cx.waker());
        let mut busy = false;
        for mut desk in self.desks() {
            if !desk.posts.is_empty() {
                self.sleeper.get_up();
                return None;
            }
            match desk.slots.used() {
                0 => desk.tidy(),
                _ => busy = true,
            }
        }
        Some(busy)
    }

    /// Whether the connection is to end when it sleeps and no call of ours is under way.
    pub(super) fn closes_when_idle(&self) -> bool {
        self.closes_when_idle.load(Ordering::Relaxed)
    }

    /// Puts down the replies of calls by their tokens, and collects who waits for them, by the same: those
    /// who called from this thread last. A runtime lets its other threads take the tasks that were woken
    /// first, and they should find those whose memory they have near.
    pub(super) fn deliver(
        &self,
        replies: &mut Pile<(usize, Reply)>,
        wakers: &mut Vec<(usize, Waker)>,
    ) {
        let mut left = replies.len();
        let desks = self.desks_len();
        let own = if desks > 1 { own_number() } else { 0 };
        for number in (1..=desks).map(|step| (own + step) % desks) {
            let mut desk = self.desk(number);
            for (token, reply) in replies.entries() {
                let its = Token(*token);
                if its.desk() != number {
                    continue;
                }
                left = left.saturating_sub(1);
                match desk.slots.get_mut(its.place()) {
                    Some(slot) if slot.state == State::Waiting => {
                        wakers.extend(slot.waker.take().map(|waker| (*token, waker)));
                        slot.state = State::Done;
                        slot.reply.move_in(reply);
                    }
                    // Of a call that was dropped the slot stays until the task has read the post.
                    _ => *reply = Reply::default(),
                }
            }
            if left == 0 {
                break;
            }
        }
        replies.clear();
    }

    /// Takes back the wakers of those who were woken and have not taken their replies yet, for their next
    /// calls. There is one desk.
    pub(super) fn keep(&self, wakers: &mut Vec<(usize, Waker)>) {
        let mut desk = lock(&self.first);
        for (token, waker) in wakers.drain(..) {
            if let Some(slot) = desk.slots.get_mut(Token(token).place()) {
                if slot.state == State::Done && slot.waker.is_none() {
                    slot.waker = Some(waker);
                }
            }
        }
    }

    /// The task knows that nobody waits for the call.
    pub(super) fn release(&self, token: usize) {
        let (mut desk, place) = self.place(token);
        let slot = desk.slots.get_mut(place);
        if slot.is_some_and(|slot| slot.state == State::Dropped) {
            desk.slots.free(place);
        }
    }

    /// The handshake is over. Collects who waits for that.
    pub(super) fn establish(&self, scratch: &mut Scratch) {
        let mut hall = lock(&self.hall);
        hall.is_open = true;
        hall.empty(scratch);
    }

    /// The connection has ended: what waits for it is told why.
    pub(super) fn close(&self, fault: Fault, scratch: &mut Scratch) {
        self.deliver(&mut scratch.replies, &mut scratch.wakers);
        // Before the desks are looked at: who comes to one after that knows it.
        let fault = self.fault.get_or_init(|| fault);
        for mut desk in self.desks() {
            let mut posts = desk.posts.take();
            for post in posts.entries() {
                // These never came to the protocol.
                let Post::Call(call) = post else { continue };
                match desk.slots.get_mut(Token(call.token).place()) {
                    Some(slot) if slot.state == State::Waiting => {
                        let waker = slot.waker.take();
                        scratch
                            .wakers
                            .extend(waker.map(|waker| (call.token, waker)));
                        slot.state = State::Done;
                        slot.reply = Reply::Failure(unsent(fault));
                    }
                    _ => {}
                }
            }
        }
        lock(&self.hall).empty(scratch);
    }

    /// The desk of this thread, and its number.
    #[inline]
    fn own_desk(&self) -> (usize, MutexGuard<'_, Desk>) {
        if !self.has_threads {
            return (0, lock(&self.first));
        }
        let number = own_number();
        if number > 0 && self.more.get().is_none() {
            // Under the lock of the first desk: who ends the connection either finds these, or has been
            // there before, and then it is known that the connection has ended.
            let _first = lock(&self.first);
            self.more.get_or_init(Box::default);
        }
        (number, self.desk(number))
    }

    #[inline]
    fn desk(&self, number: usize) -> MutexGuard<'_, Desk> {
        let other = number
            .checked_sub(1)
            .and_then(|other| self.more.get()?.get(other));
        match other {
            Some(Apart(desk)) => lock(desk),
            None => lock(&self.first),
        }
    }

    /// All of them, the first one first.
    fn desks(&self) -> impl Iterator<Item = MutexGuard<'_, Desk>> {
        // The number of them is asked for each time: others may come while the first one is looked at.
        (0..Token::DESKS)
            .take_while(|number| *number < self.desks_len())
            .map(|number| self.desk(number))
    }

    /// The desk on which a call lies, and its place there.
    #[inline]
    fn place(&self, token: usize) -> (MutexGuard<'_, Desk>, usize) {
        let token = Token(token);
        (self.desk(token.desk()), token.place())
    }

    /// Why no call can be left.
    #[cold]
    fn refusal(&self, desk: &Desk) -> Error {
        if let Some(fault) = self.fault.get() {
            return unsent(fault);
        }
        let waiting = desk.posts.len();
        let error = Error::new(Code::Overloaded, format!("{waiting} calls wait already"));
        error.with_hint("make fewer calls at once, or raise `queued_calls`")
    }
}

impl Hall {
    /// Collects who waits.
    fn empty(&mut self, scratch: &mut Scratch) {
        let waiting = self.waiting.drain(..).map(|waker| (NOBODY, waker));
        scratch.wakers.extend(waiting);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic under the lock is a bug, but no reason for more panics in everyone else.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
