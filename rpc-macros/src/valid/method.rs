//! The rules for one method: how it is declared, called and given its arguments.

use syn::{
    FnArg, GenericParam, Pat, Receiver, ReceiverKind, ReturnType, Safety, Type, TypeParamBound,
};

use super::types::{self, Place};
use super::{Scope, name};
use crate::ast::{Argument, Method, is_path, peel};
use crate::attr::RpcAttr;
use crate::errors::Errors;

/// The most arguments of a method: they travel as one tuple, and serde knows tuples up to here.
const ARGUMENTS_MAX: usize = 16;

/// Reports the mistakes of one method.
pub(super) fn check(method: &Method<'_>, outer: &Scope<'_>, errors: &mut Errors) {
    let signature = &method.original.sig;
    check_qualifiers(method, errors);
    let streams = check_async(method, errors);
    if !signature.generics.params.is_empty() {
        let lifetimes_only = signature
            .generics
            .params
            .iter()
            .all(|parameter| matches!(parameter, GenericParam::Lifetime(_)));
        let message = if lifetimes_only {
            "leave the lifetimes out: what an argument borrows, it borrows from its request"
        } else {
            "a method cannot be generic, both sides must know its types: write a concrete type"
        };
        errors.at(&signature.generics.params, message);
    } else if let Some(clause) = &signature.generics.where_clause {
        errors.at(
            clause.where_token,
            "a method of a service has no `where` clause: leave it out",
        );
    }
    if let Some(variadic) = &signature.variadic {
        errors.at(
            variadic.dots,
            "a method takes a fixed number of arguments: take a `Vec` instead",
        );
    }
    if let Some(argument) = method.arguments.get(ARGUMENTS_MAX) {
        errors.at(
            &argument.original.pat,
            format!("a method takes at most {ARGUMENTS_MAX} arguments: put some into a struct"),
        );
    }
    let declared = signature
        .generics
        .lifetimes()
        .map(|parameter| &parameter.lifetime);
    let scope = Scope {
        concrete: outer.concrete,
        lifetimes: outer.lifetimes.iter().copied().chain(declared).collect(),
    };
    check_receiver(method, &scope, errors);
    for argument in &method.arguments {
        check_argument(argument, method, &scope, errors);
    }
    if let (ReturnType::Type(_, ty), false) = (&signature.output, streams) {
        types::check(ty, Place::Return, &scope, errors);
    }
    name::check_client(method, errors);
    check_hidden_rpc(method, errors);
}

fn check_qualifiers(method: &Method<'_>, errors: &mut Errors) {
    let signature = &method.original.sig;
    if let Some(constness) = signature.constness {
        errors.at(
            constness,
            "a remote call is never `const`: leave `const` out",
        );
    }
    match &signature.safety {
        Safety::Default => {}
        Safety::Safe(token) => errors.at(token, "leave `safe` out, every method of a service is"),
        Safety::Unsafe(token) => errors.at(
            token,
            "a method cannot be `unsafe`, nobody on the other side could keep its promise: leave \
             `unsafe` out",
        ),
    }
    if let Some(abi) = &signature.abi {
        errors.at(
            abi,
            "a method has the ABI of the framework: leave `extern` out",
        );
    }
    if let Some(default) = &method.original.modifiers.defaultness {
        errors.at(
            default,
            "leave `default` out: a method with a body can be overridden anyway",
        );
    }
}

/// Refuses what is not an `async fn`; answers whether it returns a stream, so that nothing more
/// need be said about its return type.
fn check_async(method: &Method<'_>, errors: &mut Errors) -> bool {
    let signature = &method.original.sig;
    if let ReturnType::Type(_, ty) = &signature.output {
        if let Type::ImplTrait(opaque) = peel(ty) {
            let last = opaque.bounds.iter().find_map(|bound| match bound {
                TypeParamBound::Trait(bound) => bound.path.segments.last(),
                _ => None,
            });
            if last.is_some_and(|last| last.ident == "Stream") {
                errors.at(
                    opaque,
                    "streams are not yet supported by this version: return a `Vec`, or one page of \
                     it per call",
                );
                return true;
            }
            if signature.asyncness.is_none() && last.is_some_and(|last| last.ident == "Future") {
                errors.at(
                    opaque,
                    "write an `async fn` that returns the output of this future",
                );
                return true;
            }
        }
    }
    if signature.asyncness.is_none() && signature.constness.is_none() {
        errors.at(
            signature.fn_token,
            "a remote call takes time: write `async fn`",
        );
    }
    false
}

