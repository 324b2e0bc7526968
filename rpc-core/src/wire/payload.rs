//! The encoded arguments of a call, or what it returned.

use std::cell::Cell;
use std::fmt;
use std::mem;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;
use crate::pool;
use crate::split::Split;

/// Encoded arguments, or an encoded value: in place while it is small, in a shared buffer beyond, and in
/// two parts where it ends with a large byte string.
///
/// Most calls carry a few bytes. Held in place they cost neither an allocation nor a reference
/// count, and whoever keeps them keeps nothing of the buffer that they were read into.
///
/// The bytes in place stand first and aligned, and are written in the pieces in which the whole is
/// moved from then on: a processor that must read what lies across two writes not yet done waits for
/// both, and with each move of a payload that was a good part of the time of a call.
#[derive(Clone)]
#[repr(C, align(16))]
pub struct Payload {
    here: [u8; HERE],
    place: Place,
}

#[derive(Clone)]
enum Place {
    Own(Own),
    There(Bytes),
}

/// Apart from [`Place`], which is no larger for it.
#[derive(Clone)]
enum Own {
    /// So many bytes in place: a whole word, like the tag beside it, because the two are moved as what
    /// they are.
    Here(usize),
    Split(Parts),
}

/// A message in two parts, which nobody else has. It is behind an [`Arc`] because dropping one takes
/// little code where it stands, and payloads are dropped in very many places.
struct Parts(Arc<Split>);

impl Clone for Parts {
    fn clone(&self) -> Self {
        Self(Arc::new(Split::clone(&self.0)))
    }
}

/// The most bytes that are held in place: with it the whole is 64 bytes, one line of the cache.
const HERE: usize = 32;

/// A buffer up to this size is kept for the next payload of its thread. A larger one becomes the
/// payload: by then an allocation costs less than a copy.
const SCRATCH_MAX: usize = 4096;

