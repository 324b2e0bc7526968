//! Where an encoder writes: the end of a buffer, up to a limit.

use bytes::BytesMut;

/// Appends to a buffer and refuses the write that would pass the limit, before the buffer grows.
pub(super) struct Output<'a> {
    buffer: &'a mut BytesMut,
    left: usize,
    overflowed: bool,
}

/// The output is full.
pub(super) struct Overflow;

impl<'a> Output<'a> {
    pub(super) fn new(buffer: &'a mut BytesMut, limit: usize) -> Self {
        Self {
            buffer,
            left: limit,
            overflowed: false,
        }
    }

    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => {
                self.left = left;
                self.buffer.extend_from_slice(bytes);
                Ok(())
            }
            None => {
                self.overflowed = true;
                Err(Overflow)
            }
        }
    }

    /// Whether a write was refused.
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed
    }
}
