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
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::budget::Budget;
use super::fault::{Fault, Step};
use super::source::Source;

/// Decodes a value that takes up all of the `total` bytes of `source`.
pub(super) fn decode<'de, S: Source<'de>, T: Deserialize<'de>>(
    source: S,
    total: usize,
    budget: &Budget,
) -> Result<T, Fault> {
    let mut meter = Meter {
        source,
        memory: budget.memory,
        elements: budget.elements,
        budget: *budget,
    };
    let walk = Walk {
        meter: &mut meter,
        depth: budget.depth,
        slot: size_of::<T>(),
    };
    let result = T::deserialize(walk);
    let left = meter.source.left();
    match result {
        Ok(_) if left > 0 => Err(Fault::new(format!("{left} bytes follow after the value"))),
        other => other,
    }
    .map_err(|fault| fault.at(total.saturating_sub(left)))
}

/// The source and what is left of the budget.
struct Meter<S> {
    source: S,
    memory: usize,
    elements: usize,
    /// The whole budget, for messages.
    budget: Budget,
}

const HINT: &str = "if the value is honest, raise the decoding budget";

impl<S> Meter<S> {
    /// Pays for `bytes` of memory.
    #[inline]
    fn hold(&mut self, bytes: usize) -> Result<(), Fault> {
        match self.memory.checked_sub(bytes) {
            Some(left) => {
                self.memory = left;
                Ok(())
            }
            None => Err(self.out_of_memory()),
        }
    }

    #[cold]
    fn out_of_memory(&self) -> Fault {
        Fault::new(format!(
            "the value needs more than {} bytes of memory",
            self.budget.memory
        ))
        .with_hint(HINT)
    }

    #[cold]
    fn too_deep(&self) -> Fault {
        Fault::new(format!(
            "the value nests deeper than {} levels",
            self.budget.depth
        ))
        .with_hint(HINT)
    }
}

impl<'de, S: Source<'de>> Meter<S> {
    /// Reads the number of elements of a list or map, and pays for them.
    #[inline]
    fn elements(&mut self) -> Result<usize, Fault> {
        let declared = self.source.length()?;
        let paid = usize::try_from(declared)
            .ok()
            .and_then(|length| Some((length, self.elements.checked_sub(length)?)));
        let Some((length, left)) = paid else {
            return Err(self.too_many(declared));
        };
        self.elements = left;
        Ok(length)
    }

    #[cold]
    fn too_many(&self, declared: u64) -> Fault {
        Fault::new(format!(
            "{declared} elements are declared, which makes more than {} in one message",
            self.budget.elements
        ))
        .with_hint(HINT)
    }

    /// Reads the length of a string or byte string, and then as many bytes.
    #[inline]
    fn run(&mut self) -> Result<&'de [u8], Fault> {
        let declared = self.source.length()?;
        let left = self.source.left();
        match usize::try_from(declared) {
            Ok(length) if length <= left => self.source.take(length),
            _ => Err(Fault::new(format!(
                "{declared} bytes are declared, and only {left} are left"
            ))),
        }
    }

    #[inline]
    fn text(&mut self) -> Result<&'de str, Fault> {
        std::str::from_utf8(self.run()?)
            .map_err(|error| Fault::new(format!("the string is not UTF-8: {error}")))
    }

    /// How many of `length` elements a list may make room for before it has seen them.
    ///
    /// The size of an element is not known here. The standard collections never preallocate more
    /// than 1 MiB, so with that much to spare the length need only be possible, that is, no
    /// greater than the bytes left. With less to spare an element is assumed to be large.
    #[inline]
    fn room(&mut self, length: usize) -> usize {
        let possible = length.min(self.source.left());
        if self.memory >= PREALLOCATED_MAX {
            possible
        } else {
            possible.min(self.memory / LARGE_ELEMENT)
        }
    }
}

/// What serde lets the standard collections allocate because of a size hint.
const PREALLOCATED_MAX: usize = 1024 * 1024;
/// Elements of this size and below never preallocate beyond the budget. Those above may, by at
/// most 1 MiB in one list, and are refused right after.
const LARGE_ELEMENT: usize = 1024;
/// The first room that a `Vec` takes when it was not told how much it needs.
const FIRST_ROOM: usize = 4;

