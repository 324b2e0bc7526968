//! Writes texts for people. [`Reader::text`](super::Reader::text) reads them.

use bytes::BufMut;

/// The longest text in a frame: enough for a sentence with names in it; a limit because peers quote
/// each other.
const TEXT_MAX: usize = 4096;

/// Appends a text with its length in two bytes before it, cut at a character so that it fits.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_text_within(out, text, TEXT_MAX);
}

/// The same with another limit.
pub(super) fn put_text_within(out: &mut Vec<u8>, text: &str, limit: usize) {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    let text = text.get(..end).unwrap_or_default();
    out.put_u16_le(u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.put_slice(text.as_bytes());
}
