//! The server stub.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{Context, argument, doc};
use crate::ast::{Method, Returns};
use crate::{attr, names};

/// The struct, which shares the user's service among the calls in progress.
///
/// ```text
/// Input:
///     trait Calculator { .. }
///
/// Output:
///     struct CalculatorServer<S: ?Sized> { service: Arc<S> }
/// ```
pub(crate) fn item(context: &Context<'_>) -> TokenStream {
    let Context {
        service,
        vis,
        conditions,
        ..
    } = context;
    let ident = names::server(service.ident());
    let name = names::plain(service.ident());
    let summary = doc(format!(
        "Offers a [`{name}`] to a server. Clones share the service."
    ));
    quote! {
        #(#conditions)*
        #summary
        #vis struct #ident<S: ?::core::marker::Sized> {
            service: ::std::sync::Arc<S>,
        }

        #(#conditions)*
        #[automatically_derived]
        impl<S> #ident<S> {
            /// Offers `service`.
            #[must_use]
            #vis fn new(service: S) -> Self {
                Self { service: ::std::sync::Arc::new(service) }
            }
        }

        #(#conditions)*
        #[automatically_derived]
        impl<S: ?::core::marker::Sized> #ident<S> {
            /// Offers a service that others hold too.
            #[must_use]
            #vis fn from_arc(service: ::std::sync::Arc<S>) -> Self {
                Self { service }
            }
        }

        #(#conditions)*
        #[automatically_derived]
        impl<S: ?::core::marker::Sized> ::core::clone::Clone for #ident<S> {
            fn clone(&self) -> Self {
                Self { service: ::std::sync::Arc::clone(&self.service) }
            }
        }
    }
}

/// The service behind the struct: one function that runs any call.
///
/// ```text
/// Input:
///     async fn add(&self, a: i64, b: i64) -> i64;
///
/// Output:
///     impl<S: Calculator + ?Sized> Service for CalculatorServer<S> {
///         fn descriptor(&self) -> &'static Descriptor { &__RPC_SERVICE }
///         fn call(&self, request: Request) -> BoxFuture<Reply> {
///             call_in(self.slot(), request)
///         }
///         fn slot(&self) -> Option<BoxSlot> {
///             Some(slot(Arc::clone(&self.service), |service, mut call| async move {
///                 let (request, answer) = call.parts();
///                 let run = async {
///                     match request.method().id {
///                         __RPC_ID_add => { .. }
///                         _ => answer.put(unimplemented(request)),
///                     }
///                 };
///                 run.await;
///                 (call, service)
///             }))
///         }
///     }
/// ```
pub(crate) fn service(context: &Context<'_>) -> TokenStream {
    let Context {
        service,
        krate,
        private,
        ..
    } = context;
    let (ident, contract) = (names::server(service.ident()), service.ident());
    let (implementation, descriptor) = (names::implementation(), names::descriptor());
    let [local, call, request, answer, run] =
        ["service", "call", "request", "answer", "run"].map(names::local);
    let arms = service.sound_methods().map(|method| arm(method, context));
    let debug = debug(context);
    quote! {
        #[automatically_derived]
        impl<#implementation> #krate::Service for #ident<#implementation>
        where
            #implementation: #contract + ?::core::marker::Sized,
        {
            fn descriptor(&self) -> &'static #private::Descriptor {
                &#descriptor
            }

            fn call(&self, request: #private::Request) -> #private::BoxFuture<#private::Reply> {
                #private::call_in(#krate::Service::slot(self), request)
            }

            fn slot(&self) -> ::core::option::Option<#private::BoxSlot> {
                let #local = ::std::sync::Arc::clone(&self.service);
                ::core::option::Option::Some(#private::slot(
                    #local,
                    |
                        #local: ::std::sync::Arc<#implementation>,
                        mut #call: ::std::boxed::Box<#private::Exchange>,
                    | async move {
                        let (#request, #answer) = #call.parts();
                        let #run = async {
                            match #request.method().id {
                                #(#arms)*
                                _ => #answer.put(#private::unimplemented(#request)),
                            }
                        };
                        #run.await;
                        (#call, #local)
                    },
                ))
            }
        }

        #debug
    }
}

/// A service that has no methods, for a trait whose mistakes stand beside it as errors.
pub(crate) fn stub(context: &Context<'_>) -> TokenStream {
    let Context {
        service,
        krate,
        private,
        ..
    } = context;
    let ident = names::server(service.ident());
    let (implementation, descriptor) = (names::implementation(), names::descriptor());
    let debug = debug(context);
    quote! {
        #[automatically_derived]
        impl<#implementation> #krate::Service for #ident<#implementation>
        where
            #implementation: ::core::marker::Send + ::core::marker::Sync + ?::core::marker::Sized
                + 'static,
        {
            fn descriptor(&self) -> &'static #private::Descriptor {
                &#descriptor
            }

            fn call(&self, request: #private::Request) -> #private::BoxFuture<#private::Reply> {
                ::std::boxed::Box::pin(async move { #private::unimplemented(&request) })
            }
        }

        #debug
    }
}

fn debug(context: &Context<'_>) -> TokenStream {
    let ident = names::server(context.service.ident());
    let text = ident.to_string();
    quote! {
        #[automatically_derived]
        impl<S: ?::core::marker::Sized> ::core::fmt::Debug for #ident<S> {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#text).finish_non_exhaustive()
            }
        }
    }
}

/// What runs a call of one method.
///
/// ```text
/// Input:
///     async fn parse(&self, text: &str) -> Result<f64, MathError>;
///
/// Output:
///     __RPC_ID_parse => {
///         let (a0,) = match decode(request) { Ok(a) => a, Err(reply) => return answer.put(reply) };
///         let a0 = Lent::<str>::lend(&a0);
///         let output = <S as Calculator>::parse(&*service, a0).await;
///         Outcome::<Result<f64, MathError>>::try_reply(request, answer, output)
///     }
/// ```
fn arm(method: &Method<'_>, context: &Context<'_>) -> TokenStream {
    let Context {
        service, private, ..
    } = context;
    let conditions = attr::conditions(&method.original.attrs);
    let (contract, ident, id) = (service.ident(), method.ident(), names::id(method.ident()));
    let implementation = names::implementation();
    let [local, request, answer, output, decoded, reply] =
        ["service", "request", "answer", "output", "decoded", "reply"].map(names::local);
    let locals: Vec<_> = (0..method.arguments.len())
        .map(|at| names::local(&format_ident!("a{at}").to_string()))
        .collect();
    let incoming = method
        .arguments
        .iter()
        .zip(&locals)
        .map(|(argument, local)| argument::incoming(argument, local, context));
    let respond = match &method.returns {
        Returns::Plain(ty) => quote!(#private::Wire::<#ty>::reply),
        Returns::Result { whole, .. } | Returns::Alias(whole) => {
            quote!(#private::Outcome::<#whole>::try_reply)
        }
    };
    quote! {
        #(#conditions)*
        #id => {
            let (#(#locals,)*) = match #private::decode(#request) {
                ::core::result::Result::Ok(#decoded) => #decoded,
                ::core::result::Result::Err(#reply) => return #answer.put(#reply),
            };
            #(#incoming)*
            let #output = <#implementation as #contract>::#ident(&*#local, #(#locals),*).await;
            #respond(#request, #answer, #output)
        }
    }
}
