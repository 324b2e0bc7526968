//! The bincode 2 format. The only file that names the crate.
//!
//! The crate's own serde decoder is not used: it allocates from declared lengths and has no bound
//! on depth or elements. Its readers of scalars are sound, and they are what this file takes.

use bincode::config::{Config, Configuration};
use bincode::de::read::{BorrowReader, Reader};
use bincode::de::{BorrowDecoder, Decode, Decoder, DecoderImpl};
use bincode::enc::write::Writer;
use bincode::enc::{Encode, Encoder, EncoderImpl};
use bincode::error::{DecodeError, EncodeError};
use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::fault::Fault;
use super::output::Output;
use super::pack::Pack;
use super::sink::Sink;
use super::source::Source;
use super::{Codec, CodecId, walk};

/// How integers and lengths look on the wire: little-endian, in as few bytes as they need. Frozen:
/// another layout is another codec with a number of its own.
const LAYOUT: Configuration = bincode::config::standard();

/// bincode 2.
pub(super) struct Bincode;

impl Codec for Bincode {
    const ID: CodecId = CodecId::BINCODE;

    #[inline]
    fn encode<T: Serialize + ?Sized>(value: &T, output: &mut Output<'_>) -> Result<(), Fault> {
        let encoder = EncoderImpl::new(Room(output), LAYOUT);
        value.serialize(Pack(&mut Outgoing { encoder }))
    }

    fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8], budget: &Budget) -> Result<T, Fault> {
        let decoder = DecoderImpl::new(Input { unread: bytes }, LAYOUT, ());
        walk::decode(Bytes { decoder }, bytes.len(), budget)
    }
}

/// Adapts an output to bincode's idea of one.
struct Room<'a, 'b>(&'a mut Output<'b>);

impl Writer for Room<'_, '_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.write(bytes).map_err(|_| EncodeError::UnexpectedEnd)
    }
}

struct Outgoing<'a, 'b, C: Config> {
    encoder: EncoderImpl<Room<'a, 'b>, C>,
}

impl<C: Config> Outgoing<'_, '_, C> {
    #[inline]
    fn write<T: Encode>(&mut self, value: T) -> Result<(), Fault> {
        value.encode(&mut self.encoder).map_err(full)
    }
}

macro_rules! put_scalars {
    ($($scalar:ident)+) => {
        $(
            #[inline]
            fn $scalar(&mut self, value: $scalar) -> Result<(), Fault> {
                self.write(value)
            }
        )+
    };
}

impl<C: Config> Sink for Outgoing<'_, '_, C> {
    put_scalars! { bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char }

    #[inline]
    fn length(&mut self, length: usize) -> Result<(), Fault> {
        self.write(length)
    }

    #[inline]
    fn variant(&mut self, number: u32) -> Result<(), Fault> {
        self.write(number)
    }

    #[inline]
    fn some(&mut self, some: bool) -> Result<(), Fault> {
        self.write(u8::from(some))
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.encoder.writer().write(bytes).map_err(full)
    }
}

#[cold]
fn full(_: EncodeError) -> Fault {
    Fault::new("the output is full")
}

/// Adapts a slice to bincode's idea of an input. bincode's own does not tell how much is left.
struct Input<'de> {
    unread: &'de [u8],
}

impl Reader for Input<'_> {
    #[inline]
    fn read(&mut self, bytes: &mut [u8]) -> Result<(), DecodeError> {
        bytes.copy_from_slice(self.take_bytes(bytes.len())?);
        Ok(())
    }

    #[inline]
    fn peek_read(&mut self, length: usize) -> Option<&[u8]> {
        self.unread.get(..length)
    }

    #[inline]
    fn consume(&mut self, length: usize) {
        self.unread = self.unread.get(length..).unwrap_or_default();
    }
}

impl<'de> BorrowReader<'de> for Input<'de> {
    #[inline]
    fn take_bytes(&mut self, length: usize) -> Result<&'de [u8], DecodeError> {
        let Some((taken, unread)) = self.unread.split_at_checked(length) else {
            let additional = length.saturating_sub(self.unread.len());
            return Err(DecodeError::UnexpectedEnd { additional });
        };
        self.unread = unread;
        Ok(taken)
    }
}

struct Bytes<'de, C: Config> {
    decoder: DecoderImpl<Input<'de>, C, ()>,
}

impl<C: Config> Bytes<'_, C> {
    #[inline]
    fn read<T: Decode<()>>(&mut self) -> Result<T, Fault> {
        T::decode(&mut self.decoder).map_err(fault)
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

impl<'de, C: Config> Source<'de> for Bytes<'de, C> {
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
        self.decoder
            .borrow_reader()
            .take_bytes(length)
            .map_err(fault)
    }

    #[inline]
    fn left(&mut self) -> usize {
        self.decoder.reader().unread.len()
    }
}

#[cold]
fn fault(error: DecodeError) -> Fault {
    match error {
        DecodeError::UnexpectedEnd { additional } => Fault::short(additional),
        DecodeError::InvalidBooleanValue(byte) => {
            Fault::new(format!("{byte} stands for neither `false` nor `true`"))
        }
        DecodeError::InvalidCharEncoding(_) => Fault::new("these bytes are not a character"),
        DecodeError::InvalidIntegerType { expected, found } => Fault::new(format!(
            "an integer of type {found:?} where {expected:?} is expected"
        )),
        other => Fault::new(super::fault::clip(&other)),
    }
}