thread_local! {
    /// Where payloads are encoded, so that small ones need no buffer of their own.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Payload {
    /// A payload of its own bytes, equal to `bytes`.
    #[inline]
    pub fn copy_from_slice(bytes: &[u8]) -> Self {
        match bytes.len() {
            length @ ..=HERE => Self {
                here: padded(bytes),
                place: Place::Own(Own::Here(length)),
            },
            _ => Bytes::copy_from_slice(bytes).into(),
        }
    }

    /// Becomes a payload of its own bytes, equal to `bytes`.
    #[inline]
    pub(crate) fn copy_in(&mut self, bytes: &[u8]) {
        match (&mut self.place, bytes.len()) {
            (Place::Own(Own::Here(length)), new @ ..=HERE) => {
                self.here = padded(bytes);
                *length = new;
            }
            _ => *self = Self::copy_from_slice(bytes),
        }
    }

    /// Takes it out. What is left is of no meaning, and holds nothing.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        match self.place {
            Place::Own(Own::Here(length)) => Self {
                here: self.here,
                place: Place::Own(Own::Here(length)),
            },
            _ => self.take_all(),
        }
    }

    /// Out of line, so that the usual way is not by memory because this one is.
    #[inline(never)]
    fn take_all(&mut self) -> Self {
        mem::take(self)
    }

    /// Becomes what `from` is, of which is left what [`take`](Self::take) leaves.
    #[inline]
    pub(crate) fn move_in(&mut self, from: &mut Self) {
        match (&mut self.place, &from.place) {
            (Place::Own(Own::Here(length)), &Place::Own(Own::Here(new))) => {
                self.here = from.here;
                *length = new;
            }
            _ => *self = mem::take(from),
        }
    }

    /// Becomes one more of the same bytes as `of`.
    #[inline]
    pub(crate) fn share(&mut self, of: &Self) {
        match (&mut self.place, &of.place) {
            (Place::Own(Own::Here(length)), &Place::Own(Own::Here(new))) => {
                self.here = of.here;
                *length = new;
            }
            _ => *self = of.clone(),
        }
    }

    /// Lets go of all bytes.
    #[inline]
    pub(crate) fn clear(&mut self) {
        match &mut self.place {
            Place::Own(Own::Here(length)) => *length = 0,
            _ => *self = Self::default(),
        }
    }

    /// What `write` appends to the empty buffer that it is given.
    #[inline]
    pub(crate) fn written(
        write: &mut dyn FnMut(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut payload = Self::default();
        payload.write_in(write)?;
        Ok(payload)
    }

    /// Becomes what `write` appends to the empty buffer that it is given, or after an error anything. It
    /// is compiled once, and not for each type that is encoded.
    #[inline]
    pub(crate) fn write_in(
        &mut self,
        write: &mut dyn FnMut(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // A value that makes a call while it is encoded finds an empty one.
        let mut buffer = SCRATCH.take();
        let written = write(&mut buffer);
        match buffer.len() {
            ..=HERE => self.copy_in(&buffer),
            _ => *self = Self::taken_from(&mut buffer),
        }
        give_back(buffer);
        written
    }

    /// What is too much to be held in place, and perhaps the buffer with it.
    fn taken_from(buffer: &mut Vec<u8>) -> Self {
        let length = buffer.len();
        if length > SCRATCH_MAX {
            pool::share(mem::take(buffer)).into()
        } else if length >= buffer.capacity() / 2 {
            // The buffer becomes the payload, and another as large takes its place, which is what a
            // copy would have needed.
            mem::replace(buffer, Vec::with_capacity(length)).into()
        } else {
            Bytes::copy_from_slice(buffer).into()
        }
    }

    /// A message of these two parts.
    pub(crate) fn split(split: Split) -> Self {
        Self {
            here: [0; HERE],
            place: Place::Own(Own::Split(Parts(Arc::new(split)))),
        }
    }

    /// This in front of `tail`.
    #[inline]
    pub(crate) fn with_tail(self, tail: Option<Bytes>) -> Self {
        match tail {
            Some(tail) => Self::split(Split::sent(&self, tail)),
            None => self,
        }
    }

    /// The two parts, where it is in two.
    #[inline]
    pub(crate) fn parts(&self) -> Option<&Split> {
        match &self.place {
            Place::Own(Own::Split(Parts(split))) => Some(split),
            _ => None,
        }
    }

    /// How many bytes there are.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.place {
            Place::Own(Own::Here(length)) => *length,
            Place::Own(Own::Split(Parts(split))) => split.len(),
            Place::There(bytes) => bytes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For a message that travels in parts, the first of which has `first` bytes at most: takes off
    /// what comes after the first, if that does not hold all.
    pub(crate) fn split_off(&mut self, first: usize) -> Bytes {
        if first >= self.len() {
            return Bytes::new();
        }
        match &mut self.place {
            Place::Own(Own::Split(Parts(split))) if split.head().len() <= first => {
                let rest = split.tail();
                *self = Self::copy_from_slice(split.head());
                rest
            }
            Place::Own(Own::Split(Parts(split))) => {
                let mut whole = split.whole().clone();
                let rest = whole.split_off(first);
                *self = whole.into();
                rest
            }
            Place::There(bytes) => bytes.split_off(first),
            Place::Own(Own::Here(length)) => {
                let rest = self.here.get(first..*length);
                let rest = Bytes::copy_from_slice(rest.unwrap_or_default());
                *length = first;
                rest
            }
        }
    }

    /// The buffer, where the bytes are in one that can be shared.
    pub(crate) fn shared(&self) -> Option<&Bytes> {
        match &self.place {
            Place::There(bytes) => Some(bytes),
            Place::Own(_) => None,
        }
    }

    /// The same, for who needs nothing else of the payload; otherwise the payload itself.
    #[inline]
    pub(crate) fn into_shared(self) -> Result<Bytes, Self> {
        match self.place {
            Place::There(bytes) => Ok(bytes),
            place @ Place::Own(_) => Err(Self {
                here: self.here,
                place,
            }),
        }
    }

    /// The bytes in a buffer that can be shared; those held in place are copied into one.
    pub fn into_bytes(self) -> Bytes {
        match self.place {
            Place::There(bytes) => bytes,
            Place::Own(Own::Split(Parts(split))) => split.whole().clone(),
            Place::Own(Own::Here(_)) => Bytes::copy_from_slice(&self),
        }
    }
}

/// Keeps a buffer for the next payload. After a failure it may be of any size.
#[inline]
fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() <= SCRATCH_MAX.saturating_mul(2) {
        buffer.clear();
        SCRATCH.set(buffer);
    }
}

