//! The `#[service]` attribute of rpc-core: a trait becomes a client stub and a server stub.
//!
//! The stages, one module each: `attr` reads the attributes, `ast` turns the trait into our own
//! nouns, `valid` refuses what cannot be served, `expand` generates the code. A faulty trait
//! takes the way through `fallback`, so that one mistake gives one error.

mod ast;
mod attr;
mod errors;
mod expand;
mod fallback;
mod names;
mod valid;

#[cfg(test)]
mod tests;

use proc_macro::TokenStream;

/// Turns a trait into a service: the trait itself, and for a `trait Calculator` a
/// `CalculatorClient`, a `CalculatorServer` and a `DynCalculator`.
///
/// ```ignore
/// /// Integer and real arithmetic.
/// #[service]
/// pub trait Calculator {
///     /// Adds two numbers.
///     async fn add(&self, a: i64, b: i64) -> i64;
///     async fn divide(&self, a: f64, b: f64) -> Result<f64, MathError>;
///     #[rpc(idempotent)]
///     async fn constant(&self, name: &str) -> Option<f64>;
/// }
/// ```
///
/// The trait is implemented with plain `async fn`s. It requires `Send + Sync + 'static` of the
/// implementation, and `Send` of the futures.
///
/// **On the trait**: `#[service(name = "math.Calculator", version = "1.2.0", crate = "path")]`.
/// The name defaults to that of the trait, the version to `1.0.0`, the crate to `::rpc_core`.
///
/// **On a method**: `#[rpc(name = "add", idempotent)]`. The name is the one on the wire and on
/// the wire only, unless the method's own name is taken on the client. An idempotent method may
/// be run twice for one call, so it may be retried.
///
/// **Arguments** are at most 16 and need `Serialize` and `Deserialize`. They may borrow: `&str`,
/// `&[u8]` and `Option<&str>` are read from the request where they lie; `&T`, `Cow<'_, str>` and
/// whatever else serde reads into a value of its own is decoded and lent. **Returns** are owned; a
/// `Result` is recognised as such and must be written as one.
///
/// **Bytes** move as a block where the argument is `&[u8]`, `Vec<u8>` or `Bytes`, or the method returns one
/// of the last two or a `Result` of it. Inside of anything else, such as an `Option` or a struct, serde
/// takes a `Vec<u8>` for a list of numbers, one by one: say `Bytes` there; on a field of a struct
/// `#[serde(with = "serde_bytes")]` does, too.
///
/// **Attributes of serde** hold, but for those that need names on the wire: `untagged`, `tag`, `flatten` and
/// `skip_serializing_if` of a named field are refused with an error. A field with `skip` is left out on both
/// sides. What serde does on one side and not on the other cannot be noticed: never say
/// `skip_serializing` or `skip_deserializing` alone, `skip_serializing_if` on a field without a name, or
/// `skip` on a variant before others.
///
/// **Changes**: a method whose types have changed on the wire (a field or variant that is new, gone,
/// renamed or elsewhere, or another type) is refused for callers of the old ones (`Code::Skew`, not
/// executed), and the others go on. So add methods beside those in use, and let clients choose a range of
/// versions.
///
/// With `#[async_trait]` below `#[service]` the trait keeps the boxed shape, and can be served as
/// an `Arc<dyn Calculator>`.
#[proc_macro_attribute]
pub fn service(attr: TokenStream, item: TokenStream) -> TokenStream {
    expand::service(attr.into(), item.into()).into()
}
