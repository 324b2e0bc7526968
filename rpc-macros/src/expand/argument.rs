//! One argument on its way: what the client encodes, what the server decodes, and what it then
//! hands to the method.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::Context;
use crate::ast::{Argument, Kind};

/// What the client encodes.
///
/// Input:
///     text: &str
///
/// Output:
///     Wire::<&str>::pass(&text)
pub(crate) fn outgoing(argument: &Argument<'_>, context: &Context<'_>) -> TokenStream {
    let wire = wire(argument, context);
    let (name, ty) = (&argument.name, argument.ty());
    quote!(#wire::<#ty>::pass(&#name))
}

/// A statement that turns what was decoded into the argument; both are called `local`.
///
/// Input:                  Output:
///     a: i64                  let a = Wire::<i64>::take(a);
///     text: &str              let a = Lent::<str>::lend(&a);
///     data: &[u8]             let a = Wire::<&[u8]>::take(a);
///     pair: &(&str, u8)       let a = &Wire::<(&str, u8)>::take(a);
pub(crate) fn incoming(
    argument: &Argument<'_>,
    local: &Ident,
    context: &Context<'_>,
) -> TokenStream {
    let private = &context.private;
    let wire = wire(argument, context);
    let ty = argument.ty();
    match &argument.kind {
        Kind::Owned | Kind::Bytes(_) => quote!(let #local = #wire::<#ty>::take(#local);),
        Kind::Lent(referent) => quote!(let #local = #private::Lent::<#referent>::lend(&#local);),
        Kind::Borrowed(held) => quote!(let #local = &#wire::<#held>::take(#local);),
    }
}

/// The struct that knows how values of the type are held, as a path of the private module.
///
/// Input:
///     i64
///
/// Output:
///     Wire::<i64>
pub(crate) fn holder(argument: &Argument<'_>, context: &Context<'_>) -> TokenStream {
    let private = &context.private;
    let wire = wire(argument, context);
    let ty = argument.ty();
    match &argument.kind {
        Kind::Owned => quote!(#wire::<#ty>),
        Kind::Lent(referent) | Kind::Bytes(referent) => quote!(#private::Lent::<#referent>),
        Kind::Borrowed(held) => quote!(#wire::<#held>),
    }
}

/// The wrapper between a value and serde. This is the one place to choose another for types whose
/// spelling promises that they can move as a block, such as `Vec<u8>`: a promise about speed, which
/// the wrapper must not take for the meaning of the type.
fn wire(_: &Argument<'_>, context: &Context<'_>) -> TokenStream {
    let private = &context.private;
    quote!(#private::Wire)
}