/// So few bytes as are held in place, and zeros. They pass through two numbers and not through a loop
/// or a call of `memcpy`, each of which takes longer than all of this.
#[inline]
fn padded(bytes: &[u8]) -> [u8; HERE] {
    let (front, back) = bytes.split_at_checked(16).unwrap_or((bytes, &[]));
    let mut here = [0; HERE];
    let (first, last) = here.split_at_mut(16);
    first.copy_from_slice(&number(front).to_le_bytes());
    last.copy_from_slice(&number(back).to_le_bytes());
    here
}

/// Up to sixteen bytes as a number, the first the lowest.
#[inline]
fn number(bytes: &[u8]) -> u128 {
    if let Some(all) = bytes.first_chunk() {
        return u128::from_le_bytes(*all);
    }
    // The first and the last eight overlap by what is missing of sixteen, which is shifted out.
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let missing = 16_usize.saturating_sub(bytes.len()).saturating_mul(8);
        let last = u64::from_le_bytes(*last)
            .checked_shr(u32::try_from(missing).unwrap_or(u32::MAX))
            .unwrap_or(0);
        return u128::from(u64::from_le_bytes(*first)) | u128::from(last) << 64;
    }
    let shifted = |number, byte: &u8| number << 8 | u128::from(*byte);
    bytes.iter().rev().fold(0, shifted)
}

impl Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.place {
            Place::Own(Own::Here(length)) => self.here.get(..*length).unwrap_or_default(),
            Place::There(bytes) => bytes,
            Place::Own(Own::Split(Parts(split))) => split.whole(),
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self {
            here: [0; HERE],
            place: Place::Own(Own::Here(0)),
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self {
            here: [0; HERE],
            place: Place::There(bytes),
        }
    }
}

impl From<Payload> for Bytes {
    fn from(payload: Payload) -> Self {
        payload.into_bytes()
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&'static [u8]> for Payload {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    fn written(bytes: &[u8]) -> Payload {
        Payload::written(&mut |buffer| {
            buffer.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn a_payload_is_its_bytes_wherever_they_are() {
        let small = 0..=HERE + 1;
        for length in small.chain([SCRATCH_MAX, SCRATCH_MAX + 1, 100_000]) {
            let bytes: Vec<u8> = (1..=length).map(|at| at as u8).collect();
            for payload in [
                Payload::copy_from_slice(&bytes),
                Payload::from(bytes.clone()),
                written(&bytes),
            ] {
                assert_eq!(&payload[..], bytes, "{length} bytes");
                assert_eq!(payload.into_bytes(), bytes);
            }
        }
    }

    #[test]
    fn what_is_split_off_is_the_rest() {
        for length in [10, 1000] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut payload = written(&bytes);
            assert_eq!(payload.split_off(7), bytes[7..]);
            assert_eq!(&payload[..], &bytes[..7]);
            assert!(payload.split_off(7).is_empty());
        }
    }

    #[test]
    fn a_failed_write_leaves_nothing_for_the_next() {
        let failed = Payload::written(&mut |buffer| {
            buffer.extend_from_slice(b"half");
            Err(Error::new(Code::Codec, "no"))
        });
        assert_eq!(failed.unwrap_err().code(), Code::Codec);
        assert_eq!(&written(b"whole")[..], b"whole");
    }

    #[test]
    fn it_is_one_line_of_the_cache() {
        assert_eq!(size_of::<Payload>(), 64);
    }
}
