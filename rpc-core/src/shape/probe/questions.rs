//! The questions that a type asks while it deserializes itself, and what it is told. What is done before
//! and after it uses an answer, the [probe](super) does.

use std::any::type_name;

use serde::de::value::U32Deserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};

use super::{Children, Contents, Probe};
use crate::shape::Shape;
use crate::shape::graph::{Id, Node};
use crate::shape::watch::{OFFERS, Objection, Watch};

/// What is offered one after the other where a type objects.
const TEXTS: [&str; OFFERS] = [
    "",
    "a",
    "0",
    "1",
    "a.b",
    "127.0.0.1",
    "127.0.0.1:1",
    "2000-01-01",
    "2000-01-01T00:00:00Z",
    "00:00:00",
    "00000000-0000-0000-0000-000000000000",
    "http://a/",
];
const NUMBERS: [u8; OFFERS] = [0, 1, 2, 3, 7, 10, 12, 16, 32, 64, 100, 127];
/// Lengths of identifiers, addresses, keys and digests.
const LENGTHS: [usize; OFFERS] = [0, 1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 64];
const ZEROS: &[u8] = &[0; 64];

macro_rules! numbers {
    ($($deserialize:ident $visit:ident $shape:ident,)+) => {
        $(
            fn $deserialize<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Objection> {
                let of = type_name::<V::Value>();
                let offer = self.leaf(of, Shape::$shape);
                let number = NUMBERS.get(offer).copied().unwrap_or_default();
                // Every number that is offered fits into every type, an `i8` included.
                let result = visitor.$visit(number.try_into().unwrap_or_default());
                self.left(of, result)
            }
        )+
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Objection;

    numbers! {
        deserialize_i8 visit_i8 I8,
        deserialize_i16 visit_i16 I16,
        deserialize_i32 visit_i32 I32,
        deserialize_i64 visit_i64 I64,
        deserialize_i128 visit_i128 I128,
        deserialize_u8 visit_u8 U8,
        deserialize_u16 visit_u16 U16,
        deserialize_u32 visit_u32 U32,
        deserialize_u64 visit_u64 U64,
        deserialize_u128 visit_u128 U128,
        deserialize_f32 visit_f32 F32,
        deserialize_f64 visit_f64 F64,
    }

    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        let offer = self.leaf(of, Shape::Bool);
        let result = visitor.visit_bool(offer % 2 == 1);
        self.left(of, result)
    }

    fn deserialize_char<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        let offer = self.leaf(of, Shape::Char);
        let result = visitor.visit_char(if offer % 2 == 1 { '0' } else { 'a' });
        self.left(of, result)
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        let offer = self.leaf(of, Shape::Str);
        let result = visitor.visit_borrowed_str(TEXTS.get(offer).copied().unwrap_or_default());
        self.left(of, result)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Objection> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        let offer = self.leaf(of, Shape::Bytes);
        let length = LENGTHS.get(offer).copied().unwrap_or_default();
        let result = visitor.visit_borrowed_bytes(ZEROS.get(..length).unwrap_or_default());
        self.left(of, result)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Objection> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        self.leaf(of, Shape::Unit);
        let result = visitor.visit_unit();
        self.left(of, result)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Objection> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        let (mut probe, some) = self.option(of)?;
        let result = match some {
            true => visitor.visit_some(probe.again()),
            false => visitor.visit_none(),
        };
        probe.watch.names.pop();
        probe.left(of, result)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        let (id, mut probe) = self.newtype(of, name)?;
        let result = visitor.visit_newtype_struct(probe.again());
        probe.watch.step_out();
        Probe { id, ..probe }.left(of, result)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        let mut children = self.seq(of)?;
        let result = visitor.visit_seq(&mut children);
        children.left(of, result)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        let mut children = self.map(of)?;
        let result = visitor.visit_map(&mut children);
        children.left(of, result)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Objection> {
        let mut children = self.tuple(length)?;
        let result = visitor.visit_seq(&mut children);
        children.left(type_name::<V::Value>(), result)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        let mut children = self.tuple_struct(of, name, length)?;
        let result = visitor.visit_seq(&mut children);
        children.watch.step_out();
        children.left(of, result)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        let mut children = self.fields(of, name, fields)?;
        let result = visitor.visit_seq(&mut children);
        children.watch.step_out();
        children.left(of, result)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Objection> {
        let of = type_name::<V::Value>();
        let mut contents = self.variant(of, name, variants)?;
        let result = visitor.visit_enum(contents.again());
        contents.left(of, result.is_err());
        result
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Objection> {
        Err(self.watch.opaque(self.id))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Objection> {
        self.deserialize_any(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Objection> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

impl Children<'_> {
    fn next<'de, T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Objection> {
        let Some(id) = self.ids.next() else {
            return Ok(None);
        };
        probe_child(self.watch, id, self.depth, self.plain, seed).map(Some)
    }
}

/// Deserializes what is at node `id` inside of something else.
fn probe_child<'de, T: DeserializeSeed<'de>>(
    watch: &mut Watch,
    id: Id,
    depth: usize,
    plain: bool,
    seed: T,
) -> Result<T::Value, Objection> {
    let of = type_name::<T::Value>();
    let mut probe = Probe::of_child(watch, id, depth, plain, of)?;
    let result = seed.deserialize(probe.again());
    probe.watch.names.pop();
    probe.left(of, result)
}

impl<'de> SeqAccess<'de> for &mut Children<'_> {
    type Error = Objection;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Objection> {
        self.next(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.ids.len())
    }
}

impl<'de> MapAccess<'de> for &mut Children<'_> {
    type Error = Objection;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Objection> {
        self.next(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Objection> {
        self.next(seed)?.ok_or(Objection)
    }
}

impl<'de> EnumAccess<'de> for Contents<'_> {
    type Error = Objection;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Objection> {
        let number = u32::try_from(self.number).unwrap_or(u32::MAX);
        let deserializer: U32Deserializer<Objection> = number.into_deserializer();
        Ok((seed.deserialize(deserializer)?, self))
    }
}

impl<'de> VariantAccess<'de> for Contents<'_> {
    type Error = Objection;

    fn unit_variant(self) -> Result<(), Objection> {
        self.watch
            .graph
            .learn(self.content, Node::Leaf(Shape::Unit));
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Objection> {
        probe_child(self.watch, self.content, self.depth, self.plain, seed)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Objection> {
        visitor.visit_seq(&mut self.tuple(length)?)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Objection> {
        visitor.visit_seq(&mut self.fields(fields)?)
    }
}
