//! How a [`Connection`] ends, in order and otherwise.

use std::sync::Arc;

use super::Connection;
use crate::error::{Code, Executed};
use crate::proto::calls::Progress;
use crate::proto::event::Event;
use crate::proto::fault::Fault;
use crate::proto::handshake::Handshake;
use crate::wire::{Answer, Frame, MAGIC, Reply, VERSIONS};

/// What a client hears whose connection this side closed before it said hello.
const CLOSED_EARLY: (Code, &str) = (
    Code::Disconnected,
    "the server closed the connection before the handshake",
);

impl Connection {
    /// Announces that calls beyond those already here will not run.
    pub(crate) fn go_away(&mut self, code: Code, text: &str) {
        if self.ended.is_some() || self.leaving.is_some() {
            return;
        }
        let last_id = self.served.last();
        self.leaving = Some(last_id);
        let frame = Frame::GoAway {
            last_id,
            code: code.to_wire(),
            text: text.to_owned(),
        };
        match self.handshake {
            Handshake::AwaitHello { .. } => {
                let refuse = (Code::Draining, "the server is shutting down");
                Arc::make_mut(&mut self.opening).refuse = Some(refuse);
            }
            Handshake::AwaitAnswer { .. } => self.unsaid = Some(Arc::new(frame)),
            Handshake::AwaitReady { .. } | Handshake::Established => self.outbox.frame(&frame),
        }
    }

    /// Ends the connection. All calls end, and the peer is told why where that makes sense.
    pub(crate) fn close(&mut self, fault: Fault) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(fault.clone());
        let verdict = match (&fault, self.handshake) {
            // The hello may be on its way with calls, which did not run: their client is told so.
            (Fault::Closed, Handshake::AwaitHello { .. }) => {
                let (code, text) = self.opening.refuse.unwrap_or(CLOSED_EARLY);
                Some((code, text.to_owned()))
            }
            _ => fault.verdict(),
        };
        self.was_settled = verdict.is_none() && self.is_settled();
        if let Some((code, text)) = verdict {
            // Calls that came after a go-away were passed over: its number must not rise.
            let last_id = self.leaving.unwrap_or_else(|| self.served.last());
            if self.terms.is_some() {
                self.outbox.frame(&Frame::GoAway {
                    last_id,
                    code: code.to_wire(),
                    text,
                });
            } else if matches!(self.handshake, Handshake::AwaitHello { .. }) {
                self.outbox.raw(&MAGIC);
                let refused = Answer::Refused {
                    code: code.to_wire(),
                    versions: VERSIONS,
                    text,
                };
                self.outbox.frame(&Frame::Answer(refused));
            }
        }
        self.ready_due = None;
        self.pong = None;
        let never_accepted = match &fault {
            Fault::Refused { .. } | Fault::WrongInstance => true,
            // The transport knows that nobody took the connection.
            Fault::Io(error) => error.code() == Code::Refused,
            _ => false,
        };
        for id in self.calls.above(0) {
            let unsent = self.outbox.has(id, false);
            let Some((token, progress)) = self.calls.end(id) else {
                continue;
            };
            let executed = match progress {
                Progress::Receiving => Executed::Yes,
                Progress::Sent if !never_accepted && !unsent => Executed::Maybe,
                _ => Executed::No,
            };
            let error = fault.to_error().with_executed(executed);
            self.events.push_back(Event::Response {
                token,
                reply: Reply::Failure(error),
            });
        }
        for id in self.served.ids() {
            self.stop(id);
        }
        // What was not handed out yet does not run.
        for _ in 0..self.events.len() {
            match self.events.pop_front() {
                Some(Event::Request { .. }) | None => {}
                Some(event) => self.events.push_back(event),
            }
        }
        self.served.abandon();
        // A call that counts as not run must not be completed after all.
        self.outbox.abandon();
        self.events.push_back(Event::Closed(fault));
    }

    /// Whether the peer has answered all that it was told, and told nothing itself that was answered. One
    /// that is leaving may have more to tell below the protocol: how its process ended.
    fn is_settled(&self) -> bool {
        self.handshake == Handshake::Established
            && self.leaving.is_none()
            && self.draining.is_none()
            && self.calls.are_answered()
            && self.served.last() == 0
    }

    /// The connection is gone. What the peer said before it went explains more than how it went.
    pub(super) fn lose(&mut self, fault: Fault) {
        let fault = match self.dismissal.take() {
            Some((code, text)) => Fault::Dismissed { code, text },
            None => fault,
        };
        self.close(fault);
    }
}