/// The position of one value in the message.
struct Walk<'a, S> {
    meter: &'a mut Meter<S>,
    /// Levels that may still be entered.
    depth: usize,
    /// The memory that is already paid for this value: its place in whatever holds it.
    slot: usize,
}

impl<'de, S: Source<'de>> Walk<'_, S> {
    /// Enters a value of type `T` that holds others.
    #[inline]
    fn enter<T>(mut self) -> Result<Self, Fault> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(self.meter.too_deep());
        };
        self.depth = depth;
        if size_of::<T>() > self.slot {
            self.meter.hold(size_of::<T>())?;
            self.slot = size_of::<T>();
        }
        Ok(self)
    }

    /// Visits `length` values that lie in their parent and not on the heap.
    #[inline]
    fn tuple<V: Visitor<'de>>(
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

impl<'de, S: Source<'de>> Deserializer<'de> for Walk<'_, S> {
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
        self.meter.hold(text.len())?;
        visitor.visit_borrowed_str(text)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_borrowed_bytes(self.meter.run()?)
    }

    #[inline]
    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let bytes = self.meter.run()?;
        self.meter.hold(bytes.len())?;
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
        visitor.visit_seq(List {
            meter: walk.meter,
            depth: walk.depth,
            length,
            index: 0,
            room: Room::new(room, Filling::Full),
        })
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

/// The elements of a tuple, array or struct.
struct Tuple<'a, S> {
    meter: &'a mut Meter<S>,
    depth: usize,
    length: usize,
    index: usize,
    fields: Option<&'static [&'static str]>,
}

impl<S> Tuple<'_, S> {
    #[cold]
    fn step(&self, index: usize) -> Step {
        match self.fields.and_then(|fields| fields.get(index)) {
            Some(name) => Step::Field(name),
            None => Step::Element(index),
        }
    }
}

impl<'de, S: Source<'de>> SeqAccess<'de> for Tuple<'_, S> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let index = self.index;
        if index >= self.length {
            return Ok(None);
        }
        self.index = index.saturating_add(1);
        let walk = Walk {
            meter: &mut *self.meter,
            depth: self.depth,
            slot: size_of::<T::Value>(),
        };
        match seed.deserialize(walk) {
            Ok(value) => Ok(Some(value)),
            Err(fault) => Err(fault.inside(self.step(index))),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.length.saturating_sub(self.index))
    }
}

/// The elements of a list.
struct List<'a, S> {
    meter: &'a mut Meter<S>,
    depth: usize,
    length: usize,
    index: usize,
    room: Room,
}

impl<'de, S: Source<'de>> SeqAccess<'de> for List<'_, S> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let index = self.index;
        if index >= self.length {
            return Ok(None);
        }
        self.index = index.saturating_add(1);
        let slot = size_of::<T::Value>();
        let result = match self.room.hold(index, slot, self.meter) {
            Ok(()) => seed.deserialize(Walk {
                meter: &mut *self.meter,
                depth: self.depth,
                slot,
            }),
            Err(fault) => Err(fault),
        };
        match result {
            Ok(value) => Ok(Some(value)),
            Err(fault) => Err(fault.inside(Step::Element(index))),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.room.hint(self.length, self.index))
    }
}

/// The entries of a map.
struct Map<'a, S> {
    meter: &'a mut Meter<S>,
    depth: usize,
    length: usize,
    /// Entries whose key was read.
    index: usize,
    keys: Room,
    values: Room,
}

impl<'de, S: Source<'de>> MapAccess<'de> for Map<'_, S> {
    type Error = Fault;

    #[inline]
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let index = self.index;
        if index >= self.length {
            return Ok(None);
        }
        self.index = index.saturating_add(1);
        let slot = size_of::<K::Value>();
        let result = match self.keys.hold(index, slot, self.meter) {
            Ok(()) => seed.deserialize(Walk {
                meter: &mut *self.meter,
                depth: self.depth,
                slot,
            }),
            Err(fault) => Err(fault),
        };
        match result {
            Ok(key) => Ok(Some(key)),
            Err(fault) => Err(fault.inside(Step::Key(index))),
        }
    }

    #[inline]
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let index = self.index.saturating_sub(1);
        let slot = size_of::<V::Value>();
        match self.values.hold(index, slot, self.meter) {
            Ok(()) => seed.deserialize(Walk {
                meter: &mut *self.meter,
                depth: self.depth,
                slot,
            }),
            Err(fault) => Err(fault),
        }
        .map_err(|fault| fault.inside(Step::Value(index)))
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.keys.hint(self.length, self.index))
    }
}

