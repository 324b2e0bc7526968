//! Where an encoder writes: the end of a buffer, up to a limit.

use std::cell::Cell;

use crate::pool;

/// Appends to a buffer and refuses what passes the limit, before the buffer grows.
///
/// Encoders write a few bytes at a time. So a write asks only whether there is room; the limit is
/// asked where there is none, and [at the end](Limit::kept), because what fits into a buffer that
/// is there anyway costs nothing. An output is two pointers and is handed down by value, so that
/// the length of the buffer, which changes with every write, is one step away and not two.
pub(super) struct Output<'a> {
    buffer: &'a mut Vec<u8>,
    limit: &'a Limit,
}

/// Where the buffer must end at the latest.
pub(super) struct Limit {
    end: usize,
    /// A write was refused, whatever became of its error in the value's own hands.
    passed: Cell<bool>,
}

/// The output is full.
pub(super) struct Overflow;

impl<'a> Output<'a> {
    #[inline]
    pub(super) fn new(buffer: &'a mut Vec<u8>, limit: &'a Limit) -> Self {
        Self { buffer, limit }
    }

    /// The same output, for a part of the value.
    #[inline]
    pub(super) fn lend(&mut self) -> Output<'_> {
        Output {
            buffer: self.buffer,
            limit: self.limit,
        }
    }

    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        // A buffer is never longer than its capacity.
        let room = self.buffer.capacity().wrapping_sub(self.buffer.len());
        if bytes.len() <= room {
            self.buffer.extend_from_slice(bytes);
            Ok(())
        } else {
            grow(self.buffer, self.limit, bytes)
        }
    }
}

#[cold]
fn grow(buffer: &mut Vec<u8>, limit: &Limit, bytes: &[u8]) -> Result<(), Overflow> {
    if buffer.len().saturating_add(bytes.len()) > limit.end {
        limit.passed.set(true);
        return Err(Overflow);
    }
    if bytes.len() >= pool::LARGE && buffer.capacity() < pool::LARGE {
        let small = std::mem::replace(buffer, pool::take());
        buffer.extend_from_slice(&small);
    }
    buffer.extend_from_slice(bytes);
    Ok(())
}

impl Limit {
    /// `bytes` more than `buffer` holds.
    #[inline]
    pub(super) fn new(buffer: &[u8], bytes: usize) -> Self {
        Self {
            end: buffer.len().saturating_add(bytes),
            passed: Cell::new(false),
        }
    }

    /// Whether what `buffer` has become is within the limit, and nothing was left out.
    #[inline]
    pub(super) fn kept(&self, buffer: &[u8]) -> bool {
        buffer.len() <= self.end && !self.passed.get()
    }
}
