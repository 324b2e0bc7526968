//! What a server offers: services, their methods, and the one function that runs a call.

mod exchange;
mod recode;
mod slot;

pub use exchange::{Answer, Exchange};
pub(crate) use recode::recode_arguments;
pub use recode::{Passage, Recode};
pub use slot::BoxSlot;
pub(crate) use slot::{call_in, slot};

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;

use serde::Deserialize;

use crate::codec::{Budget, CodecId};
use crate::error::{Code, Error, Executed};
use crate::fnv::Fnv;
use crate::shape::{MethodShape, Shape};
use crate::split::Split;
use crate::wire::{Payload, Reply};

/// A service that a server can offer. `#[service]` implements it for the `..Server` struct of a
/// trait; nobody writes it by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service",
    label = "wrap what implements the trait in its generated `..Server::new(..)`",
    note = "what is in an `Arc` already goes into `..Server::from_arc(..)`"
)]
pub trait Service: Send + Sync + 'static {
    /// What the service is called and which methods it has.
    fn descriptor(&self) -> &'static Descriptor;

    /// Runs one call.
    ///
    /// The future owns the service and the request; dropping it is how a call is cancelled.
    fn call(&self, request: Request) -> BoxFuture<Reply>;

    /// A place in which calls run one after the other, without an allocation for each. Where there
    /// is none, each call goes through [`call`](Self::call).
    #[doc(hidden)]
    fn slot(&self) -> Option<BoxSlot> {
        None
    }
}

/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The constant part of a service: its name, version, documentation and methods.
#[derive(Debug)]
#[non_exhaustive]
pub struct Descriptor {
    /// The name under which the service is registered and called.
    pub name: &'static str,
    /// The version under which it is registered, in semver form.
    pub version: &'static str,
    /// The doc comment of the trait.
    pub doc: &'static str,
    /// The methods, in the order of the trait.
    pub methods: &'static [&'static Method],
}

impl Descriptor {
    /// Describes a service.
    pub const fn new(
        name: &'static str,
        version: &'static str,
        doc: &'static str,
        methods: &'static [&'static Method],
    ) -> Self {
        Self {
            name,
            version,
            doc,
            methods,
        }
    }

    /// One number for all shapes of the service: equal numbers can talk to each other, whatever
    /// their versions say.
    pub fn fingerprint(&self) -> u64 {
        // Sorted, because the order of the methods in the trait never matters.
        let mut parts: Vec<(u64, u64)> = Vec::new();
        for method in self.methods {
            let part = (method.id.0, method.fingerprint());
            parts.insert(parts.partition_point(|other| *other < part), part);
        }
        let mut hash = Fnv::new();
        for (id, fingerprint) in parts {
            hash = hash
                .write(&id.to_le_bytes())
                .write(&fingerprint.to_le_bytes());
        }
        hash.0
    }
}

/// The constant part of a method.
pub struct Method {
    /// The service it belongs to.
    pub service: &'static str,
    /// Its name on the wire.
    pub name: &'static str,
    /// What travels instead of the two names.
    pub id: MethodId,
    /// The names of the arguments, for messages to people; they never travel.
    pub arguments: &'static [&'static str],
    /// Whether a repeated call does no harm, so that it may be retried and hedged.
    pub idempotent: bool,
    /// The doc comment of the method.
    pub doc: &'static str,
    probe: fn() -> MethodShape,
    shape: OnceLock<(MethodShape, u64)>,
    /// How its messages are encoded again; only generated code knows.
    pub(crate) recode: Option<Recode>,
}

impl Method {
    /// Describes a method; `probe` reads the shapes of its types and runs at most once.
    pub const fn new(
        service: &'static str,
        name: &'static str,
        arguments: &'static [&'static str],
        doc: &'static str,
        probe: fn() -> MethodShape,
    ) -> Self {
        Self {
            service,
            name,
            id: MethodId::new(service, name),
            arguments,
            idempotent: false,
            doc,
            probe,
            shape: OnceLock::new(),
            recode: None,
        }
    }

    /// Marks the method as safe to repeat.
    pub const fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Says how the messages of the method are encoded again on their way through a process that
    /// knows its types.
    #[doc(hidden)]
    pub const fn recoded(mut self, recode: Recode) -> Self {
        // Only a process between two others asks for it, and none links what it names without.
        self.recode = if cfg!(feature = "patterns") {
            Some(recode)
        } else {
            None
        };
        self
    }

    /// The shapes of arguments and return as serde sees them.
    pub fn shape(&self) -> &MethodShape {
        &self.probed().0
    }

    /// The hash of [`shape`](Self::shape) that travels with each call.
    pub fn fingerprint(&self) -> u64 {
        self.probed().1
    }

    fn probed(&self) -> &(MethodShape, u64) {
        self.shape.get_or_init(|| {
            // It runs the user's `Deserialize`, and in a server outside of any handler.
            let shape = std::panic::catch_unwind(self.probe).unwrap_or_else(|_| MethodShape {
                arguments: self.arguments.iter().map(|_| Shape::Opaque).collect(),
                returns: Shape::Opaque,
                error: None,
            });
            let fingerprint = shape.fingerprint();
            (shape, fingerprint)
        })
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.service, self.name)
    }
}

/// The stable number of a method: the 64-bit FNV-1a hash of `Service.method`.
///
/// Methods are named by it and never by their position, so reordering a trait changes nothing on
/// the wire. A server refuses to start with two methods of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MethodId(pub u64);

impl MethodId {
    /// The number of `method` in `service`.
    pub const fn new(service: &str, method: &str) -> Self {
        Self(
            Fnv::new()
                .write(service.as_bytes())
                .write(b".")
                .write(method.as_bytes())
                .0,
        )
    }
}

/// A call as the server stub receives it: the method is known and its shape agreed, the arguments
/// are still bytes.
pub struct Request {
    pub(crate) method: &'static Method,
    pub(crate) codec: CodecId,
    pub(crate) budget: Budget,
    pub(crate) reply_limit: usize,
    pub(crate) payload: Payload,
}

impl Request {
    /// The method that is called.
    pub fn method(&self) -> &'static Method {
        self.method
    }

    /// The encoded arguments.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Decodes the arguments, which may borrow from the request.
    #[inline]
    pub(crate) fn decode<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Reply> {
        let tail = self.payload.parts();
        let bytes = tail.map_or_else(|| &*self.payload, Split::head);
        self.codec
            .decode_arguments(bytes, tail, &self.budget)
            .map_err(|error| Reply::Failure(error.with_executed(Executed::No)))
    }
}

impl Reply {
    pub(crate) fn unimplemented(method: &Method) -> Self {
        Self::Failure(
            Error::new(Code::Unimplemented, "the server does not offer this method")
                .with_method(method.service, method.name)
                .with_executed(Executed::No),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_ids_are_the_published_hash() {
        assert_eq!(
            MethodId::new("foo", "bar").0,
            Fnv::new().write(b"foo.bar").0
        );
    }
}
