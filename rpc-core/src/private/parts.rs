//! Calls whose last argument may be large bytes, which move into the message without being copied.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Block, Outcome, Wire};
use crate::client::{Call, Channel, TryCall};
use crate::codec::Part;
use crate::service::Method;

/// Large bytes that a message ends with, where it does.
pub struct Tail(Option<Bytes>);

impl Tail {
    pub(super) fn into_bytes(self) -> Option<Bytes> {
        self.0
    }
}

impl<T: Serialize + 'static> Block<T> {
    /// What is encoded for the last argument, and what travels behind it as it is.
    pub fn part(value: T) -> (impl Serialize, Tail) {
        let (value, tail) = Part::of(value);
        (value, Tail(tail))
    }
}

impl<T: DeserializeOwned> Wire<T> {
    /// As [`call`](Self::call), where the last argument was [taken apart](Block::part).
    pub fn call_parts<A: Serialize>(
        channel: &Channel,
        method: &'static Method,
        arguments: &A,
        tail: Tail,
    ) -> Call<T> {
        Call::new(channel.start(method, arguments, tail.0))
    }
}

impl<T: DeserializeOwned, E: DeserializeOwned> Outcome<Result<T, E>> {
    /// As [`try_call`](Self::try_call), where the last argument was [taken apart](Block::part).
    pub fn try_call_parts<A: Serialize>(
        channel: &Channel,
        method: &'static Method,
        arguments: &A,
        tail: Tail,
    ) -> TryCall<T, E> {
        TryCall::new(channel.start(method, arguments, tail.0))
    }
}
