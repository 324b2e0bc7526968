//! The writing end of a positional format: scalars, lengths and runs of bytes, one after the other.

use super::fault::Fault;

macro_rules! sink {
    ($($scalar:ident)+) => {
        /// The writing end of a format whose values carry no description of themselves.
        ///
        /// The format knows how scalars look; [`super::pack`] knows what values consist of. It is
        /// the counterpart of [`Source`](super::source::Source).
        pub(super) trait Sink {
            $(
                /// Appends the value.
                fn $scalar(&mut self, value: $scalar) -> Result<(), Fault>;
            )+

            /// Appends the number of elements or bytes that follow.
            fn length(&mut self, length: usize) -> Result<(), Fault>;

            /// Appends the number of an enum's variant.
            fn variant(&mut self, number: u32) -> Result<(), Fault>;

            /// Appends whether an option's value follows.
            fn some(&mut self, some: bool) -> Result<(), Fault>;

            /// Appends the bytes as they are.
            fn put(&mut self, bytes: &[u8]) -> Result<(), Fault>;
        }
    };
}

sink! { bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char }
