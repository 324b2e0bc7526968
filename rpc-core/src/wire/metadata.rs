//! Key-value pairs beside the arguments of a call.

use std::fmt;
use std::sync::Arc;

use bytes::{BufMut, Bytes};

use super::{Malformed, Reader};
use crate::error::{Code, Error};

/// Key-value pairs that travel with a request.
///
/// A key is 1 to 128 bytes of ASCII lower case letters, digits, `-`, `_` and `.`; a value is at
/// most 4 KiB; there are at most 64 entries and 8 KiB in all. The limits hold on both sides.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// None where there are none, as nearly always; otherwise never changed, so that clones share
    /// them.
    entries: Option<Arc<Vec<Entry>>>,
}

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    value: Bytes,
    /// Whether nested calls carry it on.
    travels: bool,
}

impl Metadata {
    /// The most entries.
    pub const ENTRIES_MAX: usize = 64;
    /// The longest key, in bytes.
    pub const KEY_MAX: usize = 128;
    /// The longest value, in bytes.
    pub const VALUE_MAX: usize = 4 * 1024;
    /// The largest block on the wire, in bytes.
    pub const TOTAL_MAX: usize = 8 * 1024;

    /// Without entries.
    pub const fn new() -> Self {
        Self { entries: None }
    }

    fn of(entries: Vec<Entry>) -> Self {
        Self {
            entries: (!entries.is_empty()).then(|| Arc::new(entries)),
        }
    }

    fn entries(&self) -> &[Entry] {
        self.entries.as_ref().map_or(&[], |entries| entries)
    }

    /// The value of `key`.
    pub fn value(&self, key: &str) -> Option<&Bytes> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// Sets `key` for this call alone.
    ///
    /// # Errors
    /// [`Code::TooLarge`] over a limit of the type, [`Code::Codec`] for a malformed key.
    pub fn insert(&mut self, key: &str, value: impl Into<Bytes>) -> Result<(), Error> {
        self.set(key, value.into(), false)
    }

    /// Sets `key` for this call and every call nested in it, however deep.
    ///
    /// # Errors
    /// As [`insert`](Self::insert).
    pub fn insert_travelling(&mut self, key: &str, value: impl Into<Bytes>) -> Result<(), Error> {
        self.set(key, value.into(), true)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.entries.is_none()
    }

    /// The keys and values, in the order they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.entries()
            .iter()
            .map(|entry| (entry.key.as_str(), &entry.value))
    }

    /// The entries that nested calls carry on.
    pub(crate) fn travelling(&self) -> Self {
        if self.is_empty() {
            return Self::new();
        }
        Self::of(self.chosen(&|entry| entry.travels))
    }

    /// These entries and those of `other`, which replace ones of the same key.
    pub(crate) fn merged(&self, other: &Self) -> Result<Self, Error> {
        let mut merged = self.clone();
        for entry in other.entries() {
            merged.set(&entry.key, entry.value.clone(), entry.travels)?;
        }
        Ok(merged)
    }

    fn set(&mut self, key: &str, value: Bytes, travels: bool) -> Result<(), Error> {
        check(key, &value).map_err(|(code, what)| Error::new(code, format!("metadata: {what}")))?;
        let mut entries = self.chosen(&|entry| entry.key != key);
        entries.push(Entry {
            key: key.to_owned(),
            value,
            travels,
        });
        let set = Self::of(entries);
        if set.entries().len() > Self::ENTRIES_MAX || set.wire_len() > Self::TOTAL_MAX {
            return Err(Error::new(
                Code::TooLarge,
                format!(
                    "metadata: more than {} entries or {} bytes",
                    Self::ENTRIES_MAX,
                    Self::TOTAL_MAX
                ),
            ));
        }
        *self = set;
        Ok(())
    }

    fn chosen(&self, is_chosen: &dyn Fn(&Entry) -> bool) -> Vec<Entry> {
        let mut chosen = Vec::new();
        for entry in self.entries() {
            if is_chosen(entry) {
                chosen.push(entry.clone());
            }
        }
        chosen
    }

    /// Bytes of the block, 0 where there is none.
    pub(crate) fn wire_len(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        // The count, and for each entry two flags-and-length bytes and two of the value's length.
        self.entries().iter().fold(1_usize, |sum, entry| {
            sum.saturating_add(4)
                .saturating_add(entry.key.len())
                .saturating_add(entry.value.len())
        })
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::try_from(self.entries().len()).unwrap_or(u8::MAX));
        for entry in self.entries() {
            out.put_u8(u8::from(entry.travels));
            out.put_u8(u8::try_from(entry.key.len()).unwrap_or(u8::MAX));
            out.put_u16_le(u16::try_from(entry.value.len()).unwrap_or(u16::MAX));
            out.put_slice(entry.key.as_bytes());
            out.put_slice(&entry.value);
        }
    }

    pub(super) fn parse(body: &mut Reader<'_>) -> Result<Self, Malformed> {
        let count = usize::from(body.u8("no number of metadata entries")?);
        if count == 0 || count > Self::ENTRIES_MAX {
            return Err(body.malformed("a number of metadata entries that is not allowed"));
        }
        let mut entries: Vec<Entry> = Vec::new();
        for _ in 0..count {
            let travels = match body.u8("no metadata flags")? {
                0 => false,
                1 => true,
                _ => return Err(body.malformed("unknown metadata flags")),
            };
            let key_len = usize::from(body.u8("no metadata key length")?);
            let value_len = usize::from(body.u16("no metadata value length")?);
            let key = body.bytes(key_len, "a metadata key is cut off")?;
            // Its own bytes: a value that is kept must not keep the read buffer.
            let value =
                Bytes::copy_from_slice(body.bytes(value_len, "a metadata value is cut off")?);
            let key = String::from_utf8_lossy(key).into_owned();
            if check(&key, &value).is_err() || entries.iter().any(|entry| entry.key == key) {
                return Err(body.malformed("a metadata entry that is not allowed"));
            }
            entries.push(Entry {
                key,
                value,
                travels,
            });
        }
        let metadata = Self::of(entries);
        if metadata.wire_len() > Self::TOTAL_MAX {
            return Err(body.malformed("too much metadata"));
        }
        Ok(metadata)
    }
}

