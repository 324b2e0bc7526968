//! Scenes from the life of a connection, one topic per file, all on virtual time.

mod body;
mod calls;
mod cancel;
mod chunks;
mod deadlines;
mod go_away;
mod handshake;
mod hostile;
mod keepalive;
mod pair;
mod random;

use std::time::Duration;

use crate::error::{Code, Error, Executed};
use crate::wire::{Payload, Reply};

const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1024 * 1024;

/// The reply that carries `text`.
fn value(text: &'static str) -> Reply {
    Reply::Value(text.as_bytes().into())
}

fn zeros(length: usize) -> Payload {
    Payload::from(vec![0; length])
}

/// The failure in `reply`.
fn failure(reply: Reply) -> Error {
    match reply {
        Reply::Failure(error) => error,
        other => panic!("not a failure: {other:?}"),
    }
}

/// The two facts about a failed call that programs ask for.
fn verdict(reply: Reply) -> (Code, Executed) {
    let error = failure(reply);
    (error.code(), error.executed())
}
