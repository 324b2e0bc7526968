//! Shapes as bytes and back, in the layout that bincode gives them: written out by hand, because it
//! is linked into every program. Bytes come from a peer: they are read within the limits that are
//! written by, and nothing is made room for before it has arrived.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{BYTES_MAX, DEPTH_MAX, MethodShape, Part, Shape};

/// Writes shapes, up to [`BYTES_MAX`].
pub(super) struct Writer(BytesMut);

impl Writer {
    /// The whole of a method's shapes. `None` if it is too long.
    pub(super) fn write(method: &MethodShape) -> Option<Bytes> {
        let mut writer = Self(BytesMut::new());
        writer.shapes(&method.arguments);
        writer.shape(&method.returns);
        writer.0.put_u8(u8::from(method.error.is_some()));
        if let Some(error) = &method.error {
            writer.shape(error);
        }
        (writer.0.len() <= BYTES_MAX).then(|| writer.0.freeze())
    }

    fn shape(&mut self, shape: &Shape) {
        // What is too long is thrown away, and must not become much longer first.
        if self.0.len() > BYTES_MAX {
            return;
        }
        self.0.put_u32_le(number(shape));
        match shape {
            Shape::Option(inner) | Shape::Seq(inner) => self.shape(inner),
            Shape::Map(key, value) => {
                self.shape(key);
                self.shape(value);
            }
            Shape::Tuple(elements) => self.shapes(elements),
            Shape::Struct {
                name,
                fields: parts,
            }
            | Shape::Enum {
                name,
                variants: parts,
            } => {
                self.text(name);
                self.0.put_u64_le(parts.len() as u64);
                for part in parts {
                    self.text(&part.name);
                    self.shape(&part.shape);
                }
            }
            Shape::Recursive(up) => self.0.put_u32_le(*up),
            _ => {}
        }
    }

    fn shapes(&mut self, shapes: &[Shape]) {
        self.0.put_u64_le(shapes.len() as u64);
        for shape in shapes {
            self.shape(shape);
        }
    }

    fn text(&mut self, text: &str) {
        self.0.put_u64_le(text.len() as u64);
        self.0.put_slice(text.as_bytes());
    }
}

/// Reads shapes off the front of the bytes. `None` everywhere: they are no shapes of ours.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The shapes of a method, and nothing behind them.
    pub(super) fn read(bytes: &'a [u8]) -> Option<MethodShape> {
        let mut reader = Self(bytes);
        let method = MethodShape {
            arguments: reader.shapes(DEPTH_MAX)?,
            returns: reader.shape(DEPTH_MAX)?,
            error: match reader.take::<1>()? {
                [0] => None,
                [1] => Some(reader.shape(DEPTH_MAX)?),
                _ => return None,
            },
        };
        reader.0.is_empty().then_some(method)
    }

    /// A shape of at most so many levels; what was pruned there is a leaf one level deeper.
    fn shape(&mut self, levels: usize) -> Option<Shape> {
        let number = u32::from_le_bytes(self.take()?);
        if let Some(leaf) = LEAVES.iter().find(|leaf| self::number(leaf) == number) {
            return Some(leaf.same());
        }
        let inner = levels.checked_sub(1)?;
        Some(match number {
            OPTION => Shape::Option(Box::new(self.shape(inner)?)),
            SEQ => Shape::Seq(Box::new(self.shape(inner)?)),
            MAP => Shape::Map(Box::new(self.shape(inner)?), Box::new(self.shape(inner)?)),
            TUPLE => Shape::Tuple(self.shapes(inner)?),
            STRUCT => Shape::Struct {
                name: self.text()?,
                fields: self.parts(inner)?,
            },
            ENUM => Shape::Enum {
                name: self.text()?,
                variants: self.parts(inner)?,
            },
            RECURSIVE => Shape::Recursive(u32::from_le_bytes(self.take()?)),
            _ => return None,
        })
    }

    fn shapes(&mut self, levels: usize) -> Option<Vec<Shape>> {
        // Each takes bytes, so a length that lies ends with them.
        (0..self.length()?).map(|_| self.shape(levels)).collect()
    }

    fn parts(&mut self, levels: usize) -> Option<Vec<Part>> {
        let length = self.length()?;
        let part = |_| {
            Some(Part {
                name: self.text()?,
                shape: self.shape(levels)?,
            })
        };
        (0..length).map(part).collect()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(std::str::from_utf8(text).ok()?.to_owned())
    }

    fn length(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take()?))
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

/// The kinds of shapes that hold nothing, each of which is its number alone.
pub(super) const LEAVES: [Shape; 18] = [
    Shape::Bool,
    Shape::I8,
    Shape::I16,
    Shape::I32,
    Shape::I64,
    Shape::I128,
    Shape::U8,
    Shape::U16,
    Shape::U32,
    Shape::U64,
    Shape::U128,
    Shape::F32,
    Shape::F64,
    Shape::Char,
    Shape::Str,
    Shape::Bytes,
    Shape::Unit,
    Shape::Opaque,
];
const OPTION: u32 = 17;
const SEQ: u32 = 18;
const MAP: u32 = 19;
const TUPLE: u32 = 20;
const STRUCT: u32 = 21;
const ENUM: u32 = 22;
const RECURSIVE: u32 = 23;

/// The number that a kind of shapes has for good.
fn number(shape: &Shape) -> u32 {
    match shape {
        Shape::Bool => 0,
        Shape::I8 => 1,
        Shape::I16 => 2,
        Shape::I32 => 3,
        Shape::I64 => 4,
        Shape::I128 => 5,
        Shape::U8 => 6,
        Shape::U16 => 7,
        Shape::U32 => 8,
        Shape::U64 => 9,
        Shape::U128 => 10,
        Shape::F32 => 11,
        Shape::F64 => 12,
        Shape::Char => 13,
        Shape::Str => 14,
        Shape::Bytes => 15,
        Shape::Unit => 16,
        Shape::Option(_) => OPTION,
        Shape::Seq(_) => SEQ,
        Shape::Map(..) => MAP,
        Shape::Tuple(_) => TUPLE,
        Shape::Struct { .. } => STRUCT,
        Shape::Enum { .. } => ENUM,
        Shape::Recursive(_) => RECURSIVE,
        Shape::Opaque => 24,
    }
}
