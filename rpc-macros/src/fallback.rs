//! What a faulty trait expands to: its errors, and beside them something of every name that the
//! trait was to have, so that the rest of the program shows no errors of their making.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::Item;

use crate::ast::Service;
use crate::errors::Errors;
use crate::{expand, valid};

/// The errors, the trait, and the parts that are right.
pub(crate) fn expand(service: &Service<'_>, errors: Errors) -> TokenStream {
    let errors = errors.into_tokens();
    if service.is_complete() {
        let complete = expand::complete(service);
        return quote!(#errors #complete);
    }
    let contract = if valid::below_async_trait(service.original) {
        expand::as_written(service)
    } else {
        expand::contract(service)
    };
    let partial = expand::partial(service);
    quote!(#errors #[allow(async_fn_in_trait)] #contract #partial)
}

/// The errors beside an item that is no trait.
pub(crate) fn untouched(item: &TokenStream, errors: Errors) -> TokenStream {
    let errors = errors.into_tokens();
    quote!(#errors #item)
}

/// The word that says what an item is.
pub(crate) fn keyword(item: &Item) -> TokenStream {
    match item {
        Item::Struct(item) => item.struct_token.to_token_stream(),
        Item::Enum(item) => item.enum_token.to_token_stream(),
        Item::Fn(item) => item.sig.fn_token.to_token_stream(),
        Item::Impl(item) => item.impl_token.to_token_stream(),
        Item::Mod(item) => item.mod_token.to_token_stream(),
        Item::Union(item) => item.union_token.to_token_stream(),
        Item::Type(item) => item.type_token.to_token_stream(),
        _ => syn::Ident::new("service", Span::call_site()).to_token_stream(),
    }
}
