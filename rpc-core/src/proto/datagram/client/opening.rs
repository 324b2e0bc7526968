//! The handshake of a [`Client`]: hello, the answer, ready, and the farewell.

use std::time::Instant;

use super::{Client, State};
use crate::error::Code;
use crate::proto::datagram::FRESH;
use crate::proto::datagram::pace::Again;
use crate::proto::{Event, Fault, Terms, handshake, later};
use crate::wire::datagram::{ClientBody, Cookie, FromClient, Message};
use crate::wire::{Answer, Hello, VERSIONS};

impl Client {
    pub(super) fn say_hello(&mut self) {
        let hello = Hello {
            versions: VERSIONS,
            parameters: handshake::parameters(&self.limits),
            codecs: self.opening.codecs,
            expected: self.opening.expected,
            credentials: self.opening.credentials.clone(),
        };
        let mut datagram = Vec::new();
        FromClient {
            client: self.id,
            body: ClientBody::Hello(hello),
        }
        .put(&mut datagram);
        self.outbox.push_back(datagram.into());
    }

    pub(super) fn handle_answer(&mut self, now: Instant, cookie: Cookie, answer: Answer) {
        let (version, codec, peer, instance) = match answer {
            Answer::Accepted {
                version,
                codec,
                parameters,
                instance,
            } => (version, codec, parameters, instance),
            Answer::Refused {
                code,
                versions,
                text,
            } => {
                let fault = Fault::Refused {
                    code,
                    versions,
                    text,
                };
                return self.close(now, fault);
            }
        };
        if !(VERSIONS.0..=VERSIONS.1).contains(&version) || !self.opening.codecs.contains(&codec) {
            let what = "the answer chooses what was not offered";
            return self.close(now, Fault::Violation(what));
        }
        if self
            .opening
            .expected
            .is_some_and(|expected| expected != instance)
        {
            return self.close(now, Fault::WrongInstance);
        }
        if let State::Hello { again, .. } = &self.state {
            again.answered(now, &mut self.pace);
        }
        let terms = Terms {
            codec,
            peer,
            instance,
        };
        // The cookie lets a new client in for so long and no longer.
        let until = later(now, FRESH.min(self.limits.handshake));
        let again = Again::begin(now, &mut self.pace);
        self.state = State::Joined {
            cookie,
            terms,
            ready: Some((until, again)),
        };
        self.busy = now;
        self.events.push_back(Event::Established);
        self.say(Message::Ready);
        self.send_calls(now);
    }

    /// An answer after the first. One that accepts is a copy; one that refuses comes from a server
    /// that has no place for us.
    pub(super) fn handle_late_answer(&mut self, now: Instant, answer: Answer) {
        if let Answer::Refused {
            code,
            versions,
            text,
        } = answer
        {
            // What drains has let us in before, and tells us so otherwise.
            if Code::from_wire(code) != Code::Draining {
                let fault = Fault::Refused {
                    code,
                    versions,
                    text,
                };
                self.close(now, fault);
            }
        }
    }

    pub(super) fn handle_handshake_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Hello { until, .. } if now >= *until => {
                let limit = self.limits.handshake;
                self.close(now, Fault::HandshakeTimeout(limit));
            }
            State::Hello { again, .. } if now >= again.at => {
                again.repeat(now, &mut self.pace);
                self.say_hello();
            }
            State::Joined {
                ready: Some((until, _)),
                ..
            } if now >= *until => {
                let limit = self.limits.handshake;
                self.close(now, Fault::HandshakeTimeout(limit));
            }
            State::Joined {
                ready: Some((_, again)),
                ..
            } if now >= again.at => {
                again.repeat(now, &mut self.pace);
                self.say(Message::Ready);
            }
            State::Leaving { left: 0, again, .. } if now >= again.at => self.state = State::Ended,
            State::Leaving { left, again, .. } if now >= again.at => {
                *left = left.saturating_sub(1);
                again.repeat(now, &mut self.pace);
                self.say(Message::GoAway);
            }
            _ => {}
        }
    }
}
