//! Who may come in, decided from one datagram and the server's secret, with nothing kept.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::FRESH;
use super::cookie::{Secret, Worth};
use crate::error::Code;
use crate::limits::Limits;
use crate::proto::handshake::{self, Opening};
use crate::wire::datagram::{ClientBody, Cookie, FromClient, FromServer, ServerBody};
use crate::wire::{Answer, VERSIONS};

/// The door of a server, in front of all its clients.
///
/// Whoever says hello gets a cookie, sent to the address that the hello claims to come from; who
/// shows it later is there. Until then nothing is kept, and no answer is longer than what it answers.
#[derive(Debug)]
pub(crate) struct Admission {
    secret: Secret,
    limits: Arc<Limits>,
    opening: Arc<Opening>,
}

/// What is to be done with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// It is for nobody. An answer may be due.
    Nobody,
    /// It is for the client of this id at its address. If there is none, one may be made where the
    /// cookie is fresh; otherwise the answer is due.
    Client { id: u64, fresh: bool },
}

impl Admission {
    /// How long a client that was let in must be remembered, though it is gone: until its cookie lets
    /// nobody in.
    pub(crate) const MEMORY: Duration = FRESH.saturating_add(Duration::from_secs(1));

    pub(crate) fn new(secret: Secret, limits: Arc<Limits>, opening: Arc<Opening>) -> Self {
        Self {
            secret,
            limits,
            opening,
        }
    }

    /// Looks at a datagram, and appends the answer to it if one may be due. Once the server is no
    /// longer `open`, nobody new is let in.
    pub(crate) fn admit(
        &self,
        now: Instant,
        from: SocketAddr,
        open: bool,
        datagram: &[u8],
        answer: &mut Vec<u8>,
    ) -> Admitted {
        let Ok(FromClient { client, body }) = FromClient::parse(datagram) else {
            return Admitted::Nobody;
        };
        let (body, admitted) = match body {
            ClientBody::Hello(hello) => {
                let parameters = handshake::parameters(&self.limits);
                let (answer, terms) = match open {
                    true => handshake::answer(&hello, &self.opening, parameters),
                    false => (leaving(), None),
                };
                let cookie = match terms {
                    Some(_) => self.secret.bake(now, from, client),
                    None => Cookie::NONE,
                };
                (ServerBody::Answer { cookie, answer }, Admitted::Nobody)
            }
            ClientBody::Shown { cookie, .. } => {
                let worth = self.secret.judge(now, from, client, cookie);
                let admitted = match worth {
                    Worth::Fresh => Admitted::Client {
                        id: client,
                        fresh: open,
                    },
                    Worth::Old => Admitted::Client {
                        id: client,
                        fresh: false,
                    },
                    Worth::None => Admitted::Nobody,
                };
                (ServerBody::Stale, admitted)
            }
        };
        FromServer { client, body }.put(answer);
        debug_assert!(answer.len() <= datagram.len(), "an answer amplifies");
        answer.truncate(datagram.len());
        admitted
    }
}

fn leaving() -> Answer {
    Answer::Refused {
        code: Code::Draining.to_wire(),
        versions: VERSIONS,
        text: "the server is shutting down".to_owned(),
    }
}
