//! There is no such timer here.

use std::io;
use std::task::Context;
use std::time::Duration;

/// There is none.
pub(in crate::driver) enum Timer {}

impl Timer {
    pub(in crate::driver) fn new() -> Option<Self> {
        None
    }

    pub(in crate::driver) fn set(&mut self, _: Duration, _: &mut Context<'_>) -> io::Result<()> {
        match *self {}
    }
}
