//! Shapes in the words of Rust.

use std::fmt::{self, Display};

use super::{MethodShape, Part, Shape};

impl Display for Shape {
    /// Writes `f64`, `Vec<String>`, `Job { id: u64, name: String }`. The alternate form `{:#}`
    /// gives structs and enums by name alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::I8 => f.write_str("i8"),
            Self::I16 => f.write_str("i16"),
            Self::I32 => f.write_str("i32"),
            Self::I64 => f.write_str("i64"),
            Self::I128 => f.write_str("i128"),
            Self::U8 => f.write_str("u8"),
            Self::U16 => f.write_str("u16"),
            Self::U32 => f.write_str("u32"),
            Self::U64 => f.write_str("u64"),
            Self::U128 => f.write_str("u128"),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::Char => f.write_str("char"),
            Self::Str => f.write_str("String"),
            Self::Bytes => f.write_str("Vec<u8>"),
            Self::Unit => f.write_str("()"),
            Self::Option(inner) => generic(f, "Option", &[inner]),
            Self::Seq(element) => generic(f, "Vec", &[element]),
            Self::Map(key, value) => generic(f, "HashMap", &[key, value]),
            Self::Tuple(elements) => tuple(f, elements),
            Self::Struct { name, .. } | Self::Enum { name, .. }
                if f.alternate() && !name.is_empty() =>
            {
                f.write_str(name)
            }
            Self::Struct { name, fields } => {
                if !name.is_empty() {
                    write!(f, "{name} ")?;
                }
                f.write_str("{ ")?;
                for (index, Part { name, shape }) in fields.iter().enumerate() {
                    separate(f, index)?;
                    write!(f, "{name}: ")?;
                    shape.fmt(f)?;
                }
                f.write_str(" }")
            }
            Self::Enum { name, variants } => {
                write!(f, "{name} {{ ")?;
                for (index, variant) in variants.iter().enumerate() {
                    separate(f, index)?;
                    variant_of(f, variant)?;
                }
                f.write_str(" }")
            }
            Self::Recursive(_) => f.write_str("Self"),
            Self::Opaque => f.write_str("_"),
        }
    }
}

fn generic(f: &mut fmt::Formatter<'_>, name: &str, arguments: &[&Shape]) -> fmt::Result {
    write!(f, "{name}<")?;
    for (index, argument) in arguments.iter().enumerate() {
        separate(f, index)?;
        argument.fmt(f)?;
    }
    f.write_str(">")
}

/// Tuples and arrays are one on the wire; what repeats more often than a tuple would reads better
/// as an array.
fn tuple(f: &mut fmt::Formatter<'_>, elements: &[Shape]) -> fmt::Result {
    if is_array(elements) {
        f.write_str("[")?;
        elements
            .iter()
            .take(1)
            .try_for_each(|element| element.fmt(f))?;
        return write!(f, "; {}]", elements.len());
    }
    f.write_str("(")?;
    for (index, element) in elements.iter().enumerate() {
        separate(f, index)?;
        element.fmt(f)?;
    }
    f.write_str(if elements.len() == 1 { ",)" } else { ")" })
}

fn is_array(elements: &[Shape]) -> bool {
    const LONG: usize = 4;
    elements.len() > LONG
        && elements
            .iter()
            .all(|element| Some(element) == elements.first())
}

/// A variant with what it holds, as in `Line(i16, i16)`.
pub(super) fn variant_of(f: &mut fmt::Formatter<'_>, variant: &Part) -> fmt::Result {
    f.write_str(&variant.name)?;
    match &variant.shape {
        Shape::Unit => Ok(()),
        Shape::Tuple(elements) if !is_array(elements) => variant.shape.fmt(f),
        Shape::Struct { name, .. } if name.is_empty() => {
            f.write_str(" ")?;
            variant.shape.fmt(f)
        }
        shape => {
            f.write_str("(")?;
            shape.fmt(f)?;
            f.write_str(")")
        }
    }
}

fn separate(f: &mut fmt::Formatter<'_>, index: usize) -> fmt::Result {
    f.write_str(if index == 0 { "" } else { ", " })
}

impl Display for MethodShape {
    /// Writes `(f64, f64) -> Result<f64, MathError>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (index, argument) in self.arguments.iter().enumerate() {
            separate(f, index)?;
            argument.fmt(f)?;
        }
        f.write_str(") -> ")?;
        match &self.error {
            Some(error) => generic(f, "Result", &[&self.returns, error]),
            None => self.returns.fmt(f),
        }
    }
}
