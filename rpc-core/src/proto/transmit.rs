//! Bytes on their way to the system.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use crate::wire::HEADER_LEN;

/// Bytes to be written, in order: small frames one behind the other, and between them blocks that
/// are written from where they lie.
#[derive(Debug, Default)]
pub(crate) struct Transmit {
    bytes: Vec<u8>,
    /// So many of `bytes` have left. They stay until all have: a buffer whose front is cut off cannot
    /// be filled from the front again.
    left: usize,
    /// Each with the number of `bytes` that go before it, counted from the block before.
    blocks: VecDeque<(usize, Bytes)>,
    /// The `bytes` behind the last block.
    tail: usize,
    length: usize,
}

impl Transmit {
    /// Bytes that are left to write.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Takes all of `frames`. Where nothing waits the two buffers change places, so that neither is
    /// copied nor allocated again.
    pub(super) fn frames(&mut self, frames: &mut Vec<u8>) {
        self.length = self.length.saturating_add(frames.len());
        self.tail = self.tail.saturating_add(frames.len());
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, frames);
        } else {
            self.bytes.extend_from_slice(frames);
        }
        frames.clear();
    }

    /// Takes the header of a frame, and its body as a block.
    pub(super) fn block(&mut self, header: &[u8; HEADER_LEN], block: Bytes) {
        self.bytes.extend_from_slice(header);
        let added = header.len().saturating_add(block.len());
        self.length = self.length.saturating_add(added);
        let gap = std::mem::take(&mut self.tail).saturating_add(header.len());
        self.blocks.push_back((gap, block));
    }

    /// Whether everything lies in one piece, and that piece.
    pub(crate) fn contiguous(&self) -> Option<&[u8]> {
        self.blocks.is_empty().then_some(self.unsent())
    }

    /// Fills `slices` from the front with what is to be written; how many were filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [&'a [u8]]) -> usize {
        let mut places = slices.iter_mut();
        let mut filled = 0_usize;
        let mut put = |bytes: &'a [u8]| {
            if bytes.is_empty() {
                return true;
            }
            let place = places.next();
            let found = place.is_some();
            if let Some(place) = place {
                *place = bytes;
                filled = filled.saturating_add(1);
            }
            found
        };
        let mut bytes = self.unsent();
        let mut full = false;
        for (gap, block) in &self.blocks {
            let (before, behind) = bytes.split_at_checked(*gap).unwrap_or((bytes, &[]));
            bytes = behind;
            full = !put(before) || !put(block);
            if full {
                break;
            }
        }
        if !full {
            put(bytes);
        }
        filled
    }

    /// The first `written` bytes have left.
    pub(crate) fn advance(&mut self, mut written: usize) {
        self.length = self.length.saturating_sub(written);
        while let Some((gap, block)) = self.blocks.front_mut() {
            let before = written.min(*gap);
            self.left = self.left.saturating_add(before);
            *gap = gap.saturating_sub(before);
            written = written.saturating_sub(before);
            let of_block = written.min(block.len());
            block.advance(of_block);
            written = written.saturating_sub(of_block);
            if *gap > 0 || !block.is_empty() {
                return;
            }
            self.blocks.pop_front();
        }
        self.left = self.left.saturating_add(written);
        self.tail = self.tail.saturating_sub(written);
        if self.length == 0 {
            self.clear();
        }
    }

    fn unsent(&self) -> &[u8] {
        self.bytes.get(self.left..).unwrap_or_default()
    }

    /// Forgets what was not written.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.blocks.clear();
        self.left = 0;
        self.tail = 0;
        self.length = 0;
    }

    /// Takes the buffer out, if nothing waits in it.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        match self.length {
            0 => std::mem::take(&mut self.bytes),
            _ => Vec::new(),
        }
    }

    /// Puts a buffer in for the frames to come.
    pub(crate) fn put_buffer(&mut self, buffer: Vec<u8>) {
        if self.bytes.capacity() < buffer.capacity() && self.length == 0 {
            self.bytes = buffer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined<const N: usize>(transmit: &Transmit) -> Vec<u8> {
        let mut slices = [&[][..]; N];
        let filled = transmit.slices(&mut slices);
        slices[..filled].concat()
    }

    fn whole(transmit: &Transmit) -> Vec<u8> {
        joined::<16>(transmit)
    }

    fn example() -> Transmit {
        let mut transmit = Transmit::default();
        transmit.frames(&mut Vec::from(&b"one"[..]));
        transmit.block(b"header of block1", Bytes::from_static(b"[block 1]"));
        transmit.frames(&mut Vec::from(&b"two"[..]));
        transmit.block(b"header of block2", Bytes::from_static(b"[block 2]"));
        transmit.frames(&mut Vec::from(&b"three"[..]));
        transmit
    }

    const WHOLE: &[u8] = b"oneheader of block1[block 1]twoheader of block2[block 2]three";

    #[test]
    fn frames_and_blocks_keep_their_order() {
        let transmit = example();
        assert_eq!(whole(&transmit), WHOLE);
        assert_eq!(transmit.len(), WHOLE.len());
        assert_eq!(transmit.contiguous(), None);
    }

    #[test]
    fn however_much_is_written_the_rest_is_what_follows() {
        for step in 1..=WHOLE.len() {
            let mut transmit = example();
            let mut seen = Vec::new();
            while !transmit.is_empty() {
                let rest = whole(&transmit);
                assert_eq!(rest.len(), transmit.len());
                let written = step.min(rest.len());
                seen.extend_from_slice(&rest[..written]);
                transmit.advance(written);
            }
            assert_eq!(seen, WHOLE, "in steps of {step}");
            transmit.frames(&mut Vec::from(&b"next"[..]));
            assert_eq!(transmit.contiguous(), Some(&b"next"[..]));
        }
    }

    #[test]
    fn few_slices_hold_the_front() {
        let transmit = example();
        assert_eq!(joined::<2>(&transmit), b"oneheader of block1[block 1]");
    }

    #[test]
    fn the_buffer_of_an_idle_connection_can_be_taken() {
        let mut transmit = Transmit::default();
        transmit.put_buffer(Vec::with_capacity(1000));
        transmit.frames(&mut Vec::from(&b"abc"[..]));
        assert_eq!(transmit.take_buffer().capacity(), 0, "it is in use");
        transmit.advance(3);
        assert!(transmit.take_buffer().capacity() > 0);
    }
}
