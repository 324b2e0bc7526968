//! A message whose chunks are still arriving.

use std::mem;

use crate::limits::Limits;
use crate::pool::{self, Pooled};
use crate::split::{HEAD_MAX, Split};
use crate::wire::Payload;

/// How much may be under assembly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// The largest message.
    pub(super) message: usize,
    /// All messages of one direction together.
    pub(super) total: usize,
}

impl Bounds {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            message: limits.message,
            // One message that keeps its own limit must always fit.
            total: limits.assembly.max(limits.message),
        }
    }
}

/// Grows with the bytes received, never by what was announced.
#[derive(Debug)]
pub(super) struct Assembly {
    /// The first frame, where it is so short that it may stand before a large byte string.
    head: Vec<u8>,
    bytes: Pooled,
}

impl Assembly {
    /// Less than this is not read [in place](Self::lend): the buffer would grow in small steps.
    const LENT_MIN: usize = 16 * 1024;

    pub(super) fn new(first: &[u8]) -> Self {
        let mut bytes = pool::take();
        let mut head = Vec::new();
        match first.len() {
            ..=HEAD_MAX => head.extend_from_slice(first),
            _ => bytes.extend_from_slice(first),
        }
        Self {
            head,
            bytes: Pooled(bytes),
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.bytes.0.extend_from_slice(chunk);
    }

    pub(super) fn len(&self) -> usize {
        self.head.len().saturating_add(self.bytes.0.len())
    }

    /// Lends the buffer out, so that up to `wanted` bytes can be read to its end; `None` while it is
    /// too short for that. What is made room for is no more than what has been received.
    pub(super) fn lend(&mut self, wanted: usize) -> Option<Vec<u8>> {
        let bytes = &mut self.bytes.0;
        let room = bytes.capacity().saturating_sub(bytes.len());
        if room < wanted.min(Self::LENT_MIN) {
            if bytes.len() < Self::LENT_MIN {
                return None;
            }
            bytes.reserve(bytes.len());
        }
        Some(mem::take(bytes))
    }

    /// The buffer comes back, with more in it.
    pub(super) fn give_back(&mut self, bytes: Vec<u8>) {
        self.bytes.0 = bytes;
    }

    pub(super) fn finish(mut self) -> Payload {
        let bytes = mem::take(&mut self.bytes.0);
        match self.head.is_empty() {
            true => pool::share(bytes).into(),
            false => Payload::split(Split::received(self.head, bytes)),
        }
    }
}
