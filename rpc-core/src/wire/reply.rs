//! How a call ended, from the server's stub to the client's.

use std::mem;
use std::time::Duration;

use bytes::{BufMut, Bytes};

use super::text::put_text;
use super::{Malformed, Payload, Reader};
use crate::error::{Code, Error, Executed};

/// What became of a call. The same type leaves the server's stub and reaches the client's.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The method returned; the encoded value, or the `Ok` of its `Result`.
    Value(Payload),
    /// The method returned this encoded `Err`.
    ServiceError(Payload),
    /// The call failed before, during or after the method.
    Failure(Error),
}

/// A reply of nothing, where another was taken out.
impl Default for Reply {
    fn default() -> Self {
        Self::Value(Payload::default())
    }
}

impl Reply {
    /// Takes it out. What is left is of no meaning, and holds nothing.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        match self {
            Self::Value(value) => Self::Value(value.take()),
            other => other.take_all(),
        }
    }

    /// Out of line, so that the usual way is not by memory because this one is.
    #[inline(never)]
    fn take_all(&mut self) -> Self {
        mem::take(self)
    }

    /// Becomes what `from` is, of which is left what [`take`](Self::take) leaves.
    #[inline]
    pub(crate) fn move_in(&mut self, from: &mut Self) {
        match (self, from) {
            (Self::Value(place), Self::Value(value)) => place.move_in(value),
            (place, from) => *place = mem::take(from),
        }
    }

    /// Becomes the value of these bytes.
    #[inline]
    pub(crate) fn put_value(&mut self, bytes: &[u8]) {
        match self {
            Self::Value(place) => place.copy_in(bytes),
            place => *place = Self::Value(Payload::copy_from_slice(bytes)),
        }
    }
}

/// How a method that has run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Value,
    ServiceError,
}

impl Outcome {
    /// What stands first in the body of a response; `None` if it is a failure, or nothing known.
    #[inline]
    pub(crate) fn parse(byte: u8) -> Option<Self> {
        match byte {
            Reply::VALUE => Some(Self::Value),
            Reply::SERVICE_ERROR => Some(Self::ServiceError),
            _ => None,
        }
    }

    /// What stands first in the body of a response.
    #[inline]
    pub(super) fn to_wire(self) -> u8 {
        match self {
            Self::Value => Reply::VALUE,
            Self::ServiceError => Reply::SERVICE_ERROR,
        }
    }

    /// The reply of this outcome.
    #[inline]
    pub(crate) fn reply(self, payload: Payload) -> Reply {
        match self {
            Self::Value => Reply::Value(payload),
            Self::ServiceError => Reply::ServiceError(payload),
        }
    }
}

impl Reply {
    const VALUE: u8 = 0;
    const SERVICE_ERROR: u8 = 1;
    const FAILURE: u8 = 2;

    /// The longest details of a failure: 32 KiB, because a failure travels in one frame.
    const DETAILS_MAX: usize = 32 * 1024;

    /// The encoded value or service error; empty for a failure, which travels in fields.
    pub(crate) fn payload(&self) -> &[u8] {
        match self {
            Self::Value(payload) | Self::ServiceError(payload) => payload,
            Self::Failure(_) => &[],
        }
    }

    /// Bytes of the [payload](Self::payload).
    #[inline]
    pub(crate) fn payload_len(&self) -> usize {
        match self {
            Self::Value(payload) | Self::ServiceError(payload) => payload.len(),
            Self::Failure(_) => 0,
        }
    }

    /// The payload, to be taken apart; `None` for a failure.
    pub(crate) fn payload_mut(&mut self) -> Option<&mut Payload> {
        match self {
            Self::Value(payload) | Self::ServiceError(payload) => Some(payload),
            Self::Failure(_) => None,
        }
    }

    /// How the method ended; `None` for a failure.
    #[inline]
    pub(super) fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Value(_) => Some(Outcome::Value),
            Self::ServiceError(_) => Some(Outcome::ServiceError),
            Self::Failure(_) => None,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Value(payload) => {
                out.put_u8(Self::VALUE);
                out.put_slice(payload);
            }
            Self::ServiceError(payload) => {
                out.put_u8(Self::SERVICE_ERROR);
                out.put_slice(payload);
            }
            Self::Failure(error) => {
                out.put_u8(Self::FAILURE);
                put_failure(error, out);
            }
        }
    }

    pub(super) fn parse(mut body: Reader<'_>) -> Result<Self, Malformed> {
        match body.u8("no outcome")? {
            Self::VALUE => Ok(Self::Value(body.payload())),
            Self::SERVICE_ERROR => Ok(Self::ServiceError(body.payload())),
            Self::FAILURE => parse_failure(body).map(Self::Failure),
            _ => Err(body.malformed("unknown outcome")),
        }
    }
}

/// What travels of an error: everything but its cause, which is the failing side's own business,
/// and its place, which the caller knows.
fn put_failure(error: &Error, out: &mut Vec<u8>) {
    let retry_after = error.retry_after().unwrap_or(Duration::ZERO).as_millis();
    out.put_u8(error.code().to_wire());
    out.put_u8(match error.executed() {
        Executed::No => 0,
        Executed::Maybe => 1,
        Executed::Yes => 2,
    });
    // 0 stands for no opinion.
    out.put_u32_le(u32::try_from(retry_after).unwrap_or(u32::MAX));
    put_text(out, error.message());
    put_text(out, error.hint().unwrap_or_default());
    if let Some(details) = error.details() {
        if details.len() <= Reply::DETAILS_MAX {
            out.put_slice(details);
        }
    }
}

fn parse_failure(mut body: Reader<'_>) -> Result<Error, Malformed> {
    let code = Code::from_wire(body.u8("no code")?);
    let executed = match body.u8("no executed")? {
        0 => Executed::No,
        1 => Executed::Maybe,
        2 => Executed::Yes,
        _ => return Err(body.malformed("unknown value of executed")),
    };
    let retry_after_ms = body.u32("no retry time")?;
    let message = body.text("no message")?;
    let hint = body.text("no hint")?;
    let details = body.rest();
    let mut error = Error::new(code, message).with_executed(executed);
    if retry_after_ms != 0 {
        error = error.with_retry_after(Duration::from_millis(retry_after_ms.into()));
    }
    if !hint.is_empty() {
        error = error.with_hint(hint);
    }
    if !details.is_empty() {
        error = error.with_details(Bytes::copy_from_slice(details));
    }
    Ok(error)
}
