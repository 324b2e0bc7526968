//! What passes between the protocol of datagrams and those on this side: callers, over the desk, and
//! handlers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Instant;

use super::DatagramDriver;
use crate::driver::desk::Post;
use crate::driver::incoming::Started;
use crate::driver::link::Link;
use crate::driver::now;
use crate::driver::scratch::Scratch;
use crate::error::{Code, Error};
use crate::proto::{Arguments, Event, Fault, Incoming};
use crate::wire::{Payload, Reply};

impl DatagramDriver {
    /// Does what callers and handlers left on the desks. The time then.
    pub(super) fn take_posts(&mut self, scratch: &mut Scratch) -> Instant {
        let mut time = now();
        for desk in 0..self.shared.desks_len() {
            self.shared.take_posts(desk, &mut scratch.posts);
            if !scratch.posts.is_empty() {
                // Other threads may have called since, and what has no time left must not be sent.
                time = now();
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
                    self.running.remove(id);
                    self.proto.respond(now, *id, reply);
                }
                Post::GoAway(code, text) => self.proto.go_away(now, *code, text),
                // Who comes by datagrams has shown a cookie, which is all of its handshake.
                Post::Evict => {}
                Post::Close(fault) => self.proto.close(now, fault.clone()),
            }
        }
        posts.clear();
        scratch.posts = posts;
    }

    /// Does what the protocol tells of.
    pub(super) fn hand_out(&mut self, now: Instant, cx: &mut Context<'_>, scratch: &mut Scratch) {
        while let Some(event) = self.proto.poll_event() {
            match event {
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
                    self.start(&mut call, now, cx);
                }
                event => self.conclude(event, scratch),
            }
        }
    }

    /// Does what can be done without running anything.
    pub(super) fn conclude_all(&mut self, scratch: &mut Scratch) {
        while let Some(event) = self.proto.poll_event() {
            self.conclude(event, scratch);
        }
    }

    fn conclude(&mut self, event: Event, scratch: &mut Scratch) {
        match event {
            Event::Response { token, reply } => {
                self.numbers.take(token);
                scratch.replies.push((token, reply));
            }
            Event::Abort(id) => {
                if let Some(cancellation) = self.running.remove(&id) {
                    cancellation.cancel();
                }
            }
            Event::Established => {
                self.has_agreed = true;
                self.shared.establish(scratch);
            }
            Event::Closed(fault) => {
                self.has_ended = true;
                self.shared.draining.store(true, Ordering::Relaxed);
                self.shared.close(fault, scratch);
                self.shared.closed.cancel();
            }
            // Nobody can run it any more; or it is asked for where it matters.
            Event::Request { .. } | Event::Draining => {}
        }
    }

    /// Runs a call of the peer's.
    fn start(&mut self, call: &mut Incoming<'_>, now: Instant, cx: &mut Context<'_>) {
        let id = call.id;
        self.is_serving = true;
        let started = match (&mut self.session, &self.handler, self.proto.terms()) {
            (Some(session), _, Some(terms)) => session.start(call, &terms, now, cx),
            (empty, Some(handler), Some(terms)) => {
                let link = Link::without_owner(Arc::clone(&self.shared));
                let session = empty.insert(Arc::clone(handler).session(link));
                session.start(call, &terms, now, cx)
            }
            _ => Started::Unknown(Error::new(
                Code::Unimplemented,
                "this side offers no services",
            )),
        };
        match started {
            Started::Returned(outcome, value) => {
                self.strikes = 0;
                let reply = outcome.reply(Payload::copy_from_slice(value));
                self.proto.respond(now, id, &reply);
            }
            Started::Answered(reply) => {
                self.strikes = 0;
                self.proto.respond(now, id, &reply);
            }
            Started::GoesOn(cancellation) => {
                self.strikes = 0;
                if self.proto.go_on(id) {
                    self.running.insert(id, cancellation);
                } else {
                    cancellation.cancel();
                }
            }
            Started::Unknown(error) => {
                self.strikes = self.strikes.saturating_add(1);
                self.proto.respond(now, id, &Reply::Failure(error));
                if self.strikes > self.limits.strays {
                    let what = "too many calls in a row of unknown methods or shapes";
                    self.proto.close(now, Fault::Violation(what));
                }
            }
        }
    }

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
        for (_, waker) in scratch.wakers.drain(..) {
            waker.wake();
        }
    }
}
