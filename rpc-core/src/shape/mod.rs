//! What a type looks like on the wire, and whether two programs agree on it.
//!
//! A positional format carries values and no description of them: where client and server were
//! built from different types, bytes of the one decode as nonsense of the other. So each method has
//! a [`MethodShape`], read at run time through its types' own `Deserialize`; its fingerprint
//! travels with every call, and on a mismatch the two shapes say what differs.
//!
//! What counts is what is on the wire. Aliases, boxes, newtypes, the names of types and arguments
//! and how a type is spelled do not. Names of fields and variants do: two fields of one type that
//! changed places would otherwise be swapped in silence.
//!
//! Nothing here knows of calls or connections.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod bytes;
mod difference;
mod display;
mod graph;
mod probe;
mod watch;

use ::bytes::Bytes;
use serde::Deserialize;

use self::bytes::{Reader, Writer};
use crate::fnv::Fnv;

pub use self::difference::first_difference;

/// The shape of one type.
///
/// It travels in answers to calls of another shape, so variants are only ever added at the end.
#[derive(Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Shape {
    /// `bool`.
    Bool,
    /// `i8`.
    I8,
    /// `i16`.
    I16,
    /// `i32`.
    I32,
    /// `i64` and `isize`.
    I64,
    /// `i128`.
    I128,
    /// `u8`.
    U8,
    /// `u16`.
    U16,
    /// `u32`.
    U32,
    /// `u64` and `usize`.
    U64,
    /// `u128`.
    U128,
    /// `f32`.
    F32,
    /// `f64`.
    F64,
    /// `char`.
    Char,
    /// `String`, `&str` and what is sent as one.
    Str,
    /// `Vec<u8>`, `&[u8]`, `Bytes`: a list of bytes, however it is moved.
    Bytes,
    /// `()`, unit structs and everything else that takes no bytes.
    Unit,
    /// An `Option`.
    Option(Box<Self>),
    /// A list of any length.
    Seq(Box<Self>),
    /// A map, of keys to values.
    Map(Box<Self>, Box<Self>),
    /// A fixed number of values: tuples, tuple structs and arrays.
    Tuple(Vec<Self>),
    /// A struct with named fields.
    Struct {
        /// What the type is called; for messages only.
        name: String,
        /// The fields in the order of the wire.
        fields: Vec<Part>,
    },
    /// An enum.
    Enum {
        /// What the type is called; for messages only.
        name: String,
        /// The variants in the order of their numbers. What a variant holds is a shape of its own:
        /// `Unit`, the only value, a `Tuple` or a `Struct` without a name.
        variants: Vec<Part>,
    },
    /// The shape so many levels further out: the type contains itself.
    Recursive(u32),
    /// A type that does not let itself be read.
    Opaque,
}

/// A field or a variant: a shape with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct Part {
    /// What it is called in the source.
    pub name: String,
    /// What it looks like.
    pub shape: Shape,
}

/// By hand, because what is derived is compiled wherever it is used.
impl Clone for Shape {
    fn clone(&self) -> Self {
        self.pruned(usize::MAX)
    }
}

impl Shape {
    /// Reads the shape of `T` by letting it deserialize itself from nothing in particular, as
    /// often as its enums have variants.
    ///
    /// Types that accept none of a few ordinary values, and types that want a format like JSON,
    /// are [`Opaque`](Self::Opaque) where they stand; so is what comes after them in a struct.
    pub fn of<'de, T: Deserialize<'de>>() -> Self {
        probe::shape::<T>()
    }

    fn hash(&self, hash: Fnv) -> Fnv {
        match self {
            Self::Bool => hash.write(b"b"),
            Self::I8 => hash.write(b"i1"),
            Self::I16 => hash.write(b"i2"),
            Self::I32 => hash.write(b"i4"),
            Self::I64 => hash.write(b"i8"),
            Self::I128 => hash.write(b"i6"),
            Self::U8 => hash.write(b"u1"),
            Self::U16 => hash.write(b"u2"),
            Self::U32 => hash.write(b"u4"),
            Self::U64 => hash.write(b"u8"),
            Self::U128 => hash.write(b"u6"),
            Self::F32 => hash.write(b"f4"),
            Self::F64 => hash.write(b"f8"),
            Self::Char => hash.write(b"c"),
            Self::Str => hash.write(b"s"),
            Self::Bytes => hash.write(b"y"),
            Self::Unit => hash.write(b"0"),
            Self::Option(inner) => inner.hash(hash.write(b"?")),
            Self::Seq(element) => element.hash(hash.write(b"*")),
            Self::Map(key, value) => value.hash(key.hash(hash.write(b"m"))),
            Self::Tuple(elements) => elements
                .iter()
                .fold(count(hash.write(b"("), elements.len()), |hash, element| {
                    element.hash(hash)
                }),
            Self::Struct { fields, .. } => parts(hash.write(b"{"), fields),
            Self::Enum { variants, .. } => parts(hash.write(b"|"), variants),
            Self::Recursive(up) => hash.write(b"^").write(&up.to_le_bytes()),
            Self::Opaque => hash.write(b"-"),
        }
    }

