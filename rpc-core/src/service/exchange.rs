//! A request and the reply to it, together on their way through a slot. Knows neither connections nor
//! types.

use std::mem;

use bytes::Bytes;
use serde::Serialize;

use super::Request;
use crate::codec::Part;
use crate::error::{Code, Error, Executed};
use crate::pool;
use crate::wire::{Outcome, Payload, Reply};

/// What was asked, and what is answered.
///
/// It is made once and serves one call after the other, so that a call moves a pointer where it would
/// move a request and a reply, and finds the room for both. The future of the call has it, and hands it
/// back when it is done.
pub struct Exchange {
    pub(crate) request: Request,
    pub(crate) answer: Answer,
}

impl Exchange {
    pub(crate) fn new(request: Request) -> Box<Self> {
        Box::new(Self {
            request,
            answer: Answer::default(),
        })
    }

    /// The request, and where its answer belongs.
    #[inline]
    pub fn parts(&mut self) -> (&Request, &mut Answer) {
        (&self.request, &mut self.answer)
    }

    /// The request, for somebody who goes on with it elsewhere.
    pub(crate) fn take_request(&mut self) -> Request {
        Request {
            payload: mem::take(&mut self.request.payload),
            ..self.request
        }
    }
}

/// Where the stub of a service leaves what has become of a call.
///
/// What a method returns is encoded into a buffer that the next call finds again, and is sent from
/// there: a small reply is copied once. A large one gets a buffer of its own.
#[derive(Default)]
pub struct Answer {
    buffer: Vec<u8>,
    state: State,
}

#[derive(Default)]
enum State {
    /// The call is under way.
    #[default]
    Open,
    /// The method returned what the buffer holds.
    Encoded(Outcome),
    Made(Reply),
}

impl Answer {
    /// A buffer up to this size is kept for the next reply. A larger one becomes the reply: by then an
    /// allocation costs less than a copy.
    const KEPT_MAX: usize = 4096;

    /// The method returned `value`.
    #[inline]
    pub(crate) fn value<T: Serialize + 'static>(&mut self, request: &Request, value: T) {
        let (value, tail) = Part::of(value);
        self.encode(request, &value, Outcome::Value);
        if let Some(tail) = tail {
            self.append(tail);
        }
    }

    /// The method returned the service's own `error`.
    #[inline]
    pub(crate) fn error<E: Serialize>(&mut self, request: &Request, error: &E) {
        self.encode(request, error, Outcome::ServiceError);
    }

    /// The reply was made elsewhere.
    pub fn put(&mut self, reply: Reply) {
        self.state = State::Made(reply);
    }

    /// What the method returned, where it lies until the next call, or the reply that was made in
    /// another way; once.
    #[inline]
    pub(crate) fn settle(&mut self) -> Result<(Outcome, &[u8]), Reply> {
        match self.state {
            State::Encoded(outcome) => {
                self.state = State::Open;
                Ok((outcome, &self.buffer))
            }
            State::Open | State::Made(_) => Err(self.take()),
        }
    }

    /// The reply, once.
    pub(crate) fn take(&mut self) -> Reply {
        match mem::take(&mut self.state) {
            State::Encoded(outcome) => outcome.reply(Payload::copy_from_slice(&self.buffer)),
            State::Made(reply) => reply,
            State::Open => {
                let error = Error::new(Code::Internal, "the handler ended without an answer");
                Reply::Failure(error.with_executed(Executed::Maybe))
            }
        }
    }

    #[inline]
    fn encode<T: Serialize>(&mut self, request: &Request, value: &T, outcome: Outcome) {
        self.buffer.clear();
        let limit = request.reply_limit;
        match request.codec.encode_into(value, &mut self.buffer, limit) {
            Ok(()) if self.buffer.len() <= Self::KEPT_MAX => self.state = State::Encoded(outcome),
            encoded => self.outgrow(encoded, outcome),
        }
    }

    /// The buffer does not stay: it is the reply, or may be of any size after a failure.
    #[cold]
    fn outgrow(&mut self, encoded: Result<(), Error>, outcome: Outcome) {
        let buffer = mem::take(&mut self.buffer);
        self.put(match encoded {
            Ok(()) => outcome.reply(pool::share(buffer).into()),
            // The method has run: whatever becomes of its reply, it must not run again by itself.
            Err(error) => Reply::Failure(error.with_executed(Executed::Yes)),
        });
    }

    /// What was encoded ends with `tail`.
    #[cold]
    fn append(&mut self, tail: Bytes) {
        let reply = match self.take() {
            Reply::Value(payload) => Reply::Value(payload.with_tail(Some(tail))),
            reply => reply,
        };
        self.put(reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::scripted::request;

    #[test]
    fn a_reply_is_what_was_returned_however_long() {
        let request = Request {
            reply_limit: 100_000,
            ..request()
        };
        let mut answer = Answer::default();
        for length in [0, 10, Answer::KEPT_MAX, 50_000, 3] {
            let text = "x".repeat(length);
            answer.value(&request, text.clone());
            let payload = match answer.settle() {
                Ok((Outcome::Value, bytes)) => Payload::copy_from_slice(bytes),
                Err(Reply::Value(payload)) => payload,
                _ => panic!("not a value"),
            };
            let decoded: String = request.codec.decode(&payload, &request.budget).unwrap();
            assert_eq!(decoded, text);
        }
    }

    #[test]
    fn what_does_not_fit_has_run_all_the_same() {
        let request = Request {
            reply_limit: 10,
            ..request()
        };
        let mut answer = Answer::default();
        answer.value(&request, "more than ten bytes".to_owned());
        let Reply::Failure(error) = answer.take() else {
            panic!("encoded")
        };
        assert_eq!(
            (error.code(), error.executed()),
            (Code::TooLarge, Executed::Yes)
        );
        answer.error(&request, &7_u8);
        assert_eq!(answer.settle(), Ok((Outcome::ServiceError, &[7][..])));
        assert!(answer.settle().is_err(), "twice");
    }

    #[test]
    fn a_call_that_ends_without_an_answer_gets_one() {
        let Reply::Failure(error) = Answer::default().take() else {
            panic!("answered")
        };
        assert_eq!(error.code(), Code::Internal);
    }
}
