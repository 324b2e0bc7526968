//! The body of a chunk on its way to a [`Connection`], read to where it belongs.

use std::time::Instant;

use super::Connection;
use crate::proto::assembly::Bounds;
use crate::proto::handshake::Handshake;
use crate::proto::id::CallId;

/// Where the next bytes of the connection belong: at the end of `buffer`, and no more of them than
/// `left`. See [`Connection::take_body`].
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) buffer: Vec<u8>,
    pub(crate) left: usize,
}

impl Connection {
    /// Whether the next bytes are those of a chunk, so that it is worth asking where they belong.
    #[inline]
    pub(crate) fn awaits_body(&self) -> bool {
        self.decoder.unfinished().is_some()
    }

    /// The buffer of the message that the next bytes belong to, so that they need not be copied
    /// there; `None` where they must go to [`handle_input`](Self::handle_input), which is always
    /// right too. What was taken comes back by [`handle_body`](Self::handle_body) before anything
    /// else is asked of the connection.
    pub(crate) fn take_body(&mut self) -> Option<Body> {
        if self.ended.is_some() || self.handshake != Handshake::Established {
            return None;
        }
        let chunk = self.decoder.unfinished()?;
        // What passes a limit is refused where all input is taken in.
        if !self.credit.covers(chunk.left) {
            return None;
        }
        let (id, bounds) = (CallId(chunk.id), Bounds::new(&self.limits));
        let buffer = match chunk.callee {
            true => self.calls.lend(id, chunk.left, bounds),
            false => self.served.lend(id, chunk.left, bounds),
        }?;
        let left = chunk.left;
        Some(Body { buffer, left })
    }

    /// The buffer that was [taken](Self::take_body) comes back with `read` more bytes at its end, all
    /// that arrived of the chunk.
    pub(crate) fn handle_body(&mut self, now: Instant, buffer: Vec<u8>, read: usize) {
        let Some(chunk) = self.decoder.unfinished() else {
            return;
        };
        let (id, callee) = (CallId(chunk.id), chunk.callee);
        match callee {
            true => self.calls.give_back(id, buffer, read),
            false => self.served.give_back(id, buffer, read),
        }
        if read == 0 {
            return;
        }
        self.keepalive.heard(now);
        let more = self.decoder.pass(read);
        // The bytes are in their place: what is left to do is what follows from them.
        let handled = self.credit.receive(read).and_then(|()| match more {
            true => Ok(()),
            false => self.handle_piece(now, id, &[], false, callee),
        });
        match handled {
            Ok(()) => self.release_held(),
            Err(fault) => self.close(fault),
        }
    }
}