fn check(key: &str, value: &Bytes) -> Result<(), (Code, String)> {
    let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-_.".contains(&c);
    if key.is_empty() || !key.bytes().all(allowed) {
        return Err((
            Code::Codec,
            format!("the key {key:?} is not lower case letters, digits, -_."),
        ));
    }
    if key.len() > Metadata::KEY_MAX || value.len() > Metadata::VALUE_MAX {
        return Err((
            Code::TooLarge,
            format!(
                "a key has more than {} or its value more than {} bytes",
                Metadata::KEY_MAX,
                Metadata::VALUE_MAX
            ),
        ));
    }
    Ok(())
}

/// The keys alone: a value may be a secret.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.entries().iter().map(|entry| &entry.key))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_set_once() {
        let mut metadata = Metadata::new();
        metadata.insert("tenant", "a").unwrap();
        metadata.insert("tenant", "b").unwrap();
        assert_eq!(metadata.iter().count(), 1);
        assert_eq!(metadata.value("tenant").unwrap(), "b");
    }

    #[test]
    fn only_what_is_marked_travels_on() {
        let mut metadata = Metadata::new();
        metadata.insert("token", "secret").unwrap();
        metadata.insert_travelling("trace", "1").unwrap();
        let nested = metadata.travelling();
        assert_eq!(
            nested.iter().map(|(key, _)| key).collect::<Vec<_>>(),
            ["trace"]
        );
    }

    #[test]
    fn row_17_metadata_bloat_is_refused_before_it_is_sent() {
        let mut metadata = Metadata::new();
        let too_large = |r: Result<(), Error>| r.unwrap_err().code() == Code::TooLarge;
        assert!(too_large(metadata.insert("v", vec![0; 4097])));
        assert!(too_large(metadata.insert(&"k".repeat(129), "")));
        metadata.insert("a", vec![0; 4096]).unwrap();
        assert!(too_large(metadata.insert("b", vec![0; 4096])));
        let mut many = Metadata::new();
        for i in 0..64 {
            many.insert(&format!("k{i}"), "").unwrap();
        }
        assert!(too_large(many.insert("one-more", "")));
    }

    #[test]
    fn row_17_metadata_bloat_is_refused_on_arrival() {
        let refused = |body: &[u8]| Metadata::parse(&mut Reader::new(0x10, body)).is_err();
        assert!(refused(&[65]), "too many entries");
        assert!(
            refused(&[1, 0, 1, 0xff, 0xff, b'k']),
            "a value that is not there"
        );
        assert!(
            refused(&[2, 0, 1, 0, 0, b'k', 0, 1, 0, 0, b'k']),
            "a key twice"
        );
        assert!(refused(&[1, 0, 1, 0, 0, b'K']), "a key in upper case");
        let mut long = vec![1, 0, 1, 0x01, 0x10, b'k'];
        long.extend([0; 4097]);
        assert!(refused(&long), "a value over its limit");
    }
}
