//! The twin: one type that can hold any implementation of the trait.
//!
//! It is a struct and not a second trait, because two traits with the same methods would make every
//! call on an implementation ambiguous.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::visit_mut::{self, VisitMut};
use syn::{Lifetime, TypeReference};

use super::{Context, doc};
use crate::ast::{Argument, Method};
use crate::{attr, names};

/// The struct and, where the trait itself is not object-safe, a trait that is.
///
/// ```text
/// Input:
///     trait Calculator { async fn parse(&self, text: &str) -> f64; }
///
/// Output:
///     #[derive(Clone)]
///     struct DynCalculator { service: Arc<dyn __RpcDynCalculator> }
///     trait __RpcDynCalculator: Send + Sync + 'static {
///         fn __rpc_parse<'r, 'r0>(&'r self, text: &'r0 str)
///             -> Pin<Box<dyn Future<Output = f64> + Send + 'r>> where 'r0: 'r;
///     }
/// ```
pub(crate) fn items(context: &Context<'_>) -> TokenStream {
    let Context {
        service,
        conditions,
        ..
    } = context;
    if service.async_trait.is_some() {
        return item(context, &service.ident().to_token_stream());
    }
    let object = names::object(service.ident());
    let methods = service.sound_methods().map(|method| {
        let conditions = attr::conditions(&method.original.attrs);
        let signature = boxed_signature(method);
        quote!(#(#conditions)* #signature;)
    });
    let item = item(context, &object.to_token_stream());
    quote! {
        #item

        #(#conditions)*
        #[doc(hidden)]
        #[allow(clippy::all, clippy::pedantic)]
        trait #object: ::core::marker::Send + ::core::marker::Sync + 'static {
            #(#methods)*
        }
    }
}

fn item(context: &Context<'_>, object: &TokenStream) -> TokenStream {
    let Context {
        service,
        vis,
        conditions,
        ..
    } = context;
    let ident = names::twin(service.ident());
    let name = names::plain(service.ident());
    let summary = doc(format!(
        "Any [`{name}`], as one type: for fields and collections that hold implementations of \
         different types. A call costs one more allocation."
    ));
    quote! {
        #(#conditions)*
        #summary
        #[derive(::core::clone::Clone)]
        #vis struct #ident {
            service: ::std::sync::Arc<dyn #object>,
        }
    }
}

/// The twin of a trait whose mistakes stand beside it as errors.
pub(crate) fn stub(context: &Context<'_>) -> TokenStream {
    let Context {
        service,
        vis,
        conditions,
        ..
    } = context;
    let ident = names::twin(service.ident());
    let debug = debug(context);
    quote! {
        #(#conditions)*
        #[doc(hidden)]
        #[derive(::core::clone::Clone)]
        #vis struct #ident {}

        #(#conditions)*
        #[doc(hidden)]
        #[automatically_derived]
        impl #ident {
            #vis fn new<S>(_: S) -> Self {
                Self {}
            }
        }

        #(#conditions)*
        #debug
    }
}

/// The ways in and out of the twin: every implementation is an object, and the twin, which holds
/// one, is an implementation.
///
/// ```text
/// Input:
///     async fn parse(&self, text: &str) -> f64;
///
/// Output:
///     impl<S: Calculator> __RpcDynCalculator for S {
///         fn __rpc_parse<'r, 'r0>(..) -> .. where 'r0: 'r {
///             Box::pin(<S as Calculator>::parse(self, text))
///         }
///     }
///     impl Calculator for DynCalculator {
///         async fn parse(&self, text: &str) -> f64 { self.service.__rpc_parse(text).await }
///     }
/// ```
pub(crate) fn implementation(context: &Context<'_>) -> TokenStream {
    let Context { service, vis, .. } = context;
    let (ident, contract) = (names::twin(service.ident()), service.ident());
    let debug = debug(context);
    let async_trait = service.async_trait;
    let forwards = service
        .sound_methods()
        .map(|method| forward(method, context));
    let object = async_trait.is_none().then(|| object_impl(context));
    quote! {
        #[automatically_derived]
        impl #ident {
            /// Forgets which implementation `service` is.
            #[must_use]
            #vis fn new(service: impl #contract) -> Self {
                Self { service: ::std::sync::Arc::new(service) }
            }
        }

        #object

        #async_trait
        #[automatically_derived]
        impl #contract for #ident {
            #(#forwards)*
        }

        #debug
    }
}

