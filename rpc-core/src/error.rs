//! What can go wrong with a call, and whether it ran.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Whether the remote method ran, as far as this side can know.
///
/// This is the question that decides about a retry: after [`Executed::No`] repeating the call is
/// always safe, after [`Executed::Maybe`] only where the method is idempotent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Executed {
    /// The method did not run and never will.
    No,
    /// The call was sent and its fate is unknown.
    Maybe,
    /// The method ran; only its reply is missing or unusable.
    Yes,
}

impl fmt::Display for Executed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "no",
            Self::Maybe => "maybe",
            Self::Yes => "yes",
        })
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $wire:literal, $text:literal;)+) => {
        /// The kind of a failure, for programs; the sentence for people is the error's `Display`.
        ///
        /// The numbers travel on the wire and never change their meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// The number that stands for this code on the wire.
            pub const fn to_wire(self) -> u8 {
                match self { $(Self::$name => $wire,)+ }
            }

            /// The code a peer sent. A number from a later version reads as [`Code::Internal`].
            pub const fn from_wire(wire: u8) -> Self {
                match wire { $($wire => Self::$name,)+ _ => Self::Internal }
            }

            const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

codes! {
    /// The call was cancelled by its caller, or by the caller's own caller.
    Cancelled = 1, "cancelled";
    /// The time allowed to the call ran out.
    DeadlineExceeded = 2, "deadline exceeded";
    /// A limit on work in progress was reached; try later, or elsewhere.
    Overloaded = 3, "overloaded";
    /// A message is larger than the limit of the side that sends or receives it.
    TooLarge = 4, "message too large";
    /// No instance of the service is known.
    NotFound = 5, "not found";
    /// The peer does not offer this service or method.
    Unimplemented = 6, "unimplemented";
    /// Client and server were built from different versions of the trait or of its types.
    Skew = 7, "client and server differ";
    /// The peers have no protocol version or codec in common.
    Version = 8, "no common protocol version";
    /// A payload could not be decoded within its budgets, or a value could not be encoded.
    Codec = 9, "cannot be encoded or decoded";
    /// The address is malformed or its transport is unknown.
    InvalidAddress = 10, "invalid address";
    /// Nothing listens at the address.
    Refused = 11, "connection refused";
    /// The address could not be reached.
    Unreachable = 12, "unreachable";
    /// The connection ended while the call was under way.
    Disconnected = 13, "disconnected";
    /// The server is shutting down and takes no further calls.
    Draining = 14, "draining";
    /// The peer broke the rules of the protocol.
    Protocol = 15, "protocol violation";
    /// TLS refused the peer, or the peer refused us.
    Tls = 16, "TLS failure";
    /// The peer is not who it must be: wrong credentials, or another instance than the one found.
    Unauthenticated = 17, "unauthenticated";
    /// The peer is known and not allowed to do this.
    Denied = 18, "permission denied";
    /// The handler failed in a way that is not the caller's business, such as a panic.
    Internal = 19, "internal error";
    /// An address, a name or another resource is taken already.
    InUse = 20, "in use";
    /// The operating system failed an operation for a reason of its own.
    Io = 21, "input/output error";
    /// Clear text would leave this host, or come from another, and nobody has allowed it.
    Insecure = 22, "clear text refused";
    /// A message does not fit one datagram.
    TooLargeForDatagram = 23, "too large for a datagram";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A failure of the call itself, as opposed to an error that the service returned.
///
/// `Display` is one sentence that says what failed, where (address, service and method, attempt)
/// and what to do; [`source`](StdError::source) leads to the cause. Programs ask [`code`](Self::code)
/// and [`executed`](Self::executed).
///
/// The error is cheap to clone, because one failed connection answers many waiting calls.
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    code: Code,
    executed: Executed,
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    address: Option<Arc<str>>,
    method: Option<(Cow<'static, str>, Cow<'static, str>)>,
    attempt: u32,
    retry_after: Option<Duration>,
    details: Option<bytes::Bytes>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure of kind `code`; `message` says what happened, in lower case and without a full
    /// stop. The call counts as not executed until [`with_executed`](Self::with_executed) says
    /// otherwise.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self::of(code, message.into())
    }

    /// [`new`](Self::new), compiled once. Cold, as the builder's methods are, so that the ways to a
    /// failure are compiled for little code.
    #[cold]
    #[inline(never)]
    fn of(code: Code, message: Cow<'static, str>) -> Self {
        Self {
            inner: Arc::new(Inner {
                code,
                executed: Executed::No,
                message,
                hint: None,
                address: None,
                method: None,
                attempt: 1,
                retry_after: None,
                details: None,
                source: None,
            }),
        }
    }

    /// For the builder's methods: alone with it, as nearly always, nothing is copied.
    #[cold]
    #[inline(never)]
    fn inner_mut(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.inner)
    }

    #[cold]
    #[inline(never)]
    fn hinting(mut self, hint: Cow<'static, str>) -> Self {
        self.inner_mut().hint = Some(hint);
        self
    }

    #[cold]
    #[inline(never)]
    fn at(mut self, address: Arc<str>) -> Self {
        self.inner_mut().address.get_or_insert(address);
        self
    }

    /// The kind of the failure.
    pub fn code(&self) -> Code {
        self.inner.code
    }

    /// Whether the method ran.
    pub fn executed(&self) -> Executed {
        self.inner.executed
    }

    /// What happened, without the place and the hint that `Display` adds.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// The address that the failing attempt was meant for.
    pub fn address(&self) -> Option<&str> {
        self.inner.address.as_deref()
    }

    /// The service that was called.
    pub fn service(&self) -> Option<&str> {
        self.inner
            .method
            .as_ref()
            .map(|(service, _)| service.as_ref())
    }

    /// The method that was called.
    pub fn method(&self) -> Option<&str> {
        self.inner
            .method
            .as_ref()
            .map(|(_, method)| method.as_ref())
    }

    /// Which attempt failed; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.inner.attempt
    }

    /// How long the peer asks to wait before another attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    /// Sets whether the method ran.
    #[cold]
    #[inline(never)]
    pub fn with_executed(mut self, executed: Executed) -> Self {
        self.inner_mut().executed = executed;
        self
    }

    /// Adds what to do about it, as an imperative without a full stop.
    pub fn with_hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hinting(hint.into())
    }

    /// Sets the address unless a place nearer to the fault has set it.
    pub fn with_address(self, address: impl Into<Arc<str>>) -> Self {
        if self.inner.address.is_some() {
            return self;
        }
        self.at(address.into())
    }

    /// Sets the method unless a place nearer to the fault has set it.
    pub fn with_method(
        mut self,
        service: impl Into<Cow<'static, str>>,
        method: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.inner_mut()
            .method
            .get_or_insert_with(|| (service.into(), method.into()));
        self
    }

    /// Sets the number of the attempt that failed.
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.inner_mut().attempt = attempt;
        self
    }

    /// Asks the caller to wait before another attempt.
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.inner_mut().retry_after = Some(wait);
        self
    }

    /// Sets the cause.
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.inner_mut().source = Some(Arc::new(source));
        self
    }

    /// Machine-readable details that travel with the failure, such as the server's shape of a
    /// method.
    pub(crate) fn with_details(mut self, details: bytes::Bytes) -> Self {
        self.inner_mut().details = Some(details);
        self
    }

    pub(crate) fn details(&self) -> Option<&bytes::Bytes> {
        self.inner.details.as_ref()
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    pub(crate) fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.inner_mut().message = message.into();
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        if let Some((service, method)) = &inner.method {
            write!(f, "{service}.{method}")?;
            if let Some(address) = &inner.address {
                write!(f, " at {address}")?;
            }
            f.write_str(": ")?;
        } else if let Some(address) = &inner.address {
            write!(f, "{address}: ")?;
        }
        write!(f, "{}", inner.code)?;
        if !inner.message.is_empty() {
            write!(f, ": {}", inner.message)?;
        }
        if inner.attempt > 1 {
            write!(f, " (attempt {})", inner.attempt)?;
        }
        if let Some(wait) = inner.retry_after {
            write!(f, " (retry after {wait:?})")?;
        }
        if let Some(hint) = &inner.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// What `main` shows that ends with an error, and `unwrap`: the sentence, whether the call may have run,
/// and the causes. With `{:#?}` the parts.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            let mut said = self.to_string();
            if self.inner.executed != Executed::No {
                said += &format!(" (executed: {:?})", self.inner.executed);
            }
            let mut cause = self.source();
            while let Some(error) = cause {
                let text = error.to_string();
                let core = match error.downcast_ref::<Self>() {
                    Some(error) => error.message(),
                    None => &text,
                };
                // Some errors name their cause themselves.
                if !said.contains(core) {
                    said = said + ": " + &text;
                }
                cause = error.source();
            }
            return f.write_str(&said);
        }
        let mut debug = f.debug_struct("Error");
        debug
            .field("code", &self.inner.code)
            .field("executed", &self.inner.executed)
            .field("text", &self.to_string());
        if let Some(source) = &self.inner.source {
            debug.field("source", source);
        }
        debug.finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

