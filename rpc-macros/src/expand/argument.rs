//! One argument on its way: what the client encodes, what the server decodes, and what it then
//! hands to the method.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{GenericArgument, PathArguments, Type};

use super::Context;
use crate::ast::{Argument, Kind, is_path, peel};

/// What is encoded for the argument, which is called `name`.
///
/// ```text
/// Input:                  Output:
///     text: &str              Wire::<&str>::pass(&text)
///     data: Vec<u8>           Block::<Vec<u8>>::pass(&data)
///     data: &[u8]             Block::<[u8]>::pass(data)
/// ```
pub(crate) fn outgoing(
    argument: &Argument<'_>,
    name: &Ident,
    context: &Context<'_>,
) -> TokenStream {
    let wire = wire(argument, context);
    let ty = argument.ty();
    match &argument.kind {
        Kind::Bytes(referent) => quote!(#wire::<#referent>::pass(#name)),
        _ => quote!(#wire::<#ty>::pass(&#name)),
    }
}

/// A statement that takes the last argument of a method apart, where it may be large bytes: what is
/// encoded keeps the `name`, and the rest is called `tail`.
///
/// ```text
/// Input:                  Output:
///     data: Vec<u8>           let (data, tail) = Block::<Vec<u8>>::part(data);
/// ```
pub(crate) fn parted(
    argument: &Argument<'_>,
    name: &Ident,
    tail: &Ident,
    context: &Context<'_>,
) -> Option<TokenStream> {
    let ty = argument.ty();
    let private = &context.private;
    let whole = matches!(argument.kind, Kind::Owned) && is_block(ty);
    whole.then(|| quote!(let (#name, #tail) = #private::Block::<#ty>::part(#name);))
}

/// A statement that turns what was decoded into the argument; both are called `local`.
///
/// ```text
/// Input:                  Output:
///     a: i64                  let a = Wire::<i64>::take(a);
///     text: &str              let a = Lent::<str>::lend(&a);
///     data: &[u8]             let a = Wire::<&[u8]>::take(a);
///     pair: &(&str, u8)       let a = &Wire::<(&str, u8)>::take(a);
/// ```
pub(crate) fn incoming(
    argument: &Argument<'_>,
    local: &Ident,
    context: &Context<'_>,
) -> TokenStream {
    let private = &context.private;
    let wire = wire(argument, context);
    let ty = argument.ty();
    match &argument.kind {
        Kind::Owned => quote!(let #local = #wire::<#ty>::take(#local);),
        // serde reads a slice of bytes where it lies; that is a block already.
        Kind::Bytes(_) => quote!(let #local = #private::Wire::<#ty>::take(#local);),
        Kind::Lent(referent) => quote!(let #local = #private::Lent::<#referent>::lend(&#local);),
        Kind::Borrowed(held) => quote!(let #local = &#wire::<#held>::take(#local);),
    }
}

/// The struct that knows how values of the type are held, as a path of the private module.
///
/// ```text
/// Input:
///     i64
///
/// Output:
///     Wire::<i64>
/// ```
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

/// The wrapper between a value and serde: `Block` for types whose spelling promises that they can
/// move as a block. It is a promise about speed; what `Block` does for a type of another meaning is
/// what `Wire` does.
fn wire(argument: &Argument<'_>, context: &Context<'_>) -> TokenStream {
    let private = &context.private;
    let block = matches!(argument.kind, Kind::Bytes(_)) || is_block(argument.ty());
    if block {
        quote!(#private::Block)
    } else {
        quote!(#private::Wire)
    }
}

/// Whether the type is spelled like one that is bytes and nothing else: `Vec<u8>` or `Bytes`.
fn is_block(ty: &Type) -> bool {
    let Type::Path(path) = peel(ty) else {
        return false;
    };
    let Some(last) = path.path.segments.last() else {
        return false;
    };
    match &last.arguments {
        PathArguments::None => last.ident == "Bytes",
        PathArguments::AngleBracketed(arguments) if last.ident == "Vec" => {
            matches!(arguments.args.first(), Some(GenericArgument::Type(ty)) if is_path(ty, "u8"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_recognised_by_their_spelling() {
        for yes in [
            "Vec<u8>",
            "std::vec::Vec<u8>",
            "Bytes",
            "bytes::Bytes",
            "(Vec<u8>)",
        ] {
            assert!(is_block(&syn::parse_str(yes).unwrap()), "{yes}");
        }
        for no in [
            "Vec<i8>",
            "Option<Vec<u8>>",
            "Bytes<u8>",
            "VecDeque<u8>",
            "&[u8]",
            "[u8; 4]",
        ] {
            assert!(!is_block(&syn::parse_str(no).unwrap()), "{no}");
        }
    }
}
