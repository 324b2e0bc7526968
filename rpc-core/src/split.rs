//! A message that ends with a large byte string, held in two parts so that the string can move in and
//! out without being copied. Knows neither frames nor formats.

use std::mem;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;

use crate::pool::{self, LARGE, Pooled};

/// The most bytes that stand before the last string: 4 KiB. A message with more of them gains little
/// by being split.
pub(crate) const HEAD_MAX: usize = 4 * 1024;

/// What stands before the last byte string of a message, its length included, and the string itself,
/// the tail.
///
/// Where a message was cut is its sender's choice, so whoever takes it apart must be prepared that
/// the tail is not what it is looking for, and go by the [whole](Self::whole).
#[derive(Debug)]
pub(crate) struct Split {
    head: Vec<u8>,
    length: usize,
    /// The tail, while it belongs to nobody else.
    own: Mutex<Option<Pooled>>,
    /// The tail, once it is shared.
    lent: OnceLock<Bytes>,
    whole: OnceLock<Bytes>,
    /// The tail of a message that may have to be sent again.
    kept: Option<Kept>,
}

/// Large bytes that are kept for another attempt, until somebody knows that there will be none.
#[derive(Clone, Debug)]
pub(crate) struct Kept(Arc<Mutex<Bytes>>);

impl Kept {
    fn new(bytes: Bytes) -> Self {
        Self(Arc::new(Mutex::new(bytes)))
    }

    /// The bytes; none once they were let go.
    fn bytes(&self) -> Bytes {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// There will be no other attempt: what is large about the message is not needed any more.
    pub(crate) fn release(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = mem::take(&mut *kept);
        drop(kept);
        drop(bytes);
    }
}

impl Split {
    /// A message that was received so.
    pub(crate) fn received(head: Vec<u8>, tail: Vec<u8>) -> Self {
        Self {
            head,
            length: tail.len(),
            own: Mutex::new(Some(Pooled(tail))),
            lent: OnceLock::new(),
            whole: OnceLock::new(),
            kept: None,
        }
    }

    /// A message to be sent.
    pub(crate) fn sent(head: &[u8], tail: Bytes) -> Self {
        Self {
            head: head.to_vec(),
            length: tail.len(),
            own: Mutex::default(),
            lent: OnceLock::new(),
            whole: OnceLock::new(),
            kept: Some(Kept::new(tail)),
        }
    }

    /// What keeps the tail of a message to be sent.
    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.as_ref()
    }

    /// The tail, to be shared.
    pub(crate) fn tail(&self) -> Bytes {
        match &self.kept {
            Some(kept) => kept.bytes(),
            None => self.lend().clone(),
        }
    }

    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Bytes of the tail.
    pub(crate) fn tail_len(&self) -> usize {
        self.length
    }

    /// Bytes of both parts.
    pub(crate) fn len(&self) -> usize {
        self.head.len().saturating_add(self.length)
    }

    /// The tail, which stays; empty if it was taken.
    pub(crate) fn lend(&self) -> &Bytes {
        self.lent
            .get_or_init(|| match (self.take_own(), &self.kept) {
                (Some(tail), _) => Bytes::from_owner(tail),
                (None, Some(kept)) => kept.bytes(),
                (None, None) => Bytes::new(),
            })
    }

    /// The tail, which is gone then; a copy where it is shared.
    pub(crate) fn take(&self) -> Vec<u8> {
        match self.take_own() {
            // A long buffer must not be held for a short value.
            Some(tail) if tail.0.len() < tail.0.capacity() / 2 => tail.0.as_slice().into(),
            Some(mut tail) => mem::take(&mut tail.0),
            None => self.lend().to_vec(),
        }
    }

    /// Whether the tail was taken, so that there is no whole any more.
    pub(crate) fn is_spent(&self) -> bool {
        self.lend().len() != self.length
    }

    /// Both parts in one piece, which is made at the first time.
    pub(crate) fn whole(&self) -> &Bytes {
        self.whole.get_or_init(|| {
            let mut whole = pool::take();
            whole.extend_from_slice(&self.head);
            whole.extend_from_slice(self.lend());
            pool::share(whole)
        })
    }

    fn take_own(&self) -> Option<Pooled> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.take()
    }
}

/// The tail is shared.
impl Clone for Split {
    fn clone(&self) -> Self {
        let Some(kept) = &self.kept else {
            return Self::sent(&self.head, self.lend().clone());
        };
        Self {
            head: self.head.clone(),
            length: self.length,
            own: Mutex::default(),
            lent: OnceLock::new(),
            whole: OnceLock::new(),
            kept: Some(kept.clone()),
        }
    }
}

/// The bytes of `value`, if it is bytes and so many that they travel in chunks. Otherwise it stays.
pub(crate) fn large<T: 'static>(value: &mut Option<T>) -> Option<Bytes> {
    let value = value as &mut dyn std::any::Any;
    if let Some(list) = value.downcast_mut::<Option<Vec<u8>>>() {
        return list.take_if(|list| list.len() > LARGE).map(pool::share);
    }
    let bytes = value.downcast_mut::<Option<Bytes>>()?;
    bytes.take_if(|bytes| bytes.len() > LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_moves_out_once() {
        let tail = vec![7; 10];
        let place = tail.as_ptr();
        let split = Split::received(vec![1], tail);
        assert_eq!(split.len(), 11);
        let taken = split.take();
        assert_eq!(taken.as_ptr(), place, "it was copied");
        assert!(split.is_spent());
    }

    #[test]
    fn a_tail_that_is_shared_stays_where_it_is() {
        let split = Split::received(vec![1], vec![7; 10]);
        let place = split.lend().as_ptr();
        assert_eq!(split.take(), [7; 10]);
        assert_eq!(split.clone().lend().as_ptr(), place);
        assert_eq!(split.whole()[..], [&[1][..], &[7; 10]].concat());
        assert!(!split.is_spent());
    }

    #[test]
    fn what_is_kept_for_another_attempt_can_be_let_go() {
        let bytes = Bytes::from(vec![7; 10]);
        let split = Split::sent(b"head", bytes.clone());
        let again = split.clone();
        assert_eq!(again.tail(), bytes);
        again.kept().unwrap().release();
        drop(again);
        assert!(bytes.is_unique(), "the first attempt still has it");
        assert!(split.is_spent());
    }

    #[test]
    fn a_long_buffer_is_not_handed_out_for_few_bytes() {
        let mut tail = Vec::with_capacity(1000);
        tail.push(1);
        assert!(Split::received(Vec::new(), tail).take().capacity() < 1000);
    }

    #[test]
    fn only_many_bytes_are_large() {
        assert_eq!(large(&mut Some(vec![0_u8; LARGE])), None);
        assert_eq!(large(&mut Some(vec![0_u16; LARGE + 1])), None);
        let mut list = Some(vec![1_u8; LARGE + 1]);
        assert_eq!(large(&mut list).map(|bytes| bytes.len()), Some(LARGE + 1));
        assert_eq!(list, None);
        assert!(large(&mut Some(Bytes::from(vec![1; LARGE + 1]))).is_some());
    }
}
