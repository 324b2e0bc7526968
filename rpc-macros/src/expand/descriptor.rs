//! The constant part of a service: its name, its methods and the shapes of their types, and with
//! them the checks that those types can travel.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Context, argument, recode, result_types};
use crate::ast::{Argument, Kind, Method, Returns};
use crate::{attr, names};

/// One static per method and one for the service.
///
/// ```text
/// Input:
///     trait Calculator { async fn add(&self, a: i64, b: i64) -> i64; }
///
/// Output:
///     static __RPC_METHOD_add: Method =
///         Method::new("Calculator", "add", &["a", "b"], "..", || { ..; MethodShape { .. } })
///             .recoded(Recode::new(.., ..));
///     const __RPC_ID_add: MethodId = MethodId::new("Calculator", "add");
///     static __RPC_SERVICE: Descriptor =
///         Descriptor::new("Calculator", "1.0.0", "..", &[&__RPC_METHOD_add]);
/// ```
pub(crate) fn items(context: &Context<'_>) -> TokenStream {
    let Context {
        service, private, ..
    } = context;
    let methods = service
        .sound_methods()
        .map(|method| method_items(method, context));
    let entries = service.sound_methods().map(|method| {
        let conditions = attr::conditions(&method.original.attrs);
        let statik = names::method(method.ident());
        quote!(#(#conditions)* &#statik)
    });
    let descriptor = names::descriptor();
    let (name, version) = (service.name(), service.version());
    let doc = attr::doc(&service.original.attrs);
    quote! {
        #(#methods)*
        static #descriptor: #private::Descriptor =
            #private::Descriptor::new(#name, #version, #doc, &[#(#entries),*]);
    }
}

fn method_items(method: &Method<'_>, context: &Context<'_>) -> TokenStream {
    let Context {
        service,
        krate,
        private,
        ..
    } = context;
    let conditions = attr::conditions(&method.original.attrs);
    let (statik, id) = (names::method(method.ident()), names::id(method.ident()));
    let (service_name, name) = (service.name(), method.name());
    let labels = method.arguments.iter().map(Argument::label);
    let doc = attr::doc(&method.original.attrs);
    let probe = probe(method, context);
    let recode = recode::recode(method, context);
    let idempotent = method.attr.idempotent.then(|| quote!(.idempotent()));
    quote! {
        #(#conditions)*
        static #statik: #private::Method =
            #private::Method::new(#service_name, #name, &[#(#labels),*], #doc, #probe)
                #idempotent
                .recoded(#recode);
        #(#conditions)*
        const #id: #krate::MethodId = #krate::MethodId::new(#service_name, #name);
    }
}

/// The function that reads the shapes. Before it does, it names the checks of every type, in the
/// order of the method, so that a type which cannot travel is refused where it is written.
///
/// ```text
/// Input:
///     async fn parse(&self, text: &str) -> Result<f64, MathError>;
///
/// Output:
///     || {
///         ..checks..
///         MethodShape {
///             arguments: vec![Lent::<str>::shape()],
///             returns: Wire::<f64>::shape(),
///             error: Some(Wire::<MathError>::shape()),
///         }
///     }
/// ```
fn probe(method: &Method<'_>, context: &Context<'_>) -> TokenStream {
    let private = &context.private;
    let arguments: Vec<_> = method
        .arguments
        .iter()
        .map(|argument| argument::holder(argument, context))
        .collect();
    let mut checks: Vec<TokenStream> = method
        .arguments
        .iter()
        .zip(&arguments)
        .map(|(argument, holder)| travels(&checked(argument), holder, context))
        .collect();
    checks.push(return_check(&method.returns, context));
    let (returns, error) = match &method.returns {
        Returns::Plain(ty) => (quote!(#ty), None),
        Returns::Result { ok, err, .. } => (quote!(#ok), Some(quote!(#err))),
        Returns::Alias(whole) => {
            let (ok, err) = result_types(whole, context);
            (ok, Some(err))
        }
    };
    for ty in [Some(&returns), error.as_ref()].into_iter().flatten() {
        checks.push(travels(ty, &quote!(#private::Wire::<#ty>), context));
    }
    let error = match error {
        None => quote!(::core::option::Option::None),
        Some(ty) => quote!(::core::option::Option::Some(#private::Wire::<#ty>::shape())),
    };
    quote! {
        || {
            #(#checks)*
            #private::MethodShape {
                arguments: ::std::vec![#(#arguments::shape()),*],
                returns: #private::Wire::<#returns>::shape(),
                error: #error,
            }
        }
    }
}

/// The type of an argument whose bounds are checked.
fn checked(argument: &Argument<'_>) -> TokenStream {
    match &argument.kind {
        Kind::Owned => {
            let ty = argument.ty();
            quote!(#ty)
        }
        Kind::Lent(referent) | Kind::Bytes(referent) => quote!(#referent),
        Kind::Borrowed(held) => quote!(#held),
    }
}

/// Refuses a type that serde cannot write, cannot read, or neither: one error, on the type.
fn travels(ty: &TokenStream, holder: &TokenStream, context: &Context<'_>) -> TokenStream {
    let private = &context.private;
    quote! {
        <#ty as #private::Crosses<{ !#holder::SENDS && !#holder::RECEIVES }>>::OK;
        <#ty as #private::Serializes<{ !#holder::SENDS && #holder::RECEIVES }>>::OK;
        <#ty as #private::Deserializes<{ #holder::SENDS && !#holder::RECEIVES }>>::OK;
    }
}

/// Refuses a `Result` that is not the standard one, and a standard one in disguise.
fn return_check(returns: &Returns<'_>, context: &Context<'_>) -> TokenStream {
    let private = &context.private;
    match returns {
        Returns::Plain(ty) => {
            quote!(<#ty as #private::Plain<{ #private::IsResult::<#ty>::ANSWER }>>::OK;)
        }
        Returns::Result { whole, ok, err } => quote! {
            <#whole as #private::Standard<{ !#private::IsResult::<#whole>::ANSWER }>>::OK;
            <#whole as #private::InOrder<#ok, #err, {
                #private::IsResult::<#whole>::ANSWER
                    && !#private::IsResultOf::<#whole, #ok, #err>::ANSWER
            }>>::OK;
        },
        Returns::Alias(whole) => quote! {
            <#whole as #private::Standard<{ !#private::IsResult::<#whole>::ANSWER }>>::OK;
        },
    }
}
