//! Values to payloads and back.
//!
//! A codec turns any serde value into bytes and bytes into a value. Which codec a connection uses
//! is a [`CodecId`], agreed in the handshake; the first is bincode. Whatever the codec, decoding
//! runs inside a [`Budget`], because the bytes come from a peer: the format's own decoder would
//! follow them into any amount of memory, time or stack.
//!
//! Nothing here knows of calls, connections or frames.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod access;
mod bincode;
mod blob;
mod budget;
mod fault;
mod meter;
mod output;
mod pack;
#[cfg(feature = "postcard")]
mod postcard;
mod sink;
mod source;
mod walk;

use std::any::Any;
use std::fmt;
use std::mem;

use bytes::{Buf as _, Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use self::bincode::Bincode;
#[cfg(feature = "postcard")]
use self::postcard::Postcard;
use crate::error::{Code, Error};
use crate::split::Split;

pub(crate) use self::blob::Part;
use self::blob::Run;
pub use self::blob::{Blob, BlobRef};
pub use self::budget::Budget;
use self::fault::Fault;
use self::output::{Limit, Output};

/// Names a codec on the wire.
///
/// Only codecs that this build contains have a value of this type; numbers of others are turned
/// away by [`from_wire`](Self::from_wire).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodecId(Known);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Known {
    Bincode,
    #[cfg(feature = "postcard")]
    Postcard,
}

impl CodecId {
    /// bincode 2 with integers as wide as their type. Every peer speaks it.
    pub const BINCODE: Self = Self(Known::Bincode);

    /// postcard 1.
    #[cfg(feature = "postcard")]
    pub const POSTCARD: Self = Self(Known::Postcard);

    /// Every codec of this build, the preferred first.
    pub const ALL: &'static [Self] = &[
        Self::BINCODE,
        #[cfg(feature = "postcard")]
        Self::POSTCARD,
    ];

    /// The number that stands for this codec in the handshake. It never changes.
    pub const fn to_wire(self) -> u8 {
        match self.0 {
            Known::Bincode => 1,
            #[cfg(feature = "postcard")]
            Known::Postcard => 2,
        }
    }

    /// The codec with this number, if this build contains it.
    pub const fn from_wire(wire: u8) -> Option<Self> {
        match wire {
            1 => Some(Self::BINCODE),
            #[cfg(feature = "postcard")]
            2 => Some(Self::POSTCARD),
            _ => None,
        }
    }

    /// Encodes `value` into at most `limit` bytes.
    ///
    /// The depth of the recursion is the value's own: a type that nests without end overflows the
    /// stack here, as it would in its own `Drop`. Decoded values cannot be of that kind.
    #[inline]
    pub fn encode<T: Serialize + ?Sized>(self, value: &T, limit: usize) -> Result<Bytes, Error> {
        let mut buffer = Vec::with_capacity(limit.min(FIRST_BUFFER));
        self.encode_into(value, &mut buffer, limit)?;
        Ok(buffer.into())
    }

    /// Appends the encoding of `value` to `buffer`: at most `limit` bytes, or none on an error, or
    /// where the value panics.
    #[inline]
    pub fn encode_into<T: Serialize + ?Sized>(
        self,
        value: &T,
        buffer: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), Error> {
        match self.0 {
            Known::Bincode => encode_with::<Bincode, T>(value, buffer, limit),
            #[cfg(feature = "postcard")]
            Known::Postcard => encode_with::<Postcard, T>(value, buffer, limit),
        }
    }

    /// Decodes a value from the whole of `bytes`, within `budget`.
    #[inline]
    pub fn decode<'de, T: Deserialize<'de>>(
        self,
        bytes: &'de [u8],
        budget: &Budget,
    ) -> Result<T, Error> {
        match self.walk(bytes, None, budget) {
            Ok(value) => Ok(value),
            Err(fault) => Err(fault.into_error()),
        }
    }

    /// Decodes a value out of a buffer of its own. A `Vec<u8>` takes the buffer over, and so does a
    /// large `Bytes`. A small one is copied, because the buffer that it would hold may be that of
    /// many messages. All else keeps nothing of it.
    pub(crate) fn decode_shared<T: DeserializeOwned + 'static>(
        self,
        mut bytes: Bytes,
        budget: &Budget,
    ) -> Result<T, Error> {
        let mut value = None::<T>;
        let any = &mut value as &mut dyn Any;
        if let Some(list) = any.downcast_mut::<Option<Vec<u8>>>() {
            // The string is the end of the message.
            let Run(run) = self.decode(&bytes, budget)?;
            let length = run.len();
            bytes.advance(bytes.len().saturating_sub(length));
            *list = Some(mem::take(&mut bytes).into());
        } else if let Some(value) = any.downcast_mut::<Option<Bytes>>() {
            if bytes.len() >= SHARED_MIN {
                *value = Some(bytes.slice_ref(self.decode(&bytes, budget)?));
            }
        }
        match value {
            Some(value) => Ok(value),
            None => self.decode_owned(&bytes, None, budget),
        }
    }

    /// Decodes a value that keeps nothing of `bytes`.
    pub(crate) fn decode_owned<T: DeserializeOwned + 'static>(
        self,
        bytes: &[u8],
        tail: Option<&Split>,
        budget: &Budget,
    ) -> Result<T, Error> {
        match self.walk(bytes, tail, budget) {
            Ok(Blob(value)) => Ok(value),
            Err(fault) => Err(fault.into_error()),
        }
    }

    /// Decodes a tuple of arguments: as [`decode`](Self::decode), and errors count arguments.
    #[inline]
    pub(crate) fn decode_arguments<'de, T: Deserialize<'de>>(
        self,
        bytes: &'de [u8],
        tail: Option<&'de Split>,
        budget: &Budget,
    ) -> Result<T, Error> {
        match self.walk(bytes, tail, budget) {
            Ok(value) => Ok(value),
            Err(fault) => Err(fault.in_arguments().into_error()),
        }
    }

    #[inline]
    fn walk<'de, T: Deserialize<'de>>(
        self,
        mut bytes: &'de [u8],
        mut tail: Option<&'de Split>,
        budget: &Budget,
    ) -> Result<T, Fault> {
        loop {
            let decoded = match self.0 {
                Known::Bincode => Bincode::decode(bytes, tail, budget),
                #[cfg(feature = "postcard")]
                Known::Postcard => Postcard::decode(bytes, tail, budget),
            };
            match tail.take() {
                // The message was cut in another place than this type expects, or it is faulty.
                Some(split) if decoded.is_err() && !split.is_spent() => bytes = split.whole(),
                _ => return decoded,
            }
        }
    }
}

