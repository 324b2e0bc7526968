//! The names that generated code takes: those that users see, and the mangled ones they do not.

use proc_macro2::{Ident, Span};
use syn::Lifetime;
use syn::ext::IdentExt;

/// What the client has besides the methods of the trait, for good: anything that is added later
/// hangs on `channel()` or stands in a type of rpc-core.
pub(crate) const RESERVED: [&str; 7] = [
    "new",
    "connect",
    "connect_lazy",
    "discover",
    "with_deadline",
    "channel",
    "clone",
];

/// What travels and what people read: `r#type` is `type` there.
pub(crate) fn plain(ident: &Ident) -> String {
    ident.unraw().to_string()
}

/// `CalculatorClient`.
pub(crate) fn client(service: &Ident) -> Ident {
    around("", service, "Client")
}

/// `CalculatorServer`.
pub(crate) fn server(service: &Ident) -> Ident {
    around("", service, "Server")
}

/// `DynCalculator`.
pub(crate) fn twin(service: &Ident) -> Ident {
    around("Dyn", service, "")
}

/// The object-safe trait inside [`twin`].
pub(crate) fn object(service: &Ident) -> Ident {
    around("__RpcDyn", service, "")
}

/// The static that describes the service.
pub(crate) fn descriptor() -> Ident {
    Ident::new("__RPC_SERVICE", Span::call_site())
}

/// The static that describes a method.
pub(crate) fn method(method: &Ident) -> Ident {
    around("__RPC_METHOD_", method, "")
}

/// The constant that a server matches calls of a method against.
pub(crate) fn id(method: &Ident) -> Ident {
    around("__RPC_ID_", method, "")
}

/// A method of [`object`], named apart so that it never competes with the trait's own.
pub(crate) fn boxed(method: &Ident) -> Ident {
    around("__rpc_", method, "")
}

/// A name made of the user's name, at the place of the user's name.
fn around(before: &str, ident: &Ident, after: &str) -> Ident {
    Ident::new(&format!("{before}{}{after}", plain(ident)), ident.span())
}

/// The type parameter of impls that also mention types of the user, who may have an `S` himself.
pub(crate) fn implementation() -> Ident {
    Ident::new("__RpcImplementation", Span::call_site())
}

/// The lifetime of a boxed call, and with a number those of its arguments.
pub(crate) fn lifetime(number: Option<usize>) -> Lifetime {
    let number = number.map_or_else(String::new, |number| number.to_string());
    Lifetime::new(&format!("'__rpc{number}"), Span::call_site())
}

/// A local variable of generated code. Its span keeps it apart from all names of the user.
pub(crate) fn local(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}
