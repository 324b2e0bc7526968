//! The number of a call on its connection.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Numbers the calls of one side of one connection, from 1, upwards only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CallId(pub(crate) u64);

/// A table of calls of our own. We count them, so that no one can make them collide, and a plain
/// multiplication is hash enough.
pub(crate) type ById<T> = HashMap<CallId, T, BuildHasherDefault<IdHasher>>;

#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        // A `CallId` hashes as one u64.
    }

    fn write_u64(&mut self, id: u64) {
        // 2^64 divided by the golden ratio (Knuth, TAOCP 3, 6.4): spreads neighbours apart. The
        // table uses the high bits for its tags and the low ones for the bucket, so both matter.
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}
