//! Byte pipes of the operating system.

/// stub
pub trait IntoAddress {}
impl IntoAddress for &str {}
impl IntoAddress for String {}
