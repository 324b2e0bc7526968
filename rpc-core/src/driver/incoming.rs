//! Who runs the calls of the peer's, and how far each came.

use std::sync::Arc;
use std::task::Context;
use std::time::Instant;

use super::desk::Post;
use super::gauge::Gauge;
use super::link::Link;
use crate::cancellation::Cancellation;
use crate::error::{Code, Error, Executed};
#[cfg(feature = "udp")]
use crate::proto::datagram::Memory;
use crate::proto::{CallId, Incoming, Terms};
use crate::wire::{Outcome, Reply};

/// Runs the calls that peers make. A server has one; a client has one if it offers services to its
/// server.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Makes what runs the calls of one connection. It is asked for with the first of them.
    fn session(self: Arc<Self>, link: Link) -> Box<dyn Session>;

    /// Where connections say how much they hold for their peers.
    fn gauge(&self) -> &Gauge;

    /// What clients that call by datagrams share, to have their replies remembered.
    #[cfg(feature = "udp")]
    fn memory(&self) -> &Memory;
}

/// Runs the calls of one connection.
pub(crate) trait Session: Send + 'static {
    /// Runs a call as far as it goes without waiting. `cx` is the connection's: a handler that has
    /// to wait goes on in a task of its own, and answers by a [`Ticket`]. Takes what is in the call.
    /// `now` is when the calls that arrived together did.
    fn start(
        &mut self,
        call: &mut Incoming<'_>,
        terms: &Terms,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Started<'_>;

    /// The calls that had arrived are started: what only they needed can go.
    fn rest(&mut self);
}

/// How far a call came at once.
pub(crate) enum Started<'a> {
    /// Its handler is done, and this is what it returned, where it lies until the next call.
    Returned(Outcome, &'a [u8]),
    /// It is done.
    Answered(Reply),
    /// Its handler has to wait. Firing this ends it.
    GoesOn(Cancellation),
    /// There is no such method, or not with such arguments. Who looks for what is not there for too
    /// long is cut off.
    Unknown(Error),
}

/// The right to answer a call, once. Dropping it answers with an internal error, so that no caller
/// waits for a handler that is gone.
pub(crate) struct Ticket {
    link: Link,
    id: Option<CallId>,
}

impl Ticket {
    pub(crate) fn new(link: Link, id: CallId) -> Self {
        let id = Some(id);
        Self { link, id }
    }

    /// The handler is gone and this is what it left.
    pub(crate) fn respond(mut self, reply: Reply) {
        self.finish(reply);
    }

    fn finish(&mut self, reply: Reply) {
        if let Some(id) = self.id.take() {
            self.link.shared().post(Post::Respond(id, reply));
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.id.is_some() {
            let error = Error::new(Code::Internal, "the handler ended without an answer");
            self.finish(Reply::Failure(error.with_executed(Executed::Maybe)));
        }
    }
}
