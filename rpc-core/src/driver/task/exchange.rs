//! What passes between the protocol and those on this side: callers, over the desk, and handlers.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Instant;

use super::{Driver, Phase};
use crate::driver::desk::Post;
use crate::driver::drive::Driven as _;
use crate::driver::incoming::Started;
use crate::driver::link::Link;
use crate::driver::now;
use crate::driver::scratch::Scratch;
use crate::error::{Code, Error};
use crate::proto::{Arguments, Event, Fault, Incoming};
use crate::wire::Reply;

impl Driver {
    /// Does what callers and handlers left on the desks. The time then.
    pub(super) fn take_posts(&mut self, scratch: &mut Scratch) -> Instant {
        let mut time = now();
        for desk in 0..self.shared.desks_len() {
            self.shared.take_posts(desk, &mut scratch.posts);
            if !scratch.posts.is_empty() {
                // Other threads may have called since, and what has no time left must not be sent.
                if self.gathers {
                    time = now();
                }
                self.do_posts(time, scratch);
            }
        }
        time
    }

    fn do_posts(&mut self, now: Instant, scratch: &mut Scratch) {
        let mut posts = scratch.posts.take();
        for post in posts.entries() {
            match post {
                Post::Call(call) => {
                    let token = call.token;
                    let number = match self.proto.call(now, call) {
                        Ok(id) => Some(id),
                        Err(error) => {
                            scratch.replies.push((token, Reply::Failure(error)));
                            None
                        }
                    };
                    self.numbers.set(token, number);
                    call.clear();
                }
                &mut Post::Cancel(token) => {
                    if let Some(id) = self.numbers.take(token) {
                        self.proto.cancel(now, id);
                    }
                    self.shared.release(token);
                }
                Post::Respond(id, reply) => {
                    self.is_stirred = true;
                    self.running.remove(id);
                    self.proto.respond(*id, mem::take(reply));
                }
                Post::GoAway(code, text) => self.proto.go_away(*code, text),
                Post::Close(fault) => self.proto.close(fault.clone()),
                Post::Evict if self.has_agreed() => {}
                Post::Evict => self.proto.close(Fault::Closed),
            }
        }
        posts.clear();
        scratch.posts = posts;
    }

    /// Does what the protocol tells of, which is mostly nothing.
    #[inline]
    pub(super) fn hand_out(&mut self, now: Instant, cx: &mut Context<'_>, scratch: &mut Scratch) {
        if self.proto.has_events() {
            self.hand_out_all(now, cx, scratch);
        }
    }

    fn hand_out_all(&mut self, now: Instant, cx: &mut Context<'_>, scratch: &mut Scratch) {
        while let Some(event) = self.proto.poll_event() {
            match event {
                Event::Response { token, reply } => *self.conclude(token, scratch) = reply,
                Event::Request {
                    id,
                    head,
                    deadline,
                    mut payload,
                } => {
                    let mut call = Incoming {
                        id,
                        head,
                        arguments: Arguments::Held(&mut payload),
                        deadline,
                    };
                    // What was held for it is its own from here on.
                    self.weigh();
                    self.start(&mut call, now, cx);
                }
                Event::Abort(id) => {
                    if let Some(cancellation) = self.running.remove(&id) {
                        cancellation.cancel();
                    }
                }
                Event::Established => {
                    self.shared.establish(scratch);
                }
                Event::Draining => {}
                Event::Closed(fault) => {
                    self.phase = Phase::Flushing(now + Self::FAREWELL);
                    self.end(fault, scratch);
                }
            }
        }
    }

    /// A call of ours ended, with what is written over the reply.
    #[inline]
    pub(super) fn conclude<'a>(&mut self, token: usize, scratch: &'a mut Scratch) -> &'a mut Reply {
        self.numbers.take(token);
        let (its, reply) = scratch.replies.next(Default::default);
        *its = token;
        reply
    }

    /// Tells everybody that the connection has ended; all calls have, before.
    pub(super) fn end(&mut self, fault: Fault, scratch: &mut Scratch) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.shared.close(fault, scratch);
        self.shared.closed.cancel();
    }

    /// Runs a call of the peer's.
    pub(super) fn start(&mut self, call: &mut Incoming<'_>, now: Instant, cx: &mut Context<'_>) {
        let (id, deadline) = (call.id, call.deadline);
        self.is_serving = true;
        self.is_stirred = true;
        let started = match (&mut self.session, &self.handler, self.proto.terms()) {
            (Some(session), _, Some(terms)) => session.start(call, terms, now, cx),
            (empty, Some(handler), Some(terms)) => {
                self.shared.codec.store(terms.codec, Ordering::Relaxed);
                let link = Link::without_owner(Arc::clone(&self.shared));
                let session = empty.insert(Arc::clone(handler).session(link));
                session.start(call, terms, now, cx)
            }
            _ => Started::Unknown(Error::new(
                Code::Unimplemented,
                "this side offers no services",
            )),
        };
        match started {
            Started::Returned(outcome, value) => {
                self.strikes = 0;
                self.proto.answer_value(id, outcome, value);
            }
            Started::Answered(reply) => {
                self.strikes = 0;
                self.proto.answer(id, reply);
            }
            Started::GoesOn(cancellation) => {
                self.strikes = 0;
                if self.proto.go_on(id, deadline) {
                    self.running.insert(id, cancellation);
                } else {
                    cancellation.cancel();
                }
            }
            Started::Unknown(error) => {
                self.strikes += 1;
                self.proto.answer(id, Reply::Failure(error));
                if self.strikes > self.limits.strays {
                    self.proto.close(Fault::Violation(
                        "too many calls in a row of unknown methods or shapes",
                    ));
                }
            }
        }
    }

    /// So many callers woken at once are many.
    const CROWD: usize = 8;

    /// Puts the replies that came down for their callers, and wakes them.
    pub(super) fn deliver(&mut self, scratch: &mut Scratch) {
        if self.is_draining != self.proto.is_draining() {
            self.is_draining = true;
            self.shared.draining.store(true, Ordering::Relaxed);
        }
        if !scratch.replies.is_empty() {
            self.shared
                .deliver(&mut scratch.replies, &mut scratch.wakers);
        }
        // On this thread nobody runs before the task has ended its turn, so the wakers can be kept for the
        // next calls of the same tasks. For a few that is not worth another look at the desk.
        if scratch.wakers.len() >= Self::CROWD && !self.gathers {
            for (_, waker) in &scratch.wakers {
                waker.wake_by_ref();
            }
            self.shared.keep(&mut scratch.wakers);
        }
        for (_, waker) in scratch.wakers.drain(..) {
            waker.wake();
        }
    }
}