fn check_receiver(method: &Method<'_>, scope: &Scope<'_>, errors: &mut Errors) {
    let signature = &method.original.sig;
    match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => check_self(receiver, scope, errors),
        _ => errors.at(
            &signature.ident,
            "a method is called on a service: write `&self` as its first argument",
        ),
    }
}

fn check_self(receiver: &Receiver, scope: &Scope<'_>, errors: &mut Errors) {
    match &receiver.kind {
        ReceiverKind::Reference(_, None, None) => {}
        ReceiverKind::Reference(_, _, Some(_)) => errors.at(
            receiver,
            "calls share the service: write `&self`, and keep what changes behind a lock or an atomic",
        ),
        ReceiverKind::Reference(_, Some(lifetime), _)
            if lifetime.ident == "_" || scope.lifetimes.contains(&lifetime) => {}
        ReceiverKind::Reference(_, Some(lifetime), _) => {
            errors.at(lifetime, "leave the lifetime out: write `&self`");
        }
        ReceiverKind::Value => {
            errors.at(receiver, "a service outlives the call: write `&self` instead of `self`");
        }
        _ => errors.at(
            receiver,
            "a service is always called through a shared reference: write `&self`",
        ),
    }
}

fn check_argument(
    argument: &Argument<'_>,
    method: &Method<'_>,
    scope: &Scope<'_>,
    errors: &mut Errors,
) {
    let original = argument.original;
    match &*original.pat {
        Pat::Ident(pattern) if pattern.by_ref.is_some() || pattern.subpat.is_some() => {
            errors.at(pattern, PATTERN);
        }
        Pat::Ident(pattern)
            if pattern.mutability.is_some() && method.original.default.is_none() =>
        {
            errors.at(
                pattern.mutability,
                "`mut` belongs in the implementation: leave it out here",
            );
        }
        Pat::Ident(_) => {}
        pattern => errors.at(pattern, PATTERN),
    }
    if let Some(attribute) = original.attrs.first() {
        errors.at(
            attribute,
            "arguments of a service take no attributes: leave it out",
        );
    }
    let ty = peel(&original.ty);
    match ty {
        Type::Path(path)
            if path
                .path
                .segments
                .last()
                .is_some_and(|s| s.ident == "Streaming") =>
        {
            errors.at(
                ty,
                "streams are not yet supported by this version: take a `Vec`, or one item per call",
            );
        }
        Type::Slice(_) => errors.at(ty, types::by_reference(ty)),
        // Whoever shadows the primitive type is refused with the rest.
        _ if is_path(ty, "str") => errors.at(ty, types::by_reference(ty)),
        _ => types::check(ty, Place::Argument, scope, errors),
    }
}

const PATTERN: &str =
    "an argument has a plain name, which error messages show: take it apart in the body";

/// `#[cfg_attr(.., rpc(..))]` reaches us unresolved, so its answer is not known here.
fn check_hidden_rpc(method: &Method<'_>, errors: &mut Errors) {
    for attribute in &method.original.attrs {
        if RpcAttr::is_within(attribute) {
            errors.at(
                attribute,
                "`#[rpc]` cannot depend on the configuration: write the method twice, each with its \
                 `#[cfg]`",
            );
        }
    }
    for attribute in method
        .original
        .attrs
        .iter()
        .filter(|attr| RpcAttr::is(attr))
        .skip(1)
    {
        errors.at(attribute, "put everything into one `#[rpc(..)]`");
    }
}
