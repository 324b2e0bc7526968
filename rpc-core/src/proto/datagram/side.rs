//! Either side, behind one set of methods, so that one driver serves both.

use std::time::Instant;

use bytes::Bytes;

use super::{Client, Server};
use crate::error::{Code, Error};
use crate::proto::{Call, CallId, Event, Fault, Terms};
use crate::wire::Reply;

/// A client, or what a server has of one.
#[derive(Debug)]
pub(crate) enum Side {
    Client(Client),
    Server(Server),
}

impl Side {
    pub(crate) fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        match self {
            Self::Client(client) => client.handle_datagram(now, datagram),
            Self::Server(server) => server.handle_datagram(now, datagram),
        }
    }

    /// Nobody receives what we send. A server does not care: whoever asks is answered.
    pub(crate) fn handle_absence(&mut self, now: Instant) {
        if let Self::Client(client) = self {
            client.handle_absence(now);
        }
    }

    pub(crate) fn handle_error(&mut self, now: Instant, error: Error) {
        if let Self::Client(client) = self {
            client.handle_error(now, error);
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Client(client) => client.handle_timeout(now),
            Self::Server(server) => server.handle_timeout(now),
        }
    }

    /// Makes a call; only a client can. A call of the server's would need a window and a cookie in
    /// the other direction.
    pub(crate) fn call(&mut self, now: Instant, call: &mut Call) -> Result<CallId, Error> {
        match self {
            Self::Client(client) => client.call(now, call),
            Self::Server(_) => Err(Error::new(
                Code::Unimplemented,
                "a server cannot call its client over datagrams",
            )
            .with_hint("use tcp:// where the server calls back")),
        }
    }

    pub(crate) fn cancel(&mut self, now: Instant, id: CallId) {
        if let Self::Client(client) = self {
            client.cancel(now, id);
        }
    }

    pub(crate) fn go_on(&mut self, id: CallId) -> bool {
        match self {
            Self::Client(_) => false,
            Self::Server(server) => server.go_on(id),
        }
    }

    pub(crate) fn respond(&mut self, now: Instant, id: CallId, reply: &Reply) {
        if let Self::Server(server) = self {
            server.respond(now, id, reply);
        }
    }

    pub(crate) fn go_away(&mut self, now: Instant, code: Code, text: &str) {
        match self {
            Self::Client(client) => client.go_away(now),
            Self::Server(server) => server.go_away(now, code, text),
        }
    }

    pub(crate) fn close(&mut self, now: Instant, fault: Fault) {
        match self {
            Self::Client(client) => client.close(now, fault),
            Self::Server(server) => server.close(fault),
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Client(client) => client.poll_event(),
            Self::Server(server) => server.poll_event(),
        }
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<Bytes> {
        match self {
            Self::Client(client) => client.poll_transmit(),
            Self::Server(server) => server.poll_transmit(),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Client(client) => client.poll_timeout(),
            Self::Server(server) => server.poll_timeout(),
        }
    }

    /// What was agreed, once it was.
    pub(crate) fn terms(&self) -> Option<Terms> {
        match self {
            Self::Client(client) => client.terms().copied(),
            Self::Server(server) => Some(server.terms()),
        }
    }

    /// Whether it has been said that no new calls are taken.
    pub(crate) fn is_draining(&self) -> bool {
        match self {
            Self::Client(client) => client.is_draining(),
            Self::Server(server) => server.is_draining(),
        }
    }

    /// Whether a drain has come to its end.
    pub(crate) fn is_drained(&self, now: Instant) -> bool {
        match self {
            // It closes by itself.
            Self::Client(_) => false,
            Self::Server(server) => server.is_drained(now),
        }
    }

    /// Whether nothing more is to be said, once it has closed.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Client(client) => client.is_over(),
            Self::Server(_) => true,
        }
    }

    /// Bytes held for the peer.
    pub(crate) fn held(&self) -> usize {
        match self {
            Self::Client(_) => 0,
            Self::Server(server) => server.held(),
        }
    }
}
