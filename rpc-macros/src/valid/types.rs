//! The rules for the types of arguments and returns, as far as spelling shows whether they can
//! travel. The compiler checks the rest, through bounds with messages of ours.

use quote::ToTokens;
use syn::visit_mut::{self, VisitMut};
use syn::{Lifetime, Type, TypeReference};

use super::Scope;
use crate::ast::peel;
use crate::errors::Errors;

/// Where a type stands.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    Argument,
    Return,
}

/// Reports the parts of a type that cannot travel.
pub(super) fn check(ty: &Type, place: Place, scope: &Scope<'_>, errors: &mut Errors) {
    let mut checker = TypeChecker {
        place,
        scope,
        errors,
    };
    checker.visit_type_mut(&mut ty.clone());
}

/// The message for a type that has no size.
pub(super) fn by_reference(ty: &Type) -> String {
    format!(
        "this type has no size and is passed by reference: write `&{}`",
        ty.to_token_stream()
    )
}

struct TypeChecker<'a> {
    place: Place,
    scope: &'a Scope<'a>,
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
                // A `Self` with associated types has been reported with them.
                if self.scope.concrete {
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
        let declared = self.scope.lifetimes.contains(&&*lifetime);
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
