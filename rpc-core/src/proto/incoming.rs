//! A call of the peer's, on its way to a handler.

use std::mem;
use std::time::Instant;

use super::CallId;
use crate::wire::{Payload, RequestHead};

/// A request that is complete, and may run.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    pub(crate) id: CallId,
    pub(crate) head: RequestHead,
    pub(crate) arguments: Arguments<'a>,
    /// When the call is late.
    pub(crate) deadline: Instant,
}

/// The encoded arguments of a call.
#[derive(Debug)]
pub(crate) enum Arguments<'a> {
    /// Where they were read; the buffer is used again for what is read next.
    Read(&'a [u8]),
    /// Put together, or kept.
    Held(&'a mut Payload),
}

impl Arguments<'_> {
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Read(bytes) => bytes.len(),
            Self::Held(payload) => payload.len(),
        }
    }

    /// The arguments, once.
    pub(crate) fn take(&mut self) -> Payload {
        match self {
            Self::Read(bytes) => Payload::copy_from_slice(bytes),
            Self::Held(payload) => mem::take(payload),
        }
    }

    /// Puts the arguments, once, in the place of those of an earlier call.
    #[inline]
    pub(crate) fn put_into(&mut self, place: &mut Payload) {
        match self {
            Self::Read(bytes) => place.copy_in(bytes),
            Self::Held(payload) => *place = mem::take(payload),
        }
    }
}