impl fmt::Display for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Known::Bincode => "bincode",
            #[cfg(feature = "postcard")]
            Known::Postcard => "postcard",
        })
    }
}

impl fmt::Debug for CodecId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Room for a small call at once; a larger value makes the buffer grow.
const FIRST_BUFFER: usize = 128;

/// From this length on a message has come in parts and was put together in a buffer of its own.
const SHARED_MIN: usize = 64 * 1024;

/// One format. A codec is a type without values: it has no state between messages.
///
/// To add a format: implement this in a file of its own, give it a number in [`CodecId`] that was
/// never used, and add its frozen encodings to the golden vectors.
trait Codec {
    /// The name of the format on the wire.
    const ID: CodecId;

    /// Appends the encoding of `value`. The error says what the value or the format objected to;
    /// it does not matter when the output overflowed, which the output remembers itself.
    fn encode<T: Serialize + ?Sized>(value: &T, output: Output<'_>) -> Result<(), Fault>;

    /// Decodes a value that takes up all of `bytes`. Formats that lay values out one after the
    /// other implement [`source::Source`] and call [`walk::decode`], which enforces the budget.
    /// `tail` belongs behind them, where the message is in two parts.
    fn decode<'de, T: Deserialize<'de>>(
        bytes: &'de [u8],
        tail: Option<&'de Split>,
        budget: &Budget,
    ) -> Result<T, Fault>;
}

#[inline]
fn encode_with<C: Codec, T: Serialize + ?Sized>(
    value: &T,
    buffer: &mut Vec<u8>,
    most: usize,
) -> Result<(), Error> {
    let limit = Limit::new(buffer, most);
    let mut whole = Whole {
        kept: buffer.len(),
        buffer,
    };
    let result = C::encode(value, Output::new(whole.buffer, &limit));
    let fitted = limit.kept(whole.buffer);
    if result.is_ok() && fitted {
        whole.kept = usize::MAX;
        return Ok(());
    }
    Err(if fitted {
        unencodable(C::ID, result)
    } else {
        too_large(most)
    })
}

/// Cuts the buffer back to what is kept of it: nothing of a value that was refused, or that
/// panicked half-way.
struct Whole<'a> {
    buffer: &'a mut Vec<u8>,
    kept: usize,
}

impl Drop for Whole<'_> {
    #[inline]
    fn drop(&mut self) {
        self.buffer.truncate(self.kept);
    }
}

#[cold]
fn too_large(limit: usize) -> Error {
    Error::new(
        Code::TooLarge,
        format!("the encoded value exceeds the limit of {limit} bytes"),
    )
    .with_hint("send less in one message, or raise the limit on both sides")
}

#[cold]
fn unencodable(codec: CodecId, result: Result<(), Fault>) -> Error {
    let fault = result.err();
    let reason = fault.as_ref().map(ToString::to_string).unwrap_or_default();
    let text = format!("{codec} cannot encode the value: {reason}");
    let error = Error::new(Code::Codec, text);
    match fault.and_then(|fault| fault.hint()) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

#[cfg(test)]
mod tests;
