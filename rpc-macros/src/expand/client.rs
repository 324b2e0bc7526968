//! The client stub.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};

use super::{Context, argument, doc, result_types};
use crate::ast::{Method, Returns};
use crate::{attr, names};

/// The struct, which is a channel and no more.
///
/// ```text
/// Input:
///     trait Calculator { .. }
///
/// Output:
///     #[derive(Clone, Debug)]
///     struct CalculatorClient { channel: Channel }
/// ```
pub(crate) fn item(context: &Context<'_>) -> TokenStream {
    let Context {
        service,
        krate,
        vis,
        conditions,
        ..
    } = context;
    let ident = names::client(service.ident());
    let name = names::plain(service.ident());
    let summary = doc(format!(
        "Calls a remote [`{name}`]. Clones share the connection and are cheap."
    ));
    quote! {
        #(#conditions)*
        #summary
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #vis struct #ident {
            channel: #krate::Channel,
        }
    }
}

/// Constructors and methods, and what all clients have in common, in a trait that takes no name
/// from the methods.
///
/// ```text
/// Input:
///     async fn add(&self, a: i64, b: i64) -> i64;
///     async fn divide(&self, a: f64, b: f64) -> Result<f64, MathError>;
///     async fn put(&self, at: u64, data: Vec<u8>) -> bool;
///
/// Output:
///     fn add(&self, a: i64, b: i64) -> Call<i64> {
///         Wire::<i64>::call(&self.channel, &__RPC_METHOD_add, &(.., ..))
///     }
///     fn divide(&self, a: f64, b: f64) -> TryCall<f64, MathError> {
///         Outcome::<Result<f64, MathError>>::try_call(&self.channel, &__RPC_METHOD_divide, &(..))
///     }
///     fn put(&self, at: u64, data: Vec<u8>) -> Call<bool> {
///         let (data, tail) = Block::<Vec<u8>>::part(data);
///         Wire::<bool>::call_parts(&self.channel, &__RPC_METHOD_put, &(.., data), tail)
///     }
///
///     impl Client for CalculatorClient { .. }
/// ```
pub(crate) fn methods(context: &Context<'_>) -> TokenStream {
    let ident = names::client(context.service.ident());
    let (krate, private) = (&context.krate, &context.private);
    let descriptor = names::descriptor();
    let constructors = constructors(context);
    let methods = context
        .service
        .sound_methods()
        .map(|method| self::method(method, context));
    quote! {
        #[automatically_derived]
        impl #ident {
            #constructors
            #(#methods)*
        }

        #[automatically_derived]
        impl #krate::Client for #ident {
            fn over(channel: #krate::Channel) -> Self {
                Self { channel }
            }

            fn service() -> &'static #private::Descriptor {
                &#descriptor
            }
        }
    }
}

fn constructors(context: &Context<'_>) -> TokenStream {
    let Context {
        service,
        krate,
        private,
        vis,
        ..
    } = context;
    let descriptor = names::descriptor();
    let discover = doc(format!(
        "Asks the matchmaker for `{}` and calls whichever instances it knows, now and later.",
        service.name()
    ));
    quote! {
        /// A client over a channel that is there already.
        #[must_use]
        #vis fn new(channel: #krate::Channel) -> Self {
            Self { channel }
        }

        /// Connects to `address`, such as `"tcp://127.0.0.1:7000"`. What the peer says to it, if it
        /// speaks this protocol at all, comes out of the first call, which travels along with the
        /// handshake. Dropping the future gives the attempt up.
        ///
        /// # Errors
        ///
        /// The address is malformed, or nothing listens there. For a name: the matchmaker cannot be
        /// reached, or knows no instance that answers.
        #vis async fn connect(
            address: impl #krate::IntoAddress,
        ) -> ::core::result::Result<Self, #krate::Error> {
            match #private::connect(address, &#descriptor).await {
                ::core::result::Result::Ok(channel) => ::core::result::Result::Ok(Self { channel }),
                ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
            }
        }

        /// A client that connects to `address` with its first call.
        ///
        /// # Errors
        ///
        /// The address is malformed.
        #vis fn connect_lazy(
            address: impl #krate::IntoAddress,
        ) -> ::core::result::Result<Self, #krate::Error> {
            match #private::connect_lazy(address, &#descriptor) {
                ::core::result::Result::Ok(channel) => ::core::result::Result::Ok(Self { channel }),
                ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
            }
        }

        #discover
        ///
        /// # Errors
        ///
        /// The matchmaker cannot be reached, or it knows no instance.
        #vis async fn discover() -> ::core::result::Result<Self, #krate::Error> {
            match #private::discover(&#descriptor).await {
                ::core::result::Result::Ok(channel) => ::core::result::Result::Ok(Self { channel }),
                ::core::result::Result::Err(error) => ::core::result::Result::Err(error),
            }
        }

        /// The same client whose calls may take `deadline` each, counted from when the call is first
        /// awaited.
        #[must_use]
        #vis fn with_deadline(&self, deadline: ::core::time::Duration) -> Self {
            Self { channel: #private::with_deadline(&self.channel, deadline) }
        }

        /// The channel under the client, for everything that does not depend on the service.
        #[must_use]
        #vis fn channel(&self) -> &#krate::Channel {
            &self.channel
        }
    }
}

fn method(method: &Method<'_>, context: &Context<'_>) -> TokenStream {
    let Context {
        service,
        krate,
        private,
        vis,
        ..
    } = context;
    let ident = method.ident();
    let mut attributes = attr::documentation(&method.original.attrs);
    if attr::doc(&method.original.attrs).value().is_empty() {
        let text = format!("Calls `{}.{}`.", service.name(), method.name());
        attributes.push(syn::parse_quote!(#[doc = #text]));
    }
    let parameters = method.arguments.iter().map(|argument| {
        let (name, ty) = (&argument.name, argument.ty());
        quote!(#name: #ty)
    });
    let tail = names::local("tail");
    let parted = method
        .arguments
        .last()
        .and_then(|argument| argument::parted(argument, &argument.name, &tail, context));
    let last = method.arguments.len().wrapping_sub(1);
    let outgoing = method.arguments.iter().enumerate().map(|(at, argument)| {
        let name = &argument.name;
        match parted.is_some() && at == last {
            true => quote!(#name),
            false => argument::outgoing(argument, name, context),
        }
    });
    let (parts, behind) = match parted {
        Some(_) => ("_parts", quote!(, #tail)),
        None => ("", quote!()),
    };
    let call_fn = format_ident!("call{parts}");
    let try_call_fn = format_ident!("try_call{parts}");
    let flat = |ok: &dyn ToTokens, err: &dyn ToTokens| {
        let call = quote!(#krate::TryCall<#ok, #err>);
        (
            call,
            quote!(#private::Outcome::<::core::result::Result<#ok, #err>>::#try_call_fn),
        )
    };
    let (call, start) = match &method.returns {
        Returns::Plain(ty) => (
            quote!(#krate::Call<#ty>),
            quote!(#private::Wire::<#ty>::#call_fn),
        ),
        Returns::Result { ok, err, .. } => flat(ok, err),
        Returns::Alias(whole) => {
            let (ok, err) = result_types(whole, context);
            flat(&ok, &err)
        }
    };
    let statik = names::method(ident);
    quote! {
        #(#attributes)*
        #vis fn #ident(&self, #(#parameters),*) -> #call {
            #parted
            #start(&self.channel, &#statik, &(#(#outgoing,)*) #behind)
        }
    }
}
