//! What decoding one message may cost.

/// The most that decoding one message may cost.
///
/// A few bytes can describe a value of any size: a list of a million empty lists, a tree as deep
/// as the message is long. The budget bounds what the bytes can make this process do; it is spent
/// as the value takes shape, and the message that exceeds it is refused with an error that says
/// where and by which of the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of memory that the decoded value may hold: elements of lists and maps at their size
    /// in memory, including the spare room of a growing list, strings at their length, boxed
    /// values. The value itself and what it borrows from the message are free.
    pub memory: usize,
    /// How deep the value may nest. Structs, tuples, newtypes, enums, options, lists and maps are
    /// one level each. It keeps the stack of the decoding thread, and of whatever walks the value
    /// later (its `Drop`, `Debug`, `Serialize`), in bounds.
    pub depth: usize,
    /// Elements of lists and entries of maps in the whole message. It bounds the time that
    /// elements without bytes, such as `()`, can burn.
    pub elements: usize,
}

impl Budget {
    /// Sixteen bytes of memory for one on the wire: an integer takes as much here as there, and an
    /// absent option one byte there and the room of its value here, twice that in a list that has
    /// just grown.
    const MEMORY_PER_BYTE: usize = 16;
    /// What even the smallest message may use, so that a list of a few empty strings passes.
    const MEMORY_FREE: usize = 64 * 1024;
    /// No message may use more, however long it is.
    const MEMORY_MAX: usize = 64 * 1024 * 1024;
    /// Deep enough for honest trees, and shallow enough for a stack of 128 KiB.
    const DEPTH: usize = 64;
    /// What even the smallest message may count, for honest lists of unit values.
    const ELEMENTS_FREE: usize = 1024;

    /// The default budget of a message of `bytes` bytes: 16 bytes of memory per byte and 64 KiB,
    /// at most 64 MiB; 64 levels; as many elements as bytes and 1,024.
    #[inline]
    pub const fn for_message(bytes: usize) -> Self {
        let memory = bytes
            .saturating_mul(Self::MEMORY_PER_BYTE)
            .saturating_add(Self::MEMORY_FREE);
        Self {
            memory: if memory < Self::MEMORY_MAX {
                memory
            } else {
                Self::MEMORY_MAX
            },
            depth: Self::DEPTH,
            elements: bytes.saturating_add(Self::ELEMENTS_FREE),
        }
    }

    /// The budget of a message of `bytes` bytes that may nest `depth` levels and take
    /// `memory` bytes. Where the limit on messages was
    /// raised, a large block of bytes may still be decoded.
    #[inline]
    pub(crate) fn of_message(bytes: usize, depth: usize, memory: usize) -> Self {
        let default = Self::for_message(bytes);
        let memory = default.memory.min(memory).max(bytes.saturating_mul(2));
        Self {
            memory,
            depth,
            ..default
        }
    }
}
