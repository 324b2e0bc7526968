//! Takes values apart into a format's scalars.
//!
//! This is the one serde serializer of all positional formats, as [`walk`](super::walk) is the one
//! deserializer. Names of types, fields and variants do not travel.

use std::marker::PhantomData;

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::fault::Fault;
use super::output::{Output, Overflow};
use super::sink::Sink;

/// The place of one value in the message; of a value that holds others, also of these.
pub(super) struct Pack<'a, S> {
    output: Output<'a>,
    format: PhantomData<S>,
}

impl<'a, S: Sink> Pack<'a, S> {
    #[inline]
    pub(super) fn new(output: Output<'a>) -> Self {
        Self {
            output,
            format: PhantomData,
        }
    }

    #[inline]
    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(Pack::<S>::new(self.output.lend()))
    }

    #[inline]
    fn run(mut self, bytes: &[u8]) -> Result<(), Fault> {
        S::length(bytes.len(), &mut self.output)?;
        self.output.write(bytes)?;
        Ok(())
    }

    /// Starts a list or a map.
    #[inline]
    fn elements(mut self, length: Option<usize>) -> Result<Self, Fault> {
        let Some(length) = length else {
            return Err(Fault::new("a list or map does not know its length")
                .with_hint("`#[serde(flatten)]` and the like need a format like JSON"));
        };
        S::length(length, &mut self.output)?;
        Ok(self)
    }

    #[inline]
    fn variant(mut self, number: u32) -> Result<Self, Fault> {
        S::variant(number, &mut self.output)?;
        Ok(self)
    }
}

impl From<Overflow> for Fault {
    /// What was written is cut away together with this, and the limit reported.
    #[cold]
    fn from(_: Overflow) -> Self {
        Self::new("the output is full")
    }
}

macro_rules! scalars {
    ($($serialize:ident $scalar:ident,)+) => {
        $(
            #[inline]
            fn $serialize(mut self, value: $scalar) -> Result<(), Fault> {
                Ok(S::$scalar(value, &mut self.output)?)
            }
        )+
    };
}

impl<S: Sink> Serializer for Pack<'_, S> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    scalars! {
        serialize_bool bool,
        serialize_i8 i8,
        serialize_i16 i16,
        serialize_i32 i32,
        serialize_i64 i64,
        serialize_i128 i128,
        serialize_u8 u8,
        serialize_u16 u16,
        serialize_u32 u32,
        serialize_u64 u64,
        serialize_u128 u128,
        serialize_f32 f32,
        serialize_f64 f64,
        serialize_char char,
    }

    #[inline]
    fn serialize_str(self, text: &str) -> Result<(), Fault> {
        self.run(text.as_bytes())
    }

    #[inline]
    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Fault> {
        self.run(bytes)
    }

    #[inline]
    fn serialize_none(mut self) -> Result<(), Fault> {
        Ok(S::some(false, &mut self.output)?)
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(mut self, value: &T) -> Result<(), Fault> {
        S::some(true, &mut self.output)?;
        value.serialize(self)
    }

    #[inline]
    fn serialize_unit(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn serialize_unit_variant(
        mut self,
        _name: &'static str,
        number: u32,
        _variant: &'static str,
    ) -> Result<(), Fault> {
        Ok(S::variant(number, &mut self.output)?)
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        value.serialize(self)
    }

    #[inline]
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        number: u32,
        _variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        value.serialize(self.variant(number)?)
    }

    #[inline]
    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Fault> {
        self.elements(length)
    }

    #[inline]
    fn serialize_tuple(self, _length: usize) -> Result<Self, Fault> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Self, Fault> {
        Ok(self)
    }

    #[inline]
    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        number: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self, Fault> {
        self.variant(number)
    }

    #[inline]
    fn serialize_map(self, length: Option<usize>) -> Result<Self, Fault> {
        self.elements(length)
    }

    #[inline]
    fn serialize_struct(self, _name: &'static str, _length: usize) -> Result<Self, Fault> {
        Ok(self)
    }

    #[inline]
    fn serialize_struct_variant(
        self,
        _name: &'static str,
        number: u32,
        _variant: &'static str,
        _length: usize,
    ) -> Result<Self, Fault> {
        self.variant(number)
    }

    #[inline]
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// A field that its type leaves out, for which the other side would take what comes after it. Of one
/// without a name serde does not tell.
#[cold]
fn left_out(name: &str) -> Fault {
    Fault::new(format!(
        "the field `{name}` is left out, and fields are told by their place"
    ))
    .with_hint("take `skip_serializing_if` off it")
}

macro_rules! parts {
    ($($part:ident $add:ident $(($name:ident))? $($skip:ident)?,)+) => {
        $(
            impl<S: Sink> $part for Pack<'_, S> {
                type Ok = ();
                type Error = Fault;

                #[inline]
                fn $add<T: Serialize + ?Sized>(
                    &mut self,
                    $($name: &'static str,)?
                    value: &T,
                ) -> Result<(), Fault> {
                    self.inner(value)
                }

                $(
                    fn $skip(&mut self, name: &'static str) -> Result<(), Fault> {
                        Err(left_out(name))
                    }
                )?

                #[inline]
                fn end(self) -> Result<(), Fault> {
                    Ok(())
                }
            }
        )+
    };
}

parts! {
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field,
    SerializeStruct serialize_field (_name) skip_field,
    SerializeStructVariant serialize_field (_name) skip_field,
}

impl<S: Sink> SerializeMap for Pack<'_, S> {
    type Ok = ();
    type Error = Fault;

    #[inline]
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.inner(key)
    }

    #[inline]
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.inner(value)
    }

    #[inline]
    fn end(self) -> Result<(), Fault> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
