//! Where an encoder writes: the end of a buffer, up to a limit.

use bytes::BytesMut;

/// Appends to a buffer and refuses the write that would pass the limit, before the buffer grows.
///
/// Encoders write a few bytes at a time, so a write is two comparisons, of the limit and of the
/// room, and one copy, which is a single store where the length is constant.
pub(super) struct Output<'a> {
    buffer: &'a mut BytesMut,
    /// Where the buffer must end at the latest.
    end: usize,
    overflowed: bool,
}

/// The output is full.
pub(super) struct Overflow;

impl<'a> Output<'a> {
    #[inline]
    pub(super) fn new(buffer: &'a mut BytesMut, limit: usize) -> Self {
        Self {
            end: buffer.len().saturating_add(limit),
            buffer,
            overflowed: false,
        }
    }

    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        // The buffer never passes its end, and slices are no longer than `isize::MAX`.
        if self.buffer.len().saturating_add(bytes.len()) > self.end {
            return Err(self.overflow());
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    #[cold]
    fn overflow(&mut self) -> Overflow {
        self.overflowed = true;
        Overflow
    }

    /// Whether a write was refused.
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed
    }
}
