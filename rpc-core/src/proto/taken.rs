//! What was taken off the front of the input.

use super::Incoming;
use crate::wire::Outcome;

/// What [`Connection::handle_input`](super::Connection::handle_input) took off the front. The two that nearly all frames lead to are
/// handed out at once, with their payloads where they were read; the rest is told by events.
#[derive(Debug)]
pub(crate) enum Taken<'a> {
    /// No frame: more must arrive first.
    Nothing,
    /// A frame, and maybe events.
    Frame,
    /// As [`Event::Request`](super::Event::Request), before all events.
    Request(Incoming<'a>),
    /// As [`Event::Response`](super::Event::Response), before all events.
    Reply {
        token: usize,
        outcome: Outcome,
        payload: &'a [u8],
    },
}
