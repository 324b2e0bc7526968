//! The trunk: the one connection between the main server and a subserver, over which the calls of
//! all its clients travel. Knows neither processes nor services.
//!
//! It speaks the protocol of every connection, with one difference: where a request has the
//! fingerprint of its method, a client's call has the number of the client. Whose types are whose
//! was settled when the subserver began.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::CodecId;
use crate::driver::{Drive, Handler, Link, now};
use crate::limits::Limits;
use crate::proto::Opening;
use crate::server::ServerBuilder;
use crate::transport::Conduit;

/// The format on every trunk, whatever the clients speak: the first, which every build has.
pub(super) const CODEC: CodecId = CodecId::BINCODE;

/// Calls in flight on a trunk, each way: eight times what a server runs at once by default. The
/// limits of each client, and that of the main server on all of its calls, are those that count;
/// this one only bounds the table.
const CALLS: u32 = 65_536;

/// The main server's end.
pub(super) fn main(conduit: Conduit, handler: Arc<dyn Handler>) -> (Link, Drive) {
    Link::server(conduit, limits(), opening(), handler)
}

/// A subserver's end.
pub(super) fn subserver(conduit: Conduit, handler: Arc<dyn Handler>) -> (Link, Drive) {
    Link::client(now(), conduit, limits(), opening(), Some(handler))
}

/// Those of a connection that carries what many others do, to a process of our own.
fn limits() -> Arc<Limits> {
    Arc::new(Limits {
        // Each client is held to the limit of its own connection, and another format may be longer.
        message: Limits::MESSAGE_MAX,
        calls: CALLS,
        queued_calls: CALLS as usize,
        // What the server may hold for all its clients.
        assembly: ServerBuilder::BUFFERS_MAX,
        // The subserver has granted the time already, up to the limit of the server.
        deadline_max: Duration::MAX,
        // The program has to come to its server first.
        handshake: super::dispatcher::START_MAX,
        ..Limits::default()
    })
}

fn opening() -> Arc<Opening> {
    Arc::new(Opening::offering([CODEC.to_wire()].into()))
}