/// The room that a growing collection has taken, and so far paid for.
struct Room {
    /// What the collection was told to expect.
    hint: usize,
    /// Elements that are paid for; none before the first, whose size is not known.
    paid: usize,
    filling: Filling,
}

/// How full a collection gets before it grows.
#[derive(Clone, Copy)]
enum Filling {
    /// A `Vec`: to the last place.
    Full,
    /// A hash table: its places are a power of two, of which an eighth stays free.
    Hashed,
}

impl Room {
    #[inline]
    fn new(hint: usize, filling: Filling) -> Self {
        Self {
            hint,
            paid: 0,
            filling,
        }
    }

    #[inline]
    fn hint(&self, length: usize, index: usize) -> usize {
        self.hint.min(length.saturating_sub(index))
    }

    /// Makes sure that the element at `index`, of `size` bytes, is paid for.
    #[inline]
    fn hold<S>(&mut self, index: usize, size: usize, meter: &mut Meter<S>) -> Result<(), Fault> {
        let usable = match self.filling {
            Filling::Full => self.paid,
            Filling::Hashed => self.paid.saturating_sub(self.paid / 8),
        };
        if index < usable {
            Ok(())
        } else {
            self.grow(size, meter)
        }
    }

    fn grow<S>(&mut self, size: usize, meter: &mut Meter<S>) -> Result<(), Fault> {
        let more = if self.paid > 0 {
            self.paid
        } else {
            self.first(size)
        };
        meter.hold(more.saturating_mul(size))?;
        self.paid = self.paid.saturating_add(more);
        Ok(())
    }

    fn first(&self, size: usize) -> usize {
        let told = match PREALLOCATED_MAX.checked_div(size) {
            Some(most) => self.hint.min(most),
            None => self.hint,
        };
        match self.filling {
            Filling::Full if told > 0 => told,
            Filling::Full if size > LARGE_ELEMENT => 1,
            Filling::Full => FIRST_ROOM,
            Filling::Hashed => {
                let places = told
                    .saturating_add(told / 7)
                    .saturating_add(1)
                    .max(FIRST_ROOM);
                places.checked_next_power_of_two().unwrap_or(usize::MAX)
            }
        }
    }
}

/// An enum whose variant is not read yet.
struct Enum<'a, S> {
    walk: Walk<'a, S>,
    variants: &'static [&'static str],
}

impl<'a, 'de, S: Source<'de>> EnumAccess<'de> for Enum<'a, S> {
    type Error = Fault;
    type Variant = Variant<'a, S>;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Variant<'a, S>), Fault> {
        let number = self.walk.meter.source.variant()?;
        let deserializer: serde::de::value::U32Deserializer<Fault> = number.into_deserializer();
        let variant = seed.deserialize(deserializer)?;
        Ok((
            variant,
            Variant {
                walk: self.walk,
                variants: self.variants,
                number,
            },
        ))
    }
}

/// The contents of an enum's variant.
struct Variant<'a, S> {
    walk: Walk<'a, S>,
    variants: &'static [&'static str],
    number: u32,
}

/// Adds the variant's name to the path of a fault inside it.
#[cold]
fn inside_variant(fault: Fault, variants: &'static [&'static str], number: u32) -> Fault {
    match usize::try_from(number)
        .ok()
        .and_then(|number| variants.get(number))
    {
        Some(name) => fault.inside(Step::Variant(name)),
        None => fault,
    }
}

impl<'de, S: Source<'de>> VariantAccess<'de> for Variant<'_, S> {
    type Error = Fault;

    #[inline]
    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    #[inline]
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        let Self {
            mut walk,
            variants,
            number,
        } = self;
        walk.slot = size_of::<T::Value>();
        seed.deserialize(walk)
            .map_err(|fault| inside_variant(fault, variants, number))
    }

    #[inline]
    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Fault> {
        let Self {
            walk,
            variants,
            number,
        } = self;
        walk.tuple(length, None, visitor)
            .map_err(|fault| inside_variant(fault, variants, number))
    }

    #[inline]
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Self {
            walk,
            variants,
            number,
        } = self;
        walk.tuple(fields.len(), Some(fields), visitor)
            .map_err(|fault| inside_variant(fault, variants, number))
    }
}
