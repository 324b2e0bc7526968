//! What encodes the messages of a method again, for a process that knows their types and stands
//! between the client and the one that runs the method.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};

use super::{Context, argument, result_types};
use crate::ast::{Kind, Method, Returns};
use crate::names;

/// Two functions: one for the arguments, one for the reply.
///
/// ```text
/// Input:
///     async fn parse(&self, text: &str) -> Result<f64, MathError>;
///
/// Output:
///     Recode::new(
///         |request, codec| {
///             let (a0,) = match decode(request) { Ok(a) => a, Err(reply) => return Err(reply) };
///             let a0 = Lent::<str>::lend(&a0);
///             recode(codec, &(Wire::<&str>::pass(&a0),), None)
///         },
///         Outcome::<Result<f64, MathError>>::recode,
///     )
/// ```
pub(crate) fn recode(method: &Method<'_>, context: &Context<'_>) -> TokenStream {
    let private = &context.private;
    let [request, codec, decoded, reply, tail] =
        ["request", "codec", "decoded", "reply", "tail"].map(names::local);
    let locals: Vec<_> = (0..method.arguments.len())
        .map(|at| names::local(&format_ident!("a{at}").to_string()))
        .collect();
    let arguments = || method.arguments.iter().zip(&locals);
    let incoming = arguments().map(|(argument, local)| {
        let incoming = argument::incoming(argument, local, context);
        let ty = argument.ty();
        // A list that is held is passed on as the slice that it is lent as.
        let lent =
            matches!(argument.kind, Kind::Borrowed(_)).then(|| quote!(let #local: #ty = #local;));
        quote!(#incoming #lent)
    });
    let parted = arguments()
        .next_back()
        .and_then(|(argument, local)| argument::parted(argument, local, &tail, context));
    let last = locals.len().wrapping_sub(1);
    let outgoing = arguments().enumerate().map(|(at, (argument, local))| {
        match parted.is_some() && at == last {
            true => quote!(#local),
            false => argument::outgoing(argument, local, context),
        }
    });
    let behind = match parted {
        Some(_) => quote!(::core::option::Option::Some(#tail)),
        None => quote!(::core::option::Option::None),
    };
    let returned = match &method.returns {
        Returns::Plain(ty) => quote!(#private::Wire::<#ty>::recode),
        Returns::Result { ok, err, .. } => {
            quote!(#private::Outcome::<::core::result::Result<#ok, #err>>::recode)
        }
        Returns::Alias(whole) => {
            let (ok, err) = result_types(whole, context);
            quote!(#private::Outcome::<::core::result::Result<#ok, #err>>::recode)
        }
    };
    quote! {
        #private::Recode::new(
            |#request, #codec| {
                let (#(#locals,)*) = match #private::decode(#request) {
                    ::core::result::Result::Ok(#decoded) => #decoded,
                    ::core::result::Result::Err(#reply) => {
                        return ::core::result::Result::Err(#reply);
                    }
                };
                #(#incoming)*
                #parted
                #private::recode(#codec, &(#(#outgoing,)*), #behind)
            },
            #returned,
        )
    }
}
