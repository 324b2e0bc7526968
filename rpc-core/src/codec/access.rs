//! The parts of a value that holds others: elements, fields, entries, variants.

use std::mem::size_of;

use serde::de::{
    DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::fault::{Fault, Step};
use super::meter::{Meter, Purse, Room};
use super::source::Source;
use super::walk::Walk;

/// The elements of a tuple, array or struct.
pub(super) struct Tuple<'a, 'b, S> {
    pub(super) meter: &'a mut Meter<'b, S>,
    pub(super) depth: usize,
    pub(super) length: usize,
    pub(super) index: usize,
    pub(super) fields: Option<&'static [&'static str]>,
}

/// Adds an element to the path of a fault inside it.
#[cold]
fn inside_tuple(fault: Fault, fields: Option<&'static [&'static str]>, index: usize) -> Fault {
    fault.inside(match fields.and_then(|fields| fields.get(index)) {
        Some(name) => Step::Field(name),
        None => Step::Element(index),
    })
}

impl<'de, S: Source<'de>> SeqAccess<'de> for Tuple<'_, '_, S> {
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
            Err(fault) => Err(inside_tuple(fault, self.fields, index)),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.length.saturating_sub(self.index))
    }
}

/// The elements of a list.
pub(super) struct List<'a, 'b, S> {
    meter: &'a mut Meter<'b, S>,
    depth: usize,
    index: usize,
    progress: Progress,
}

/// How far a list has come.
struct Progress {
    length: usize,
    /// Elements before this one are there and paid for: what is asked with each of them.
    ready: usize,
    room: Room,
}

impl<'a, 'b, S> List<'a, 'b, S> {
    #[inline]
    pub(super) fn new(
        meter: &'a mut Meter<'b, S>,
        depth: usize,
        length: usize,
        room: Room,
    ) -> Self {
        Self {
            meter,
            depth,
            index: 0,
            progress: Progress {
                length,
                ready: 0,
                room,
            },
        }
    }
}

impl Progress {
    /// Makes the element at `index`, of `size` bytes, ready, if there is one.
    #[inline(never)]
    fn advance(&mut self, index: usize, size: usize, purse: &mut Purse<'_>) -> Result<bool, Fault> {
        if index >= self.length {
            return Ok(false);
        }
        match self.room.hold(index, size, purse) {
            Ok(usable) => {
                self.ready = usable.min(self.length);
                Ok(true)
            }
            Err(fault) => Err(fault.inside(Step::Element(index))),
        }
    }
}

impl<'de, S: Source<'de>> SeqAccess<'de> for List<'_, '_, S> {
    type Error = Fault;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let index = self.index;
        let slot = size_of::<T::Value>();
        if index >= self.progress.ready
            && !self.progress.advance(index, slot, &mut self.meter.purse)?
        {
            return Ok(None);
        }
        self.index = index.saturating_add(1);
        let walk = Walk {
            meter: &mut *self.meter,
            depth: self.depth,
            slot,
        };
        match seed.deserialize(walk) {
            Ok(value) => Ok(Some(value)),
            Err(fault) => Err(fault.inside(Step::Element(index))),
        }
    }

    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.progress.room.hint(self.progress.length, self.index))
    }
}

/// The entries of a map.
pub(super) struct Map<'a, 'b, S> {
    pub(super) meter: &'a mut Meter<'b, S>,
    pub(super) depth: usize,
    pub(super) length: usize,
    /// Entries whose key was read.
    pub(super) index: usize,
    pub(super) keys: Room,
    pub(super) values: Room,
}

impl<'de, S: Source<'de>> MapAccess<'de> for Map<'_, '_, S> {
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
        let result = match self.keys.hold(index, slot, &mut self.meter.purse) {
            Ok(_) => seed.deserialize(Walk {
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
        match self.values.hold(index, slot, &mut self.meter.purse) {
            Ok(_) => seed.deserialize(Walk {
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

/// An enum whose variant is not read yet.
pub(super) struct Enum<'a, 'b, S> {
    pub(super) walk: Walk<'a, 'b, S>,
    pub(super) variants: &'static [&'static str],
}

impl<'a, 'b, 'de, S: Source<'de>> EnumAccess<'de> for Enum<'a, 'b, S> {
    type Error = Fault;
    type Variant = Variant<'a, 'b, S>;

    #[inline]
    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Variant<'a, 'b, S>), Fault> {
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
pub(super) struct Variant<'a, 'b, S> {
    walk: Walk<'a, 'b, S>,
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

impl<'de, S: Source<'de>> VariantAccess<'de> for Variant<'_, '_, S> {
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
