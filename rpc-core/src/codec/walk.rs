//! Builds values out of a format's scalars, within the budget.
//!
//! This is the one serde deserializer of all positional formats, and the place where the budget is
//! spent. Every rule about hostile messages is here:
//!
//! - *Depth*: whatever holds other values costs one level, before it is entered.
//! - *Elements*: a list or map pays for all its elements when its length is read.
//! - *Memory*: a list or map pays for room as the standard collections take it, the first time at
//!   once and then by doubling; strings and byte strings pay when their length is read. A value
//!   larger than the place it is for must be on the heap, as in a `Box`, and pays too.
//! - *Lengths* are never believed: strings are cut from the bytes that are there, and the size
//!   hint that lists preallocate by is bounded by bytes left and memory left.

use std::mem::size_of;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};

use super::access::{Enum, List, Map, Tuple};
use super::budget::Budget;
use super::fault::Fault;
use super::meter::{Filling, Meter, Purse, Room};
use super::source::Source;

/// Decodes a value that takes up all of the `total` bytes of `source`.
#[inline]
pub(super) fn decode<'de, S: Source<'de>, T: Deserialize<'de>>(
    source: S,
    total: usize,
    budget: &Budget,
) -> Result<T, Fault> {
    let mut meter = Meter {
        source,
        purse: Purse::new(budget),
    };
    let walk = Walk {
        meter: &mut meter,
        depth: budget.depth,
        slot: size_of::<T>(),
    };
    // One way out for the value: each further one is a copy of it.
    let fault = match T::deserialize(walk) {
        Ok(value) if meter.source.left() == 0 && meter.source.tail().is_none() => {
            return Ok(value);
        }
        Ok(_) => left_over(meter.source.left()),
        Err(fault) => fault,
    };
    Err(fault.at(total.saturating_sub(meter.source.left())))
}

#[cold]
fn left_over(bytes: usize) -> Fault {
    Fault::new(format!("{bytes} bytes follow after the value"))
}

/// The position of one value in the message.
pub(super) struct Walk<'a, 'b, S> {
    pub(super) meter: &'a mut Meter<'b, S>,
    /// Levels that may still be entered.
    pub(super) depth: usize,
    /// The memory that is already paid for this value: its place in whatever holds it.
    pub(super) slot: usize,
}

impl<'de, S: Source<'de>> Walk<'_, '_, S> {
    /// Enters a value of type `T` that holds others.
    #[inline]
    fn enter<T>(mut self) -> Result<Self, Fault> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(self.meter.purse.too_deep());
        };
        self.depth = depth;
        if size_of::<T>() > self.slot {
            self.meter.purse.hold(size_of::<T>())?;
            self.slot = size_of::<T>();
        }
        Ok(self)
    }

    /// Visits `length` values that lie in their parent and not on the heap.
    #[inline]
    pub(super) fn tuple<V: Visitor<'de>>(
        self,
        length: usize,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_seq(Tuple {
            meter: self.meter,
            depth: self.depth,
            length,
            index: 0,
            fields,
        })
    }
}

macro_rules! scalars {
    ($($deserialize:ident $visit:ident $scalar:ident,)+) => {
        $(
            #[inline]
            fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
                visitor.$visit(self.meter.source.$scalar()?)
            }
        )+
    };
}

impl<'de, S: Source<'de>> Deserializer<'de> for Walk<'_, '_, S> {
    type Error = Fault;

    scalars! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
        deserialize_char visit_char char,
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_str(self.meter.text()?)
    }

    #[inline]
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let text = self.meter.text()?;
        self.meter.purse.hold(text.len())?;
        visitor.visit_borrowed_str(text)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_bytes(self.meter.run()?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let declared = self.meter.source.length()?;
        if let Some(split) = self.meter.tail(declared) {
            self.meter.purse.hold(split.tail_len())?;
            return visitor.visit_byte_buf(split.take());
        }
        let bytes = self.meter.run_of(declared)?;
        self.meter.purse.hold(bytes.len())?;
        visitor.visit_borrowed_bytes(bytes)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.meter.source.some()? {
            visitor.visit_some(self.enter::<V::Value>()?)
        } else {
            visitor.visit_none()
        }
    }

    #[inline]
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self.enter::<V::Value>()?)
    }

    #[inline]
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let walk = self.enter::<V::Value>()?;
        let length = walk.meter.elements()?;
        let room = walk.meter.room(length);
        let room = Room::new(room, Filling::Full);
        visitor.visit_seq(List::new(walk.meter, walk.depth, length, room))
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.enter::<V::Value>()?.tuple(length, None, visitor)
    }

    #[inline]
    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.enter::<V::Value>()?.tuple(length, None, visitor)
    }

    #[inline]
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let walk = self.enter::<V::Value>()?;
        let length = walk.meter.elements()?;
        let room = walk.meter.room(length);
        visitor.visit_map(Map {
            meter: walk.meter,
            depth: walk.depth,
            length,
            index: 0,
            keys: Room::new(room, Filling::Hashed),
            values: Room::new(room, Filling::Hashed),
        })
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.enter::<V::Value>()?
            .tuple(fields.len(), Some(fields), visitor)
    }

    #[inline]
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_enum(Enum {
            walk: self.enter::<V::Value>()?,
            variants,
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Fault> {
        Err(Fault::new(
            "the type asks the message to describe itself, and it does not: attributes such as \
             `untagged`, `tag` and `flatten` need a format like JSON",
        ))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}
