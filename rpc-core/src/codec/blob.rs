//! Byte strings that move as one block.

use std::any::Any;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::split::large;

/// A value that moves as one block where it is a `Vec<u8>`, and as itself otherwise.
///
/// serde takes a `Vec<u8>` for a list and moves it byte by byte. The wrapper changes the speed and
/// nothing else: the bytes on the wire are those of `T`, so one side may wrap and the other not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Blob<T>(pub T);

impl<T: Serialize + 'static> Serialize for Blob<T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        BlobRef(&self.0).serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de> + 'static> Deserialize<'de> for Blob<T> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut value = None::<T>;
        // The types are known when this is compiled, so one of the two ways is all that is left.
        match (&mut value as &mut dyn Any).downcast_mut::<Option<Vec<u8>>>() {
            Some(bytes) => *bytes = Some(deserializer.deserialize_byte_buf(Block)?),
            None => value = Some(T::deserialize(deserializer)?),
        }
        value
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("no value"))
    }
}

/// A borrowed value that is sent as one block where it is a `Vec<u8>` or a `[u8]`, and as itself
/// otherwise. See [`Blob`].
#[derive(Debug)]
pub struct BlobRef<'a, T: ?Sized>(pub &'a T);

impl<T: ?Sized> Clone for BlobRef<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for BlobRef<'_, T> {}

impl<T: Serialize + 'static> Serialize for BlobRef<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.0 as &dyn Any).downcast_ref::<Vec<u8>>() {
            Some(bytes) => serializer.serialize_bytes(bytes),
            None => self.0.serialize(serializer),
        }
    }
}

impl<T: Serialize + 'static> Serialize for BlobRef<'_, [T]> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match as_bytes(self.0) {
            Some(bytes) => serializer.serialize_bytes(bytes),
            None => self.0.serialize(serializer),
        }
    }
}

/// The same slice, if its elements are bytes.
///
/// A slice cannot be asked for its type, because it borrows; a function that takes one can. The
/// function that hands a slice of bytes back is one from `[T]` to `[u8]` if these are the same.
#[inline]
fn as_bytes<T: 'static>(slice: &[T]) -> Option<&[u8]> {
    type See<T> = for<'a> fn(&'a [T]) -> &'a [u8];
    let see: See<u8> = |bytes| bytes;
    let see = (&see as &dyn Any).downcast_ref::<See<T>>()?;
    Some(see(slice))
}

/// A value, or only its length where it is bytes that travel apart from it, behind all else.
pub(crate) enum Part<T> {
    Whole(T),
    Length(usize),
}

impl<T: Serialize + 'static> Part<T> {
    /// Takes large bytes out of `value`.
    #[inline]
    pub(crate) fn of(value: T) -> (Self, Option<Bytes>) {
        let mut value = Some(value);
        let bytes = large(&mut value);
        let length = bytes.as_ref().map_or(0, Bytes::len);
        (value.map_or(Self::Length(length), Self::Whole), bytes)
    }
}

impl<T: Serialize + 'static> Serialize for Part<T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Whole(value) => BlobRef(value).serialize(serializer),
            // A list without its elements is its length.
            Self::Length(length) => serializer.serialize_seq(Some(*length))?.end(),
        }
    }
}

/// A byte string where it lies in the message, which pays for the memory of one that is moved out.
pub(super) struct Run<'de>(pub(super) &'de [u8]);

impl<'de> Deserialize<'de> for Run<'de> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(InPlace).map(Self)
    }
}

struct InPlace;

impl<'de> Visitor<'de> for InPlace {
    type Value = &'de [u8];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<&'de [u8], E> {
        Ok(bytes)
    }
}

struct Block;

impl<'de> Visitor<'de> for Block {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_are_seen_as_bytes() {
        #[derive(Debug)]
        struct Byte(#[allow(dead_code)] u8);

        let bytes = [1_u8, 2, 3];
        let seen = as_bytes(&bytes).unwrap();
        assert_eq!((seen, seen.as_ptr()), (&bytes[..], bytes.as_ptr()));
        assert_eq!(as_bytes(&[1_i8, 2]), None);
        assert_eq!(as_bytes(&[true]), None);
        assert_eq!(as_bytes(&[Byte(1)]), None);
    }
}