    /// The shape without what lies deeper than `depth` levels.
    fn pruned(&self, depth: usize) -> Self {
        let Some(depth) = depth.checked_sub(1) else {
            return Self::Opaque;
        };
        let prune = |parts: &[Part]| {
            parts
                .iter()
                .map(|part| Part {
                    name: part.name.clone(),
                    shape: part.shape.pruned(depth),
                })
                .collect()
        };
        match self {
            Self::Option(inner) => Self::Option(Box::new(inner.pruned(depth))),
            Self::Seq(element) => Self::Seq(Box::new(element.pruned(depth))),
            Self::Map(key, value) => {
                Self::Map(Box::new(key.pruned(depth)), Box::new(value.pruned(depth)))
            }
            Self::Tuple(elements) => Self::Tuple(
                elements
                    .iter()
                    .map(|element| element.pruned(depth))
                    .collect(),
            ),
            Self::Struct { name, fields } => Self::Struct {
                name: name.clone(),
                fields: prune(fields),
            },
            Self::Enum { name, variants } => Self::Enum {
                name: name.clone(),
                variants: prune(variants),
            },
            leaf => leaf.same(),
        }
    }

    /// A shape that holds no other, once more.
    fn same(&self) -> Self {
        match self {
            Self::Bool => Self::Bool,
            Self::I8 => Self::I8,
            Self::I16 => Self::I16,
            Self::I32 => Self::I32,
            Self::I64 => Self::I64,
            Self::I128 => Self::I128,
            Self::U8 => Self::U8,
            Self::U16 => Self::U16,
            Self::U32 => Self::U32,
            Self::U64 => Self::U64,
            Self::U128 => Self::U128,
            Self::F32 => Self::F32,
            Self::F64 => Self::F64,
            Self::Char => Self::Char,
            Self::Str => Self::Str,
            Self::Bytes => Self::Bytes,
            Self::Unit => Self::Unit,
            Self::Recursive(up) => Self::Recursive(*up),
            _ => Self::Opaque,
        }
    }

    /// Whether every name in it can be shown to a person.
    fn is_printable(&self) -> bool {
        let name_ok = |name: &str| name.len() <= NAME_MAX && !name.chars().any(char::is_control);
        let parts_ok = |parts: &[Part]| {
            parts
                .iter()
                .all(|p| name_ok(&p.name) && p.shape.is_printable())
        };
        match self {
            Self::Option(inner) | Self::Seq(inner) => inner.is_printable(),
            Self::Map(key, value) => key.is_printable() && value.is_printable(),
            Self::Tuple(elements) => elements.iter().all(Self::is_printable),
            Self::Struct {
                name,
                fields: parts,
            }
            | Self::Enum {
                name,
                variants: parts,
            } => name_ok(name) && parts_ok(parts),
            _ => true,
        }
    }
}

fn parts(hash: Fnv, parts: &[Part]) -> Fnv {
    parts.iter().fold(count(hash, parts.len()), |hash, part| {
        let hash = count(hash, part.name.len()).write(part.name.as_bytes());
        part.shape.hash(hash)
    })
}

fn count(hash: Fnv, count: usize) -> Fnv {
    hash.write(&(count as u64).to_le_bytes())
}

/// The shapes of a method.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct MethodShape {
    /// One per argument.
    pub arguments: Vec<Shape>,
    /// The return value, or the `Ok` of a `Result`.
    pub returns: Shape,
    /// The `Err`, where the method returns a `Result`.
    pub error: Option<Shape>,
}

/// A shape as bytes is no longer than this, so that it fits into an answer beside other metadata.
const BYTES_MAX: usize = 16 * 1024;
/// Names longer than this are not taken from a peer.
const NAME_MAX: usize = 256;
/// Levels of a shape that travel; what lies deeper is rarely where two programs first differ.
const DEPTH_MAX: usize = 24;

impl MethodShape {
    /// One number for the shapes: equal numbers, equal bytes on the wire. It is the same on every
    /// machine and in every run.
    pub fn fingerprint(&self) -> u64 {
        let hash = count(Fnv::new(), self.arguments.len());
        let hash = self
            .arguments
            .iter()
            .fold(hash, |hash, argument| argument.hash(hash));
        let hash = self.returns.hash(hash.write(b">"));
        match &self.error {
            Some(error) => error.hash(hash.write(b"!")).0,
            None => hash.0,
        }
    }

    /// The shapes as bytes for the other side, at most 16 KiB: of very large shapes only the outer
    /// levels.
    pub fn to_bytes(&self) -> Bytes {
        [DEPTH_MAX, 8, 4, 2, 1]
            .into_iter()
            .find_map(|depth| Writer::write(&self.pruned(depth)))
            .unwrap_or_default()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) made. `None` if it is malformed or exceeds the
    /// limits that `to_bytes` keeps: the bytes come from a peer.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > BYTES_MAX {
            return None;
        }
        let shape = Reader::read(bytes)?;
        let printable = shape.arguments.iter().all(Shape::is_printable)
            && shape.returns.is_printable()
            && shape.error.as_ref().is_none_or(Shape::is_printable);
        printable.then_some(shape)
    }

    fn pruned(&self, depth: usize) -> Self {
        Self {
            arguments: self
                .arguments
                .iter()
                .map(|argument| argument.pruned(depth))
                .collect(),
            returns: self.returns.pruned(depth),
            error: self.error.as_ref().map(|error| error.pruned(depth)),
        }
    }
}

#[cfg(test)]
mod tests;
