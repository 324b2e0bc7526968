//! How a positional format is written: scalars and lengths, one after the other.

use super::output::{Output, Overflow};

macro_rules! sink {
    ($($scalar:ident)+) => {
        /// The writing end of a format whose values carry no description of themselves.
        ///
        /// The format knows how scalars look; [`super::pack`] knows what values consist of. It is
        /// the counterpart of [`Source`](super::source::Source).
        pub(super) trait Sink {
            $(
                /// Appends the value.
                fn $scalar(value: $scalar, output: &mut Output<'_>) -> Result<(), Overflow>;
            )+

            /// Appends the number of elements or bytes that follow.
            fn length(length: usize, output: &mut Output<'_>) -> Result<(), Overflow>;

            /// Appends the number of an enum's variant.
            fn variant(number: u32, output: &mut Output<'_>) -> Result<(), Overflow>;

            /// Appends whether an option's value follows.
            fn some(some: bool, output: &mut Output<'_>) -> Result<(), Overflow>;
        }
    };
}

sink! { bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char }
