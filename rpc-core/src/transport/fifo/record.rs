//! The record that a client writes on the well-known pipe: which pair of pipes it has made. Pure;
//! PROTOCOL.md fixes its bytes.
//!
//! It says nothing of who the client is. A claim would have to be proved; the owner of the pipes is
//! a fact.

use std::fmt;

use super::checksum::crc32c;

/// The bytes of a record. A write of at most `PIPE_BUF` bytes (4,096, and 512 on any system) enters
/// a pipe whole or not at all, so the records of many clients never mix.
pub(crate) const RECORD_LEN: usize = 128;

/// What a record begins with, as the magic of the protocol does: a byte that no text has, a name,
/// and what a channel would change that takes the bytes for text.
pub(super) const MAGIC: [u8; 8] = *b"\xf8WKP\r\n\x1a\n";

/// The layout that this version writes and reads.
const VERSION: u16 = 1;

/// Where the checksum stands: at the end, over everything before it.
const CHECKSUM_AT: usize = RECORD_LEN - 4;

/// Which pair of pipes. 128 random bits: who can say it was told, so the name is the capability.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id(pub(crate) [u8; 16]);

/// What the server sends first on the pipe to the client, and the client on its own: each sees that
/// the pipe was opened by who has read the record, and not by who found a name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nonce(pub(crate) [u8; 16]);

/// What a client writes on the well-known pipe, once its pair of pipes is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The pair that the client has made.
    pub(crate) id: Id,
    /// What both sides begin with.
    pub(crate) nonce: Nonce,
}

impl Record {
    /// The bytes that are written.
    pub(crate) fn to_bytes(self) -> [u8; RECORD_LEN] {
        let mut bytes = [0; RECORD_LEN];
        let length = u16::try_from(RECORD_LEN).unwrap_or(u16::MAX);
        put(&mut bytes, 0, &MAGIC);
        put(&mut bytes, 8, &VERSION.to_le_bytes());
        put(&mut bytes, 10, &length.to_le_bytes());
        put(&mut bytes, 16, &self.id.0);
        put(&mut bytes, 32, &self.nonce.0);
        let sum = crc32c(bytes.get(..CHECKSUM_AT).unwrap_or_default());
        put(&mut bytes, CHECKSUM_AT, &sum.to_le_bytes());
        bytes
    }

    /// Reads a record; `None` if these bytes are none, or one of another version.
    pub(crate) fn from_bytes(bytes: &[u8; RECORD_LEN]) -> Option<Self> {
        let is_ours = field(bytes, 0)? == MAGIC
            && u16::from_le_bytes(field(bytes, 8)?) == VERSION
            && usize::from(u16::from_le_bytes(field(bytes, 10)?)) == RECORD_LEN
            && u32::from_le_bytes(field(bytes, CHECKSUM_AT)?) == crc32c(bytes.get(..CHECKSUM_AT)?);
        is_ours.then_some(Self {
            id: Id(field(bytes, 16)?),
            nonce: Nonce(field(bytes, 32)?),
        })
    }
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    for (place, byte) in bytes.iter_mut().skip(at).zip(field) {
        *place = *byte;
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A secret between two processes, until the connection stands.
impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// Cuts what arrives on the well-known pipe into records.
///
/// What is no record is passed over up to the next magic, so that garbage costs nobody but its
/// writer.
pub(crate) struct Records {
    /// What was read and not yet cut.
    buffer: [u8; Self::BUFFER],
    begin: usize,
    end: usize,
    /// Bytes that were no record, since the last call of [`take_garbage`](Self::take_garbage).
    garbage: usize,
}

impl Records {
    /// What is read at once: a page of the pipe, in which 32 records lie.
    const BUFFER: usize = 4096;

    pub(crate) fn new() -> Self {
        Self {
            buffer: [0; Self::BUFFER],
            begin: 0,
            end: 0,
            garbage: 0,
        }
    }

    /// Where the next bytes are to be read to; never empty once [`next`](Self::next) has nothing.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.begin..self.end, 0);
        self.end = self.end.saturating_sub(self.begin);
        self.begin = 0;
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes were read to where [`space`](Self::space) said.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(Self::BUFFER);
    }

    /// The next record, if it is there whole.
    pub(crate) fn next(&mut self) -> Option<Record> {
        loop {
            let unread = self.buffer.get(self.begin..self.end)?;
            // A magic at the very end may be cut, and its rest come with the next read.
            let skipped = unread
                .iter()
                .enumerate()
                .position(|(at, _)| {
                    let there = unread.get(at..).unwrap_or_default();
                    there.iter().zip(&MAGIC).all(|(byte, magic)| byte == magic)
                })
                .unwrap_or(unread.len());
            self.skip(skipped);
            let record = self.buffer.get(self.begin..self.end)?.first_chunk()?;
            if let Some(record) = Record::from_bytes(record) {
                self.begin = self.begin.saturating_add(RECORD_LEN);
                return Some(record);
            }
            self.skip(1);
        }
    }

    /// How many bytes were no record since it was asked last.
    pub(crate) fn take_garbage(&mut self) -> usize {
        std::mem::take(&mut self.garbage)
    }

    fn skip(&mut self, count: usize) {
        self.begin = self.begin.saturating_add(count);
        self.garbage = self.garbage.saturating_add(count);
    }
}

#[cfg(test)]
mod tests;