fn object_impl(context: &Context<'_>) -> TokenStream {
    let service = context.service;
    let (contract, object) = (service.ident(), names::object(service.ident()));
    let implementation = names::implementation();
    let methods = service.sound_methods().map(|method| {
        let conditions = attr::conditions(&method.original.attrs);
        let signature = boxed_signature(method);
        let ident = method.ident();
        let arguments = method.arguments.iter().map(|argument| &argument.name);
        quote! {
            #(#conditions)*
            #signature {
                ::std::boxed::Box::pin(
                    <#implementation as #contract>::#ident(self, #(#arguments),*)
                )
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl<#implementation: #contract> #object for #implementation {
            #(#methods)*
        }
    }
}

/// A method of the twin. The box is awaited in here, because its lifetime is the shortest of
/// several and has no name that a signature could say.
fn forward(method: &Method<'_>, context: &Context<'_>) -> TokenStream {
    let conditions = attr::conditions(&method.original.attrs);
    let ident = method.ident();
    let parameters = method.arguments.iter().map(|argument| {
        let (name, ty) = (&argument.name, argument.ty());
        quote!(#name: #ty)
    });
    let output = method.returns.ty();
    let arguments = method.arguments.iter().map(|argument| &argument.name);
    let call = match context.service.async_trait {
        Some(_) => {
            let contract = context.service.ident();
            quote!(<dyn #contract as #contract>::#ident(&*self.service, #(#arguments),*))
        }
        None => {
            let object = names::object(context.service.ident());
            let boxed = names::boxed(ident);
            quote!(<dyn #object as #object>::#boxed(&*self.service, #(#arguments),*))
        }
    };
    quote! {
        #(#conditions)*
        async fn #ident(&self, #(#parameters),*) -> #output {
            #call.await
        }
    }
}

/// The signature of a method that boxes its future. Every elided lifetime gets a name, so that the
/// future can be said to outlive none of them.
fn boxed_signature(method: &Method<'_>) -> TokenStream {
    let call = names::lifetime(None);
    let mut namer = Namer { names: Vec::new() };
    let parameters: Vec<_> = method
        .arguments
        .iter()
        .map(|Argument { name, original, .. }| {
            let mut ty = (*original.ty).clone();
            namer.visit_type_mut(&mut ty);
            quote!(#name: #ty)
        })
        .collect();
    let borrowed = namer.names;
    let ident = names::boxed(method.ident());
    let output = method.returns.ty();
    quote! {
        fn #ident<#call, #(#borrowed),*>(&#call self, #(#parameters),*)
            -> ::core::pin::Pin<::std::boxed::Box<
                dyn ::core::future::Future<Output = #output> + ::core::marker::Send + #call
            >>
        where
            #(#borrowed: #call),*
    }
}

/// Names the elided lifetimes of a type, one after another.
struct Namer {
    names: Vec<Lifetime>,
}

impl Namer {
    fn next(&mut self) -> Lifetime {
        let name = names::lifetime(Some(self.names.len()));
        self.names.push(name.clone());
        name
    }
}

impl VisitMut for Namer {
    fn visit_type_reference_mut(&mut self, reference: &mut TypeReference) {
        if reference.lifetime.is_none() {
            reference.lifetime = Some(self.next());
        }
        visit_mut::visit_type_reference_mut(self, reference);
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        if lifetime.ident == "_" {
            *lifetime = self.next();
        }
    }
}

fn debug(context: &Context<'_>) -> TokenStream {
    let ident = names::twin(context.service.ident());
    let text = ident.to_string();
    quote! {
        #[automatically_derived]
        impl ::core::fmt::Debug for #ident {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#text).finish_non_exhaustive()
            }
        }
    }
}
