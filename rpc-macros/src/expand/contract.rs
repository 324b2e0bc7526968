//! The trait itself, as users implement it.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{FnArg, ItemTrait, Pat, ReturnType, TraitItem, TraitItemFn, Type, TypeParamBound};

use crate::ast::Service;
use crate::attr::RpcAttr;

/// The trait with the bounds that every service has.
///
/// ```text
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
/// ```
///
/// With `#[async_trait]` the functions stay as they are, and the attribute boxes them.
pub(crate) fn contract(service: &Service<'_>) -> TokenStream {
    let mut emitted = with_supertraits(service.original);
    let mut methods = service.methods.iter();
    emitted.items.retain_mut(|item| {
        let TraitItem::Fn(function) = item else {
            return true;
        };
        let Some(method) = methods.next() else {
            return true;
        };
        function
            .attrs
            .retain(|attr| !RpcAttr::is(attr) && !RpcAttr::is_within(attr));
        if !method.sound {
            declarable(function);
        } else if service.async_trait.is_none() {
            *item = TraitItem::Verbatim(send_fn(function));
        }
        !method.repeated
    });
    emitted.into_token_stream()
}

/// Takes from a faulty function what the compiler would refuse a second time.
fn declarable(function: &mut TraitItemFn) {
    function.sig.constness = None;
    function.sig.variadic = None;
    function.modifiers.defaultness = None;
    Inferred.visit_signature_mut(&mut function.sig);
    if function.default.is_some() {
        return;
    }
    for input in &mut function.sig.inputs {
        let FnArg::Typed(argument) = input else {
            continue;
        };
        argument.attrs.clear();
        match &mut *argument.pat {
            Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => {
                pattern.mutability = None;
            }
            pattern => *pattern = syn::parse_quote!(_),
        }
    }
}

/// Puts a type where `_` asks for inference.
struct Inferred;

impl VisitMut for Inferred {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        if matches!(ty, Type::Infer(_)) {
            *ty = syn::parse_quote!(());
        }
        visit_mut::visit_type_mut(self, ty);
    }
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
    let (place, output) = match &sig.output {
        ReturnType::Default => (ident.span(), quote!(())),
        ReturnType::Type(_, ty) => (ty.span(), quote!(#ty)),
    };
    // Whatever the compiler has to say about the future, it says at the return type.
    let span = Span::call_site().located_at(place);
    let future = quote_spanned! {span=>
        -> impl ::core::future::Future<Output = #output> + ::core::marker::Send
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
        #fn_token #ident(#inputs) #future #body
    }
}
