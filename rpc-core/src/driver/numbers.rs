//! The number of each call of ours, by its token.

use super::desk::Token;
use crate::proto::CallId;

/// The number of each call of ours, by its token: a row for each desk, the first of which is mostly the
/// only one.
#[derive(Default)]
pub(super) struct Numbers {
    first: Vec<Option<CallId>>,
    more: Option<Box<[Vec<Option<CallId>>; Token::DESKS - 1]>>,
}

impl Numbers {
    /// Tokens that a connection at rest has room for.
    const IDLE: usize = 16;

    /// The call has this number, or was not sent.
    #[inline]
    pub(super) fn set(&mut self, token: usize, number: Option<CallId>) {
        let token = Token(token);
        let row = match token.desk().checked_sub(1) {
            None => &mut self.first,
            Some(other) => &mut self.more.get_or_insert_default()[other],
        };
        let place = token.place();
        if row.len() <= place {
            row.resize(place + 1, None);
        }
        row[place] = number;
    }

    /// The number, once.
    #[inline]
    pub(super) fn take(&mut self, token: usize) -> Option<CallId> {
        let token = Token(token);
        let row = match token.desk().checked_sub(1) {
            None => &mut self.first,
            Some(other) => self.more.as_mut()?.get_mut(other)?,
        };
        row.get_mut(token.place())?.take()
    }

    /// Gives back what only a crowd of calls needed, of which none is left. Whether there was something.
    pub(super) fn tidy(&mut self) -> bool {
        let was_roomy = self.first.capacity() > Self::IDLE || self.more.is_some();
        if was_roomy {
            *self = Self::default();
        }
        was_roomy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_its_number_once() {
        let mut numbers = Numbers::default();
        for token in (0..100).rev() {
            numbers.set(token, Some(CallId(token as u64)));
        }
        numbers.set(7, None);
        for token in 0..100 {
            let number = (token != 7).then_some(CallId(token as u64));
            assert_eq!(numbers.take(token), number);
            assert_eq!(numbers.take(token), None);
        }
        assert_eq!(numbers.take(100_000), None);
    }

    #[test]
    fn what_a_crowd_needed_is_given_back() {
        let mut numbers = Numbers::default();
        numbers.set(Token::new(0, 3).0, Some(CallId(1)));
        assert!(!numbers.tidy());
        assert_eq!(numbers.take(Token::new(0, 3).0), Some(CallId(1)));
        numbers.set(Token::new(0, 1000).0, Some(CallId(2)));
        assert!(numbers.tidy() && !numbers.tidy());
        numbers.set(Token::new(2, 0).0, Some(CallId(3)));
        assert!(numbers.tidy() && !numbers.tidy());
    }
}
