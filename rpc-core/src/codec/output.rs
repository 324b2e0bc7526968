//! Where an encoder writes: the end of a buffer, up to a limit.

use bytes::BytesMut;

/// Appends to a buffer and refuses the write that would pass the limit, before the buffer grows.
///
/// Encoders write a few bytes at a time. So the buffer is lengthened ahead of what is written, in
/// leaps and never past the limit, and a write is one comparison and one copy; when the output is
/// dropped the buffer ends at the last byte written.
pub(super) struct Output<'a> {
    buffer: &'a mut BytesMut,
    /// Where the next byte goes.
    at: usize,
    /// Where the buffer must end at the latest.
    end: usize,
    overflowed: bool,
}

/// The output is full.
pub(super) struct Overflow;

impl<'a> Output<'a> {
    pub(super) fn new(buffer: &'a mut BytesMut, limit: usize) -> Self {
        let at = buffer.len();
        Self {
            end: at.saturating_add(limit),
            at,
            buffer,
            overflowed: false,
        }
    }

    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        let next = self.at.saturating_add(bytes.len());
        if let Some(place) = self.buffer.get_mut(self.at..next) {
            place.copy_from_slice(bytes);
            self.at = next;
            return Ok(());
        }
        self.grow(bytes)
    }

    #[cold]
    fn grow(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        let next = self.at.saturating_add(bytes.len());
        if next > self.end {
            self.overflowed = true;
            return Err(Overflow);
        }
        self.buffer.truncate(self.at);
        self.buffer.extend_from_slice(bytes);
        self.at = next;
        // `extend_from_slice` has at least doubled what it had to enlarge; the rest of it is ahead.
        let ahead = self
            .buffer
            .capacity()
            .min(next.saturating_add(AHEAD_MAX))
            .min(self.end);
        self.buffer.resize(ahead.max(next), 0);
        Ok(())
    }

    /// Whether a write was refused.
    pub(super) fn overflowed(&self) -> bool {
        self.overflowed
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        self.buffer.truncate(self.at);
    }
}

/// Bytes to lengthen the buffer by at once: enough that it is rare, and little to fill with zeros
/// in vain in a large buffer that other messages share.
const AHEAD_MAX: usize = 4096;