/// What a call of a method that itself returns a `Result` can fail with.
///
/// The two kinds stay apart: the service's own typed error, and a failure of the call. `?` turns an
/// [`Error`] into this type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError<E> {
    /// The method ran and returned this error.
    Service(E),
    /// The call failed.
    Rpc(Error),
}

impl<E> CallError<E> {
    /// Whether the method ran: [`Executed::Yes`] for the service's own error.
    pub fn executed(&self) -> Executed {
        match self {
            Self::Service(_) => Executed::Yes,
            Self::Rpc(error) => error.executed(),
        }
    }

    /// The service's own error, if it is one.
    pub fn into_service(self) -> Option<E> {
        match self {
            Self::Service(error) => Some(error),
            Self::Rpc(_) => None,
        }
    }
}

/// Two failures are equal when a program would treat them alike: same code, same `executed`.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code() && self.executed() == other.executed()
    }
}

impl Eq for Error {}

impl<E> From<Error> for CallError<E> {
    fn from(error: Error) -> Self {
        Self::Rpc(error)
    }
}

impl<E: fmt::Debug> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(error) => write!(f, "the service answered with an error: {error:?}"),
            Self::Rpc(error) => error.fmt(f),
        }
    }
}

impl<E: fmt::Debug> StdError for CallError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Service(_) => None,
            Self::Rpc(error) => error.source(),
        }
    }
}

#[cfg(test)]
mod tests;
