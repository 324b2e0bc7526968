//! Encoding a message again: for a process that stands between two others, knows the types of what
//! they say, and hands on only what it has written itself. Knows nothing of those processes.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Request;
use crate::codec::{Budget, CodecId, Part};
use crate::error::{Code, Error, Executed};
use crate::limits::Limits;
use crate::wire::{Payload, Reply};

/// How the messages of one method are encoded again. Generated, because it needs the types.
#[doc(hidden)]
#[derive(Clone, Copy)]
pub struct Recode {
    arguments: fn(&Request, CodecId) -> Result<Payload, Reply>,
    reply: fn(&Passage, Reply) -> Reply,
}

impl Recode {
    /// `arguments` decodes a request within its budget, `reply` a reply within that of the passage.
    pub const fn new(
        arguments: fn(&Request, CodecId) -> Result<Payload, Reply>,
        reply: fn(&Passage, Reply) -> Reply,
    ) -> Self {
        Self { arguments, reply }
    }

    /// The arguments of `request` in `codec`.
    ///
    /// # Errors
    /// What its sender is to be told: they cannot be decoded, or not within the budget.
    pub fn arguments(&self, request: &Request, codec: CodecId) -> Result<Payload, Reply> {
        (self.arguments)(request, codec)
    }

    /// What `reply` says, on the other side of the `passage`.
    pub fn reply(&self, passage: &Passage, reply: Reply) -> Reply {
        (self.reply)(passage, reply)
    }
}

impl fmt::Debug for Recode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recode").finish_non_exhaustive()
    }
}

/// The arguments that were decoded, for another connection. The receiver of the request has not run
/// it, whatever is wrong here.
pub(crate) fn recode_arguments<A: Serialize>(
    codec: CodecId,
    arguments: &A,
    tail: Option<Bytes>,
) -> Result<Payload, Reply> {
    Payload::written(&mut |buffer| codec.encode_into(arguments, buffer, Limits::MESSAGE_MAX))
        .map(|payload| payload.with_tail(tail))
        .map_err(|error| Reply::Failure(error.with_executed(Executed::No)))
}

/// From which connection to which a reply goes, and what it may cost on the way.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Passage {
    /// The codec that it came in.
    pub(crate) from: CodecId,
    /// The codec that it goes on in.
    pub(crate) to: CodecId,
    /// [`Limits::decode_depth`].
    pub(crate) depth: usize,
    /// [`Limits::decode_memory`].
    pub(crate) memory: usize,
    /// The most bytes that its receiver takes.
    pub(crate) limit: usize,
}

impl Passage {
    pub(crate) fn plain<T>(&self, reply: Reply) -> Reply
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        match reply {
            Reply::Value(payload) => self.pass::<T>(&payload, Reply::Value),
            Reply::ServiceError(_) => Reply::Failure(
                Error::new(
                    Code::Skew,
                    "an error of the service came from a method that has none",
                )
                .with_executed(Executed::Yes),
            ),
            failure @ Reply::Failure(_) => failure,
        }
    }

    pub(crate) fn result<T, E>(&self, reply: Reply) -> Reply
    where
        T: Serialize + DeserializeOwned + 'static,
        E: Serialize + DeserializeOwned + 'static,
    {
        match reply {
            Reply::Value(payload) => self.pass::<T>(&payload, Reply::Value),
            Reply::ServiceError(payload) => self.pass::<E>(&payload, Reply::ServiceError),
            failure @ Reply::Failure(_) => failure,
        }
    }

    fn pass<T>(&self, payload: &Payload, kind: fn(Payload) -> Reply) -> Reply
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        // Its method has run, so that whatever is wrong with the reply, it must not run again.
        self.again::<T>(payload).map_or_else(
            |error| Reply::Failure(error.with_executed(Executed::Yes)),
            kind,
        )
    }

    fn again<T>(&self, payload: &Payload) -> Result<Payload, Error>
    where
        T: Serialize + DeserializeOwned + 'static,
    {
        let budget = Budget::of_message(payload.len(), self.depth, self.memory);
        let split = payload.parts();
        let value: T = match payload.shared() {
            Some(bytes) => self.from.decode_shared(bytes.clone(), &budget)?,
            None => {
                let bytes = split.map_or_else(|| &**payload, |split| split.head());
                self.from.decode_owned(bytes, split, &budget)?
            }
        };
        let (value, tail) = Part::of(value);
        Payload::written(&mut |buffer| self.to.encode_into(&value, buffer, self.limit))
            .map(|payload| payload.with_tail(tail))
    }
}
