//! Reads fields off the front of a body, never past its end.

use bytes::{Buf, Bytes};

use super::Malformed;

/// A cursor over the body of one frame; every shortage is an error that names the field.
pub(crate) struct Reader {
    kind: u8,
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(kind: u8, body: Bytes) -> Self {
        Self { kind, rest: body }
    }

    pub(crate) fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        self.rest.try_get_u8().map_err(|_| self.short(what))
    }

    pub(crate) fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        self.rest.try_get_u16_le().map_err(|_| self.short(what))
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        self.rest.try_get_u32_le().map_err(|_| self.short(what))
    }

    pub(crate) fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        self.rest.try_get_u64_le().map_err(|_| self.short(what))
    }

    pub(crate) fn bytes(&mut self, length: usize, what: &'static str) -> Result<Bytes, Malformed> {
        if length > self.rest.len() {
            return Err(self.short(what));
        }
        Ok(self.rest.split_to(length))
    }

    /// A text with its length in two bytes before it. Bytes that are not UTF-8 are replaced: the
    /// text is for people, and a bad character must not hide the rest of the message.
    pub(crate) fn text(&mut self, what: &'static str) -> Result<String, Malformed> {
        let length = self.u16(what)?;
        let bytes = self.bytes(usize::from(length), what)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn rest(self) -> Bytes {
        self.rest
    }

    /// Ends the body: bytes left over are an error.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Body {
                kind: self.kind,
                what: "bytes left over at the end",
            })
        }
    }

    pub(crate) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed::Body {
            kind: self.kind,
            what,
        }
    }

    fn short(&self, what: &'static str) -> Malformed {
        self.malformed(what)
    }
}
