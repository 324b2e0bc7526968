//! What a connection tells its driver.

use std::time::Instant;

use super::{CallId, Fault};
use crate::wire::{Payload, Reply, RequestHead};

/// Something happened on the connection.
#[derive(Debug)]
pub(crate) enum Event {
    /// The handshake is over on this side; [`terms`](super::Connection::terms) says what was agreed.
    Established,
    /// The peer calls: run it, and before anything else say how that went, with
    /// [`answer`](super::Connection::answer) or [`go_on`](super::Connection::go_on).
    Request {
        id: CallId,
        head: RequestHead,
        /// When the call is late, counted from its arrival.
        deadline: Instant,
        payload: Payload,
    },
    /// Stop running the peer's call: it was cancelled, is late, or its connection is gone. Answer
    /// it all the same once its handler is gone, so that its place becomes free.
    Abort(CallId),
    /// The call of ours that the driver knows by `token` ended.
    Response { token: usize, reply: Reply },
    /// The peer takes no new calls.
    Draining,
    /// The connection ended; this is the last event.
    Closed(Fault),
}
