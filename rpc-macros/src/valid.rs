//! Every rule that a service has to keep, and every message that says how. No code is generated
//! here.

use std::collections::HashMap;

use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{
    FnArg, GenericParam, ItemTrait, Lifetime, Meta, Pat, Receiver, ReceiverKind, ReturnType,
    Safety, TraitItem, Type, TypeParamBound, TypeReference,
};

use crate::ast::{Argument, Method, Service, is_path, peel};
use crate::attr::RpcAttr;
use crate::errors::Errors;
use crate::names;

/// The most arguments of a method: they travel as one tuple, and serde knows tuples up to here.
const ARGUMENTS_MAX: usize = 16;

/// Reports every mistake of the service and marks the methods that have one.
pub(crate) fn check(service: &mut Service<'_>, errors: &mut Errors) {
    if below_async_trait(service.original) {
        errors.at(
            service.ident(),
            "swap the two attributes: `#[service]` stands above `#[async_trait]`",
        );
        service
            .methods
            .iter_mut()
            .for_each(|method| method.sound = false);
        return;
    }
    check_names(service, errors);
    check_trait(service, errors);
    let concrete = is_concrete(service.original);
    let outer = service
        .original
        .generics
        .lifetimes()
        .map(|parameter| &parameter.lifetime);
    let outer: Vec<&Lifetime> = outer.collect();
    for method in &mut service.methods {
        let before = errors.count();
        check_method(method, concrete, &outer, errors);
        method.sound &= concrete && errors.count() == before;
    }
    check_wire_names(service, errors);
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

fn check_names(service: &Service<'_>, errors: &mut Errors) {
    if let Some(name) = &service.attr.name {
        if let Some(reason) = bad_name(&name.value(), &['_', '.', '-']) {
            errors.at(
                name,
                format!("the name of a service {reason}: `name = \"math.Calculator\"`"),
            );
        }
    }
    if let Some(version) = &service.attr.version {
        if !is_semver(&version.value()) {
            errors.at(
                version,
                "a version has three numbers, as in `version = \"1.2.0\"`",
            );
        }
    }
    for method in &service.methods {
        if let Some(name) = &method.attr.name {
            // No dot: the dot parts the service from the method.
            if let Some(reason) = bad_name(&name.value(), &['_', '-']) {
                errors.at(
                    name,
                    format!("the name of a method {reason}: `name = \"add\"`"),
                );
            }
        }
    }
}

/// What is wrong with a name on the wire that may have letters, digits and `others`.
fn bad_name(name: &str, others: &[char]) -> Option<String> {
    if name.is_empty() {
        return Some("cannot be empty".to_owned());
    }
    let strange = name
        .chars()
        .find(|c| !c.is_alphanumeric() && !others.contains(c))?;
    let others: Vec<String> = others.iter().map(|c| format!("`{c}`")).collect();
    Some(format!(
        "has letters, digits, {} and no {strange:?}",
        others.join(", ")
    ))
}

/// Whether `version` is `x.y.z`, with or without `-pre.release` and `+build`.
fn is_semver(version: &str) -> bool {
    let (version, build) = version.split_once('+').unwrap_or((version, "0"));
    let (version, pre) = version.split_once('-').unwrap_or((version, "0"));
    let number = |part: &str| {
        part.parse::<u64>()
            .is_ok_and(|number| number.to_string() == part)
    };
    let tags = |tags: &str| {
        tags.split('.').all(|tag| {
            !tag.is_empty() && tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
    };
    version.split('.').count() == 3 && version.split('.').all(number) && tags(pre) && tags(build)
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

fn check_method(method: &Method<'_>, concrete: bool, outer: &[&Lifetime], errors: &mut Errors) {
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
    let mut declared = outer.to_vec();
    declared.extend(
        signature
            .generics
            .lifetimes()
            .map(|parameter| &parameter.lifetime),
    );
    check_receiver(method, &declared, errors);
    for argument in &method.arguments {
        check_argument(argument, method, concrete, &declared, errors);
    }
    if !streams {
        check_return(method, concrete, &declared, errors);
    }
    check_client_name(method, errors);
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

fn check_receiver(method: &Method<'_>, declared: &[&Lifetime], errors: &mut Errors) {
    let signature = &method.original.sig;
    match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => check_self(receiver, declared, errors),
        _ => errors.at(
            &signature.ident,
            "a method is called on a service: write `&self` as its first argument",
        ),
    }
}

fn check_self(receiver: &Receiver, declared: &[&Lifetime], errors: &mut Errors) {
    match &receiver.kind {
        ReceiverKind::Reference(_, None, None) => {}
        ReceiverKind::Reference(_, _, Some(_)) => errors.at(
            receiver,
            "calls share the service: write `&self`, and keep what changes behind a lock or an atomic",
        ),
        ReceiverKind::Reference(_, Some(lifetime), _)
            if lifetime.ident == "_" || declared.contains(&lifetime) => {}
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
    concrete: bool,
    declared: &[&Lifetime],
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
        Type::Slice(_) => errors.at(ty, by_reference(ty)),
        // Whoever shadows the primitive type is refused with the rest.
        _ if is_path(ty, "str") => errors.at(ty, by_reference(ty)),
        _ => check_type(ty, Place::Argument, concrete, declared, errors),
    }
}

fn by_reference(ty: &Type) -> String {
    format!(
        "this type has no size and is passed by reference: write `&{}`",
        ty.to_token_stream()
    )
}

const PATTERN: &str =
    "an argument has a plain name, which error messages show: take it apart in the body";

fn check_return(method: &Method<'_>, concrete: bool, declared: &[&Lifetime], errors: &mut Errors) {
    if let ReturnType::Type(_, ty) = &method.original.sig.output {
        check_type(ty, Place::Return, concrete, declared, errors);
    }
}

/// Where a type stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Argument,
    Return,
}

/// Reports the parts of a type that cannot travel. Lifetimes that the method declares have been
/// reported there.
fn check_type(
    ty: &Type,
    place: Place,
    concrete: bool,
    declared: &[&Lifetime],
    errors: &mut Errors,
) {
    let mut checker = TypeChecker {
        place,
        concrete,
        declared,
        errors,
    };
    checker.visit_type_mut(&mut ty.clone());
}

struct TypeChecker<'a> {
    place: Place,
    concrete: bool,
    declared: &'a [&'a Lifetime],
    errors: &'a mut Errors,
}

impl VisitMut for TypeChecker<'_> {
    fn visit_type_mut(&mut self, ty: &mut Type) {
        match ty {
            Type::ImplTrait(opaque) => self.errors.at(
                opaque,
                "both sides must know the type: write a concrete type instead of `impl Trait`",
            ),
            Type::TraitObject(object) => self.errors.at(
                object,
                "a trait object cannot be sent: write a concrete type, such as an enum of the cases",
            ),
            Type::FnPtr(pointer) => self.errors.at(
                pointer,
                "a function cannot be sent: write data that says what to do, such as an enum",
            ),
            Type::Ptr(pointer) => self.errors.at(
                pointer,
                "a pointer means nothing on the other side: write the type that it points to",
            ),
            Type::Infer(infer) => self.errors.at(infer, "write the type out"),
            Type::Reference(reference) => self.check_reference(reference),
            Type::Path(path)
                if path.qself.is_none()
                    && path.path.segments.first().is_some_and(|first| first.ident == "Self") =>
            {
                // Without its associated types the trait has been reported already.
                if self.concrete {
                    self.errors.at(
                        path,
                        "the other side does not know `Self`: write a concrete type",
                    );
                }
            }
            other => visit_mut::visit_type_mut(self, other),
        }
    }

    fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
        let declared = self.declared.contains(&&*lifetime);
        match (self.place, lifetime.ident.to_string().as_str()) {
            (Place::Argument, "_") | (Place::Return, "static") => {}
            (Place::Argument, "static") => self.errors.at(
                lifetime,
                "an argument borrows from its request, which does not live that long: write `'_`",
            ),
            (Place::Argument, _) if declared => {}
            (Place::Argument, _) => {
                self.errors
                    .at(lifetime, "an argument borrows from its request: write `'_`");
            }
            (Place::Return, _) if declared => {}
            (Place::Return, _) => self.errors.at(
                lifetime,
                "a reply has nothing to borrow from: return an owned type, or `'static` here",
            ),
        }
    }
}

