//! What a positional format consists of: scalars, lengths and runs of bytes, one after the other.

use super::fault::Fault;
use crate::split::Split;

macro_rules! source {
    ($($scalar:ident)+) => {
        /// The reading end of a format whose values carry no description of themselves.
        ///
        /// The format knows how scalars look and nothing about budgets; [`super::walk`] knows how
        /// values are built from scalars and nothing about the format.
        pub(super) trait Source<'de> {
            $(
                /// The next value, which must be of this type.
                fn $scalar(&mut self) -> Result<$scalar, Fault>;
            )+

            /// The number of elements or bytes that follow.
            fn length(&mut self) -> Result<u64, Fault>;

            /// The number of an enum's variant.
            fn variant(&mut self) -> Result<u32, Fault>;

            /// Whether an option's value follows.
            fn some(&mut self) -> Result<bool, Fault>;

            /// The next `length` bytes as they are; the caller knows that there are so many.
            fn take(&mut self, length: usize) -> Result<&'de [u8], Fault>;

            /// How many bytes are still unread.
            fn left(&mut self) -> usize;

            /// The large byte string behind the unread bytes, where there is one and it was not
            /// read: the message is in two parts.
            fn tail(&mut self) -> &mut Option<&'de Split>;
        }
    };
}

source! { bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char }
