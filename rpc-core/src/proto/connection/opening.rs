//! The handshake of a [`Connection`]: both sides of the three legs.

use std::time::{Duration, Instant};

use super::Connection;
use crate::error::Code;
use crate::proto::event::Event;
use crate::proto::fault::Fault;
use crate::proto::handshake::{self, Handshake, MANDATORY_CODEC, Terms};
use crate::proto::later;
use crate::wire::{Answer, Frame, Hello, MAGIC, Parameters, VERSIONS};

/// How long `ready` waits for a frame to ride with.
const READY_WAIT: Duration = Duration::from_secs(1);

impl Connection {
    pub(super) fn parameters(&self) -> Parameters {
        handshake::parameters(&self.limits)
    }

    pub(super) fn handle_hello(&mut self, until: Instant, hello: &Hello) -> Result<(), Fault> {
        let (answer, terms) = handshake::answer(hello, &self.opening, self.parameters());
        self.outbox.raw(&MAGIC);
        self.outbox.frame(&Frame::Answer(answer.clone()));
        match (terms, answer) {
            (Some(terms), _) => {
                self.handshake = Handshake::AwaitReady { until };
                self.accept(terms);
                Ok(())
            }
            (None, Answer::Refused { code, text, .. }) => {
                Err(Fault::RefusedByUs(Code::from_wire(code), text))
            }
            (None, Answer::Accepted { .. }) => Ok(()),
        }
    }

    pub(super) fn handle_answer(&mut self, now: Instant, answer: Answer) -> Result<(), Fault> {
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
                return Err(Fault::Refused {
                    code,
                    versions,
                    text,
                });
            }
        };
        if version < VERSIONS.0 || version > VERSIONS.1 || !self.opening.codecs.contains(&codec) {
            return Err(Fault::Violation(
                "the server chose a version or codec that was not offered",
            ));
        }
        let (early_calls, _) = self.early;
        if early_calls > 0 && codec != MANDATORY_CODEC {
            return Err(Fault::Violation(
                "the server chose another codec than the one of the early calls",
            ));
        }
        if self
            .opening
            .expected
            .is_some_and(|expected| expected != instance)
        {
            return Err(Fault::WrongInstance);
        }
        self.handshake = Handshake::Established;
        self.ready_due = Some(later(now, READY_WAIT));
        self.accept(Terms {
            codec,
            peer,
            instance,
        });
        if let Some(go_away) = self.unsaid.take() {
            self.outbox.frame(&go_away);
        }
        self.establish();
        self.send_calls(now);
        Ok(())
    }

    /// Sends ready if it has something to ride with, or has waited long enough.
    pub(super) fn say_ready(&mut self, now: Instant) {
        let rides = self.outbox.is_ready(&self.credit);
        if self.ready_due.is_some_and(|due| rides || now >= due) {
            self.ready_due = None;
            self.outbox.frame(&Frame::Ready);
        }
    }

    pub(super) fn accept(&mut self, terms: Terms) {
        self.terms = Some(terms);
        self.decoder.accept();
        self.credit.open(terms.peer.connection_window);
    }

    pub(super) fn establish(&mut self) {
        self.events.push_back(Event::Established);
    }
}
