//! The postcard 1 format. The only file that names the crate.
//!
//! As with bincode, only the readers of scalars are taken; building values out of them is ours.

use postcard::ser_flavors::Flavor;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::fault::Fault;
use super::output::Output;
use super::source::Source;
use super::{Codec, CodecId, walk};
use crate::split::Split;

/// postcard 1.
pub(super) struct Postcard;

impl Codec for Postcard {
    const ID: CodecId = CodecId::POSTCARD;

    fn encode<T: Serialize + ?Sized>(value: &T, output: Output<'_>) -> Result<(), Fault> {
        postcard::serialize_with_flavor(value, Sink(output)).map_err(fault)
    }

    fn decode<'de, T: Deserialize<'de>>(
        bytes: &'de [u8],
        tail: Option<&'de Split>,
        budget: &Budget,
    ) -> Result<T, Fault> {
        let unread = bytes;
        walk::decode(Bytes { unread, tail }, bytes.len(), budget)
    }
}

/// Adapts an output to postcard's idea of one.
struct Sink<'a>(Output<'a>);

impl Flavor for Sink<'_> {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0
            .write(bytes)
            .map_err(|_| postcard::Error::SerializeBufferFull)
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

struct Bytes<'de> {
    unread: &'de [u8],
    tail: Option<&'de Split>,
}

impl Bytes<'_> {
    #[inline]
    fn read<T: DeserializeOwned>(&mut self) -> Result<T, Fault> {
        let (value, unread) = postcard::take_from_bytes(self.unread).map_err(fault)?;
        self.unread = unread;
        Ok(value)
    }
}

macro_rules! scalars {
    ($($scalar:ident)+) => {
        $(
            #[inline]
            fn $scalar(&mut self) -> Result<$scalar, Fault> {
                self.read()
            }
        )+
    };
}

impl<'de> Source<'de> for Bytes<'de> {
    scalars! { bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char }

    #[inline]
    fn length(&mut self) -> Result<u64, Fault> {
        self.read()
    }

    #[inline]
    fn variant(&mut self) -> Result<u32, Fault> {
        self.read()
    }

    #[inline]
    fn some(&mut self) -> Result<bool, Fault> {
        match self.read::<u8>()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Fault::new(format!(
                "{other} stands for neither `None` nor `Some`"
            ))),
        }
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'de [u8], Fault> {
        let Some((taken, unread)) = self.unread.split_at_checked(length) else {
            return Err(Fault::short(length.saturating_sub(self.unread.len())));
        };
        self.unread = unread;
        Ok(taken)
    }

    #[inline]
    fn left(&mut self) -> usize {
        self.unread.len()
    }

    #[inline]
    fn tail(&mut self) -> &mut Option<&'de Split> {
        &mut self.tail
    }
}

#[cold]
fn fault(error: postcard::Error) -> Fault {
    match error {
        postcard::Error::DeserializeUnexpectedEnd => Fault::new("the message ends too early"),
        postcard::Error::DeserializeBadVarint => Fault::new("an integer does not end in time"),
        postcard::Error::DeserializeBadBool => {
            Fault::new("the byte stands for neither `false` nor `true`")
        }
        postcard::Error::DeserializeBadChar => Fault::new("these bytes are not a character"),
        other => Fault::new(super::fault::clip(&other)),
    }
}
