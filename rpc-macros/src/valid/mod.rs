//! Every rule that a service has to keep, and every message that says how. No code is generated
//! here.

mod method;
mod name;
mod types;

use quote::ToTokens;
use syn::{ItemTrait, Lifetime, Meta, TraitItem, TypeParamBound};

use crate::ast::Service;
use crate::errors::Errors;

/// Reports every mistake of the service and marks the methods that have one.
pub(crate) fn check(service: &mut Service<'_>, errors: &mut Errors) {
    if below_async_trait(service.original) {
        errors.at(
            service.ident(),
            "swap the two attributes: `#[service]` stands above `#[async_trait]`",
        );
        for method in &mut service.methods {
            method.sound = false;
        }
        return;
    }
    name::check(service, errors);
    let before = errors.count();
    check_trait(service, errors);
    service.sound = errors.count() == before;
    let generics = &service.original.generics;
    let scope = Scope {
        concrete: is_concrete(service.original),
        lifetimes: generics
            .lifetimes()
            .map(|parameter| &parameter.lifetime)
            .collect(),
    };
    for method in &mut service.methods {
        let before = errors.count();
        method::check(method, &scope, errors);
        method.sound &= scope.concrete && errors.count() == before;
    }
    name::check_wire(service, errors);
}

/// Whether the types of the methods can be understood without the trait.
fn is_concrete(original: &ItemTrait) -> bool {
    original.generics.params.is_empty()
        && !original
            .items
            .iter()
            .any(|item| matches!(item, TraitItem::Type(_) | TraitItem::Const(_)))
}

/// Whether async-trait has been at the trait already: it leaves a lifetime of its name.
pub(crate) fn below_async_trait(original: &ItemTrait) -> bool {
    original.items.iter().any(|item| match item {
        TraitItem::Fn(function) => function
            .sig
            .generics
            .lifetimes()
            .any(|parameter| parameter.lifetime.ident == "async_trait"),
        _ => false,
    })
}

/// What surrounds a type, so that a mistake which stands there already is not reported again.
struct Scope<'a> {
    /// Whether the trait has neither parameters nor associated types.
    concrete: bool,
    /// The lifetimes that trait and method declare.
    lifetimes: Vec<&'a Lifetime>,
}

fn check_trait(service: &Service<'_>, errors: &mut Errors) {
    let original = service.original;
    if let Some(auto) = original.modifiers.auto_token {
        errors.at(
            auto,
            "a service cannot be an `auto` trait: leave `auto` out",
        );
    }
    if let Some(unsafety) = original.unsafety {
        errors.at(unsafety, "a service cannot be `unsafe`: leave `unsafe` out");
    }
    if !original.generics.params.is_empty() {
        errors.at(
            &original.generics.params,
            "a service cannot be generic, both sides must know its types: write concrete types, or \
             one trait for each",
        );
    } else if let Some(clause) = &original.generics.where_clause {
        errors.at(
            clause.where_token,
            "a service has no `where` clause: leave it out",
        );
    }
    for bound in &original.supertraits {
        if !is_own_supertrait(bound) {
            errors.at(
                bound,
                "a service has no supertraits but `Send + Sync + 'static`, which it always has: leave \
                 this one out, or require it where the service is implemented",
            );
        }
    }
    if let Some(attribute) = service.async_trait {
        if let Meta::List(list) = &attribute.meta {
            if list.tokens.to_string().contains("Send") {
                errors.at(
                    &list.tokens,
                    "a service runs on several threads, so its futures must be `Send`: write \
                     `#[async_trait]`",
                );
            }
        }
    }
    for item in &original.items {
        match item {
            TraitItem::Fn(_) => {}
            TraitItem::Const(constant) => errors.at(
                constant.const_token,
                "a service has only methods: move the constant out of the trait",
            ),
            TraitItem::Type(associated) => errors.at(
                associated.type_token,
                "a service has only methods: write the concrete type where it is used",
            ),
            TraitItem::Macro(invocation) => errors.at(
                &invocation.mac.path,
                "a service cannot see into a macro: write the methods out",
            ),
            other => errors.at(
                other,
                "a service has only methods: `async fn name(&self, ..) -> ..;`",
            ),
        }
    }
}

/// Whether the bound is one of those that every service has: `Send`, `Sync` or `'static`.
fn is_own_supertrait(bound: &TypeParamBound) -> bool {
    match bound {
        TypeParamBound::Lifetime(lifetime) => lifetime.ident == "static",
        TypeParamBound::Trait(bound) => {
            let path = bound.path.to_token_stream().to_string().replace(' ', "");
            let path = path.trim_start_matches("::");
            let name = path
                .strip_prefix("std::marker::")
                .or_else(|| path.strip_prefix("core::marker::"))
                .unwrap_or(path);
            name == "Send" || name == "Sync"
        }
        _ => false,
    }
}
