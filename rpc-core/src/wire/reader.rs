//! Reads fields off the front of a body, never past its end.

use super::{Malformed, Payload};

/// A cursor over the body of one frame; every shortage is an error that names the field.
pub(crate) struct Reader<'a> {
    kind: u8,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) fn new(kind: u8, body: &'a [u8]) -> Self {
        Self { kind, rest: body }
    }

    #[inline(never)]
    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.array(what).map(|[byte]| byte)
    }

    #[inline(never)]
    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.array(what).map(u16::from_le_bytes)
    }

    #[inline(never)]
    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.array(what).map(u32::from_le_bytes)
    }

    #[inline(never)]
    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.array(what).map(u64::from_le_bytes)
    }

    pub(crate) fn bytes(
        &mut self,
        length: usize,
        what: &'static str,
    ) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.malformed(what))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A text with its length in two bytes before it. Bytes that are not UTF-8 are replaced: the
    /// text is for people, and a bad character must not hide the rest of the message.
    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, Malformed> {
        let length = self.u16(what)?;
        let bytes = self.bytes(usize::from(length), what)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The rest, as a payload that outlives the buffer.
    #[inline]
    pub(crate) fn payload(self) -> Payload {
        Payload::copy_from_slice(self.rest)
    }

    /// Ends the body: bytes left over are an error.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed("bytes left over at the end"))
        }
    }

    #[cold]
    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed::Body {
            kind: self.kind,
            what,
        }
    }

    /// The next `N` bytes, if there are so many.
    #[inline]
    pub(crate) fn chunk<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (chunk, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(chunk)
    }

    #[inline]
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        let (array, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.malformed(what))?;
        self.rest = rest;
        Ok(*array)
    }
}
