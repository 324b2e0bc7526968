//! A message whose chunks are still arriving.

use bytes::{Bytes, BytesMut};

/// Grows with the bytes received, never by what was announced.
#[derive(Debug)]
pub(super) struct Assembly {
    buffer: BytesMut,
}

impl Assembly {
    pub(super) fn new(first: &Bytes) -> Self {
        Self {
            buffer: BytesMut::from(&first[..]),
        }
    }

    pub(super) fn push(&mut self, chunk: &Bytes) {
        self.buffer.extend_from_slice(chunk);
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn finish(self) -> Bytes {
        self.buffer.freeze()
    }
}
