//! The bincode 2 format. The only file that names the crate.
//!
//! The crate's own serde decoder is not used: it allocates from declared lengths and has no bound
//! on depth or elements. Its readers of scalars are sound, and they are what this file takes.

use bincode::config::{Configuration, Fixint, LittleEndian};
use bincode::de::read::{BorrowReader, Reader};
use bincode::de::{BorrowDecoder, Decode, Decoder, DecoderImpl};
use bincode::enc::write::Writer;
use bincode::enc::{Encode, EncoderImpl};
use bincode::error::{DecodeError, EncodeError};
use serde::{Deserialize, Serialize};

use super::budget::Budget;
use super::fault::Fault;
use super::output::{Output, Overflow};
use super::pack::Pack;
use super::sink::Sink;
use super::source::Source;
use super::{Codec, CodecId, walk};
use crate::split::Split;

/// How integers and lengths look on the wire: little-endian, as wide as their type, lengths as
/// `u64` and variants as `u32`. Frozen: another layout is another codec with a number of its own.
const LAYOUT: Configuration<LittleEndian, Fixint> = bincode::config::legacy();

/// bincode 2.
pub(super) struct Bincode;

impl Codec for Bincode {
    const ID: CodecId = CodecId::BINCODE;

    #[inline]
    fn encode<T: Serialize + ?Sized>(value: &T, output: Output<'_>) -> Result<(), Fault> {
        value.serialize(Pack::<Self>::new(output))
    }

    #[inline]
    fn decode<'de, T: Deserialize<'de>>(
        bytes: &'de [u8],
        tail: Option<&'de Split>,
        budget: &Budget,
    ) -> Result<T, Fault> {
        let decoder = DecoderImpl::new(Input { unread: bytes }, LAYOUT, ());
        walk::decode(Bytes { decoder, tail }, bytes.len(), budget)
    }
}

/// Adapts an output to bincode's idea of one.
struct Room<'a>(Output<'a>);

impl Writer for Room<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        match self.0.write(bytes) {
            Ok(()) => Ok(()),
            Err(_) => Err(EncodeError::UnexpectedEnd),
        }
    }
}

#[inline]
fn write<T: Encode>(value: T, output: &mut Output<'_>) -> Result<(), Overflow> {
    let mut encoder = EncoderImpl::new(Room(output.lend()), LAYOUT);
    value.encode(&mut encoder).map_err(full)
}

/// Only scalars are written, so the one error is that there is no room. Not inline, because the
/// error has much to drop.
#[cold]
fn full(_: EncodeError) -> Overflow {
    Overflow
}

macro_rules! write_scalars {
    ($($scalar:ident)+) => {
        $(
            #[inline]
            fn $scalar(value: $scalar, output: &mut Output<'_>) -> Result<(), Overflow> {
                write(value, output)
            }
        )+
    };
}

impl Sink for Bincode {
    write_scalars! { bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char }

    #[inline]
    fn length(length: usize, output: &mut Output<'_>) -> Result<(), Overflow> {
        write(length, output)
    }

    #[inline]
    fn variant(number: u32, output: &mut Output<'_>) -> Result<(), Overflow> {
        write(number, output)
    }

    #[inline]
    fn some(some: bool, output: &mut Output<'_>) -> Result<(), Overflow> {
        write(u8::from(some), output)
    }
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

struct Bytes<'de> {
    decoder: DecoderImpl<Input<'de>, Configuration<LittleEndian, Fixint>, ()>,
    tail: Option<&'de Split>,
}

impl Bytes<'_> {
    #[inline]
    fn read<T: Decode<()>>(&mut self) -> Result<T, Fault> {
        match T::decode(&mut self.decoder) {
            Ok(value) => Ok(value),
            Err(error) => Err(fault(error)),
        }
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
            other => Err(no_option(other)),
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

    #[inline]
    fn tail(&mut self) -> &mut Option<&'de Split> {
        &mut self.tail
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
        // Scalars of a fixed width are read, and nothing else: what bincode says of the rest is not
        // worth its code.
        _ => Fault::new("these bytes are not what bincode writes"),
    }
}

#[cold]
fn no_option(byte: u8) -> Fault {
    Fault::new(format!("{byte} stands for neither `None` nor `Some`"))
}
