//! What a type looks like on the wire.

use serde::Deserialize;

/// The shape of one type.
#[derive(Clone, Debug)]
pub struct Shape;

impl Shape {
    /// Reads the shape of `T`.
    pub fn of<'de, T: Deserialize<'de>>() -> Self {
        Self
    }
}

/// The shapes of a method.
#[derive(Clone, Debug)]
pub struct MethodShape {
    /// One per argument.
    pub arguments: Vec<Shape>,
    /// The return value.
    pub returns: Shape,
    /// The error, where the method returns a `Result`.
    pub error: Option<Shape>,
}

impl MethodShape {
    /// Hash.
    pub fn fingerprint(&self) -> u64 {
        0
    }
}
