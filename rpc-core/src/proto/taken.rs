//! What was taken off the front of the input.

use std::time::Instant;

use super::id::CallId;
use crate::wire::{Outcome, RequestHead};

/// What [`Connection::handle_input`](super::Connection::handle_input) took off the front. The two that nearly all frames lead to are
/// handed out at once, with their payloads where they were read; the rest is told by events.
#[derive(Debug)]
pub(crate) enum Taken<'a> {
    /// No frame: more must arrive first.
    Nothing,
    /// A frame, and maybe events.
    Frame,
    /// As [`Event::Request`](super::Event::Request), before all events.
    Request {
        id: CallId,
        head: RequestHead,
        deadline: Instant,
        payload: &'a [u8],
    },
    /// As [`Event::Response`](super::Event::Response), before all events.
    Reply {
        token: usize,
        outcome: Outcome,
        payload: &'a [u8],
    },
}
