//! What is left of a budget while a message is decoded.

use std::str::Utf8Error;

use super::budget::Budget;
use super::fault::Fault;
use super::source::Source;
use crate::split::Split;

/// The source and what is left of the budget.
pub(super) struct Meter<'b, S> {
    pub(super) source: S,
    pub(super) purse: Purse<'b>,
}

/// What is left of the budget. Apart from the source, so that what happens rarely is compiled once
/// and not for every type that is decoded.
pub(super) struct Purse<'b> {
    memory: usize,
    elements: usize,
    /// The whole budget, for messages.
    budget: &'b Budget,
}

const HINT: &str = "if the value is honest, raise the decoding budget";

impl<'b> Purse<'b> {
    #[inline]
    pub(super) fn new(budget: &'b Budget) -> Self {
        Self {
            memory: budget.memory,
            elements: budget.elements,
            budget,
        }
    }

    /// Pays for `bytes` of memory.
    #[inline]
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), Fault> {
        match self.memory.checked_sub(bytes) {
            Some(left) => {
                self.memory = left;
                Ok(())
            }
            None => Err(self.out_of_memory()),
        }
    }

    /// Pays for the elements of a list or map that declares so many.
    #[inline]
    fn count(&mut self, declared: u64) -> Result<usize, Fault> {
        let paid = usize::try_from(declared)
            .ok()
            .and_then(|length| Some((length, self.elements.checked_sub(length)?)));
        let Some((length, left)) = paid else {
            return Err(self.too_many(declared));
        };
        self.elements = left;
        Ok(length)
    }

    #[cold]
    fn out_of_memory(&self) -> Fault {
        Fault::new(format!(
            "the value needs more than {} bytes of memory",
            self.budget.memory
        ))
        .with_hint(HINT)
    }

    #[cold]
    fn too_many(&self, declared: u64) -> Fault {
        Fault::new(format!(
            "{declared} elements are declared, which makes more than {} in one message",
            self.budget.elements
        ))
        .with_hint(HINT)
    }

    #[cold]
    pub(super) fn too_deep(&self) -> Fault {
        Fault::new(format!(
            "the value nests deeper than {} levels",
            self.budget.depth
        ))
        .with_hint(HINT)
    }
}

impl<'de, S: Source<'de>> Meter<'_, S> {
    /// Reads the number of elements of a list or map, and pays for them.
    #[inline]
    pub(super) fn elements(&mut self) -> Result<usize, Fault> {
        let declared = self.source.length()?;
        self.purse.count(declared)
    }

    /// Reads the length of a string or byte string, and then as many bytes.
    #[inline]
    pub(super) fn run(&mut self) -> Result<&'de [u8], Fault> {
        let declared = self.source.length()?;
        self.run_of(declared)
    }

    /// As many bytes as are declared.
    #[inline]
    pub(super) fn run_of(&mut self, declared: u64) -> Result<&'de [u8], Fault> {
        let left = self.source.left();
        match usize::try_from(declared) {
            Ok(length) if length <= left => self.source.take(length),
            _ => match self.tail(declared) {
                Some(split) => Ok(split.lend()),
                None => Err(cut_off(declared, left)),
            },
        }
    }

    /// The tail of a message in two parts, if it is what comes next and as long as that.
    #[inline]
    pub(super) fn tail(&mut self, declared: u64) -> Option<&'de Split> {
        if self.source.tail().is_none() || self.source.left() > 0 {
            return None;
        }
        let next = |split: &mut &Split| usize::try_from(declared) == Ok(split.tail_len());
        self.source.tail().take_if(next)
    }

    #[inline]
    pub(super) fn text(&mut self) -> Result<&'de str, Fault> {
        std::str::from_utf8(self.run()?).map_err(not_text)
    }

    /// How many of `length` elements a list may make room for before it has seen them.
    ///
    /// The size of an element is not known here. The standard collections never preallocate more
    /// than 1 MiB, so with that much to spare the length need only be possible, that is, no
    /// greater than the bytes left. With less to spare an element is assumed to be large.
    #[inline]
    pub(super) fn room(&mut self, length: usize) -> usize {
        let possible = length.min(self.source.left());
        let memory = self.purse.memory;
        if memory >= PREALLOCATED_MAX {
            possible
        } else {
            possible.min(memory / LARGE_ELEMENT)
        }
    }
}

#[cold]
fn cut_off(declared: u64, left: usize) -> Fault {
    Fault::new(format!(
        "{declared} bytes are declared, and only {left} are left"
    ))
}

#[cold]
fn not_text(error: Utf8Error) -> Fault {
    Fault::new(format!("the string is not UTF-8: {error}"))
}

/// What serde lets the standard collections allocate because of a size hint.
const PREALLOCATED_MAX: usize = 1024 * 1024;
/// Elements of this size and below never preallocate beyond the budget. Those above may, by at
/// most 1 MiB in one list, and are refused right after.
const LARGE_ELEMENT: usize = 1024;
/// The first room that a `Vec` takes when it was not told how much it needs.
const FIRST_ROOM: usize = 4;

/// The room that a growing collection has taken, and so far paid for.
pub(super) struct Room {
    /// What the collection was told to expect.
    hint: usize,
    /// Elements that are paid for; none before the first, whose size is not known.
    paid: usize,
    /// As many of them as the collection takes before it grows.
    usable: usize,
    filling: Filling,
}

/// How full a collection gets before it grows.
#[derive(Clone, Copy)]
pub(super) enum Filling {
    /// A `Vec`: to the last place.
    Full,
    /// A hash table: its places are a power of two, of which an eighth stays free.
    Hashed,
}

impl Room {
    #[inline]
    pub(super) fn new(hint: usize, filling: Filling) -> Self {
        Self {
            hint,
            paid: 0,
            usable: 0,
            filling,
        }
    }

    #[inline]
    pub(super) fn hint(&self, length: usize, index: usize) -> usize {
        self.hint.min(length.saturating_sub(index))
    }

    /// Makes sure that the element at `index`, of `size` bytes, is paid for, and says how many are.
    #[inline]
    pub(super) fn hold(
        &mut self,
        index: usize,
        size: usize,
        purse: &mut Purse<'_>,
    ) -> Result<usize, Fault> {
        if index >= self.usable {
            self.grow(size, purse)?;
        }
        Ok(self.usable)
    }

    #[inline(never)]
    fn grow(&mut self, size: usize, purse: &mut Purse<'_>) -> Result<(), Fault> {
        let more = if self.paid > 0 {
            self.paid
        } else {
            self.first(size)
        };
        purse.hold(more.saturating_mul(size))?;
        self.paid = self.paid.saturating_add(more);
        self.usable = match self.filling {
            Filling::Full => self.paid,
            Filling::Hashed => self.paid.saturating_sub(self.paid / 8),
        };
        Ok(())
    }

    fn first(&self, size: usize) -> usize {
        let told = match PREALLOCATED_MAX.checked_div(size) {
            Some(most) => self.hint.min(most),
            None => self.hint,
        };
        match self.filling {
            Filling::Full if told > 0 => told,
            Filling::Full if size > LARGE_ELEMENT => 1,
            Filling::Full => FIRST_ROOM,
            Filling::Hashed => {
                let places = told
                    .saturating_add(told / 7)
                    .saturating_add(1)
                    .max(FIRST_ROOM);
                places.checked_next_power_of_two().unwrap_or(usize::MAX)
            }
        }
    }
}
