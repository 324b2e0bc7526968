//! A message whose chunks are still arriving.

use bytes::{Bytes, BytesMut};

use crate::limits::Limits;

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
    buffer: BytesMut,
}

impl Assembly {
    pub(super) fn new(first: &[u8]) -> Self {
        Self {
            buffer: BytesMut::from(first),
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn finish(self) -> Bytes {
        self.buffer.freeze()
    }
}
