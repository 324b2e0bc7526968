//! The code of a service, part by part.
//!
//! ```text
//! Input:
//!     #[service]
//!     trait Calculator { async fn add(&self, a: i64, b: i64) -> i64; }
//!
//! Output:
//!     trait Calculator: Send + Sync + 'static { .. }      contract
//!     struct CalculatorClient { .. }                      client
//!     struct CalculatorServer<S> { .. }                   server
//!     struct DynCalculator { .. }                         twin
//!     const _: () = {
//!         static .. : Method, Descriptor                  descriptor
//!         impl CalculatorClient { .. }
//!         impl Service for CalculatorServer<..> { .. }
//!     };
//! ```
//!
//! The nameless constant is the one place that can hold items without taking a name from the user,
//! and unlike a `mod` it also sees what stands beside a trait inside a function body.

mod argument;
mod client;
mod contract;
mod descriptor;
mod recode;
mod server;
mod twin;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, Item, Path, Type, Visibility};

use crate::ast::Service;
use crate::attr::{self, ServiceAttr};
use crate::errors::Errors;
use crate::{fallback, valid};

pub(crate) use contract::{as_written, contract};

/// The whole attribute: from the tokens that the compiler hands over to those that it gets back.
pub(crate) fn service(attr: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let attr = ServiceAttr::parse(attr, &mut errors);
    let original = match syn::parse2(item.clone()) {
        Ok(Item::Trait(original)) => original,
        Ok(other) => {
            errors.at(
                fallback::keyword(&other),
                "`#[service]` stands above a trait, and this is none: move it to the trait that says what can be called",
            );
            return fallback::untouched(&item, errors);
        }
        Err(error) => {
            errors.push(error);
            return fallback::untouched(&item, errors);
        }
    };
    let mut service = Service::from_syn(&original, attr, &mut errors);
    valid::check(&mut service, &mut errors);
    if errors.count() > 0 {
        return fallback::expand(&service, errors);
    }
    complete(&service)
}

/// All the code of a service.
pub(crate) fn complete(service: &Service<'_>) -> TokenStream {
    let context = Context::new(service);
    let contract = contract(service);
    let client = client::item(&context);
    let server = server::item(&context);
    let twin = twin::items(&context);
    let parts = [
        descriptor::items(&context),
        client::methods(&context),
        server::service(&context),
        twin::implementation(&context),
    ];
    let hidden = hidden(&context, &parts);
    quote!(#contract #client #server #twin #hidden)
}

/// The code beside a trait that has mistakes: everything has its name, and what is right works.
pub(crate) fn partial(service: &Service<'_>) -> TokenStream {
    let context = Context::new(service);
    let client = client::item(&context);
    let server = server::item(&context);
    let twin = twin::stub(&context);
    let parts = [
        descriptor::items(&context),
        client::methods(&context),
        server::stub(&context),
    ];
    let hidden = hidden(&context, &parts);
    quote!(#client #server #twin #hidden)
}

/// What all generators look up.
struct Context<'a> {
    service: &'a Service<'a>,
    /// The path of rpc-core.
    krate: Path,
    /// `#krate::private`.
    private: TokenStream,
    /// The visibility of the trait, which everything beside it shares.
    vis: &'a Visibility,
    /// The `#[cfg]`s of the trait, which everything beside it shares.
    conditions: Vec<Attribute>,
}

impl<'a> Context<'a> {
    fn new(service: &'a Service<'a>) -> Self {
        let krate = service
            .attr
            .krate
            .clone()
            .unwrap_or_else(|| syn::parse_quote!(::rpc_core));
        Self {
            service,
            private: quote!(#krate::private),
            krate,
            vis: &service.original.vis,
            conditions: attr::conditions(&service.original.attrs),
        }
    }
}

/// The nameless constant that holds the impls and their statics.
fn hidden(context: &Context<'_>, parts: &[TokenStream]) -> TokenStream {
    let Context {
        private,
        conditions,
        ..
    } = context;
    quote! {
        #(#conditions)*
        #[doc(hidden)]
        #[allow(
            deprecated,
            elided_lifetimes_in_paths,
            non_upper_case_globals,
            unused_imports,
            unused_qualifications,
            clippy::all,
            clippy::pedantic,
            clippy::nursery
        )]
        const _: () = {
            use #private::Missing as _;
            use #private::NotResult as _;
            #(#parts)*
        };
    }
}

/// A `#[doc]` attribute.
fn doc(text: impl AsRef<str>) -> TokenStream {
    let text = text.as_ref();
    quote!(#[doc = #text]).into_token_stream()
}

/// The two types of a `Result` that is written with one. The projections lie over the type in the
/// user's code, so that an error about them points there.
///
/// ```text
/// Input:
///     io::Result<u8>
///
/// Output:
///     <io::Result<u8> as ResultType<{ IsResult::<io::Result<u8>>::ANSWER }>>::Ok
///     <io::Result<u8> as ResultType<{ IsResult::<io::Result<u8>>::ANSWER }>>::Err
/// ```
fn result_types(whole: &Type, context: &Context<'_>) -> (TokenStream, TokenStream) {
    let private = &context.private;
    let mut tokens = whole.to_token_stream().into_iter();
    let start = tokens
        .next()
        .map_or_else(Span::call_site, |token| token.span());
    let end = tokens.last().map_or(start, |token| token.span());
    let open = quote_spanned!(start=> <);
    let is_result = quote!({ #private::IsResult::<#whole>::ANSWER });
    let [ok, err] = ["Ok", "Err"].map(|name| {
        let name = Ident::new(name, end);
        quote!(#open #whole as #private::ResultType<#is_result>>::#name)
    });
    (ok, err)
}