impl TypeChecker<'_> {
    fn check_reference(&mut self, reference: &mut TypeReference) {
        if self.place == Place::Return {
            let owned = match peel(&reference.elem) {
                Type::Slice(slice) => format!("Vec<{}>", slice.elem.to_token_stream()),
                Type::Path(path) if path.path.is_ident("str") => "String".to_owned(),
                other => other.to_token_stream().to_string(),
            };
            self.errors.at(
                reference,
                format!("a reply has nothing to borrow from: return an owned type, `{owned}`"),
            );
            return;
        }
        if let Some(mutability) = reference.mutability {
            self.errors.at(
                mutability,
                "changes would stay on the other side: write `&`, and return the changed value",
            );
        }
        visit_mut::visit_type_reference_mut(self, reference);
    }
}

fn check_client_name(method: &Method<'_>, errors: &mut Errors) {
    let name = names::plain(method.ident());
    if names::RESERVED.contains(&name.as_str()) {
        errors.at(
            method.ident(),
            format!(
                "the client has a `{name}` of its own: give the method another name and write \
                 `#[rpc(name = \"{name}\")]` above it"
            ),
        );
    }
}

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

/// Two methods of one name would be one method to the peer. Methods with a `#[cfg]` may exclude
/// each other; the server looks at those when it starts.
fn check_wire_names(service: &mut Service<'_>, errors: &mut Errors) {
    let mut seen: HashMap<String, String> = HashMap::new();
    for method in &mut service.methods {
        if method.conditional() {
            continue;
        }
        let rust_name = names::plain(method.ident());
        let Some(other) = seen.insert(method.name(), rust_name.clone()) else {
            continue;
        };
        method.sound = false;
        if other == rust_name {
            method.repeated = true;
            errors.at(
                method.ident(),
                format!("there is a method `{other}` already: rename one"),
            );
            continue;
        }
        let message = format!(
            "`{other}` has the name `{}` on the wire already: give one of them another with \
             `#[rpc(name = \"..\")]`",
            method.name()
        );
        match &method.attr.name {
            Some(name) => errors.at(name, message),
            None => errors.at(method.ident(), message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semver() {
        for good in [
            "1.0.0",
            "0.10.3",
            "1.2.0-rc.1",
            "1.2.0+build.7",
            "1.2.0-rc-1+7",
        ] {
            assert!(is_semver(good), "{good}");
        }
        for bad in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.2.x",
            "v1.2.3",
            "1.2.3-",
            "1.2.3+a..b",
        ] {
            assert!(!is_semver(bad), "{bad}");
        }
    }

    #[test]
    fn names_travel_in_addresses() {
        assert_eq!(bad_name("math.Calculator-2", &['_', '.', '-']), None);
        assert_eq!(bad_name("größe", &['_']), None);
        assert_eq!(bad_name("", &['_']).unwrap(), "cannot be empty");
        assert_eq!(
            bad_name("a/b", &['_', '.']).unwrap(),
            "has letters, digits, `_`, `.` and no '/'"
        );
    }
}
