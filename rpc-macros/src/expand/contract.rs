//! The trait itself, as users implement it.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{ItemTrait, ReturnType, TraitItem, TraitItemFn, TypeParamBound};

use crate::ast::Service;
use crate::attr::RpcAttr;

/// The trait with the bounds that every service has.
///
/// Input:
///     trait Calculator {
///         async fn add(&self, a: i64, b: i64) -> i64;
///         async fn twice(&self, a: i64) -> i64 { self.add(a, a).await }
///     }
///
/// Output:
///     trait Calculator: Send + Sync + 'static {
///         fn add(&self, a: i64, b: i64) -> impl Future<Output = i64> + Send;
///         fn twice(&self, a: i64) -> impl Future<Output = i64> + Send {
///             async move { self.add(a, a).await }
///         }
///     }
///
/// With `#[async_trait]` the functions stay as they are, and the attribute boxes them.
pub(crate) fn contract(service: &Service<'_>) -> TokenStream {
    let mut emitted = with_supertraits(service.original);
    let mut sound = service.methods.iter().map(|method| method.sound);
    for item in &mut emitted.items {
        let TraitItem::Fn(function) = item else {
            continue;
        };
        function.attrs.retain(|attr| !RpcAttr::is(attr));
        if sound.next().unwrap_or(false) && service.async_trait.is_none() {
            *item = TraitItem::Verbatim(send_fn(function));
        }
    }
    emitted.into_token_stream()
}

/// The trait as it was written, for one that another attribute has transformed already.
pub(crate) fn as_written(service: &Service<'_>) -> TokenStream {
    let mut emitted = service.original.clone();
    for item in &mut emitted.items {
        if let TraitItem::Fn(function) = item {
            function.attrs.retain(|attr| !RpcAttr::is(attr));
        }
    }
    emitted.into_token_stream()
}

fn with_supertraits(original: &ItemTrait) -> ItemTrait {
    let mut emitted = original.clone();
    let written: Vec<String> = original
        .supertraits
        .iter()
        .map(|bound| bound.to_token_stream().to_string())
        .collect();
    let own: [(&str, TypeParamBound); 3] = [
        ("Send", syn::parse_quote!(::core::marker::Send)),
        ("Sync", syn::parse_quote!(::core::marker::Sync)),
        ("'static", syn::parse_quote!('static)),
    ];
    for (name, bound) in own {
        if !written.iter().any(|written| written.ends_with(name)) {
            emitted.supertraits.push(bound);
        }
    }
    emitted.colon_token.get_or_insert_with(Default::default);
    emitted
}

/// An `async fn` as a function that returns a future which may move between threads.
fn send_fn(function: &TraitItemFn) -> TokenStream {
    let TraitItemFn {
        attrs,
        sig,
        default,
        ..
    } = function;
    let (fn_token, ident, inputs) = (sig.fn_token, &sig.ident, &sig.inputs);
    let output = match &sig.output {
        ReturnType::Default => quote!(()),
        ReturnType::Type(_, ty) => quote!(#ty),
    };
    let (allow, body) = match default {
        None => (None, quote!(;)),
        Some(body) => (
            Some(quote!(#[allow(clippy::manual_async_fn)])),
            quote!({ async move #body }),
        ),
    };
    quote! {
        #(#attrs)*
        #allow
        #fn_token #ident(#inputs)
            -> impl ::core::future::Future<Output = #output> + ::core::marker::Send
        #body
    }
}
