//! Our own nouns for what a user writes: a [`Service`] has [`Method`]s, a method has
//! [`Argument`]s and [`Returns`]. Each keeps the syn node it came from, so that any later stage can
//! point at the user's code. Nothing is judged here; that is `valid`'s business.

use proc_macro2::Ident;
use quote::format_ident;
use syn::ext::IdentExt;
use syn::visit_mut::{self, VisitMut};
use syn::{
    Attribute, FnArg, GenericArgument, ItemTrait, Lifetime, Pat, PatType, PathArguments,
    ReturnType, TraitItem, TraitItemFn, Type, TypeReference, TypeTuple,
};

use crate::attr::{RpcAttr, ServiceAttr};
use crate::errors::Errors;
use crate::names;

/// A trait under `#[service]`.
pub(crate) struct Service<'a> {
    pub(crate) original: &'a ItemTrait,
    pub(crate) attr: ServiceAttr,
    /// The `#[async_trait]` below `#[service]`: the trait then keeps its boxed shape.
    pub(crate) async_trait: Option<&'a Attribute>,
    pub(crate) methods: Vec<Method<'a>>,
    /// Whether nothing is wrong with the trait apart from its methods and attributes.
    pub(crate) sound: bool,
}

/// A function of the trait.
pub(crate) struct Method<'a> {
    pub(crate) original: &'a TraitItemFn,
    pub(crate) attr: RpcAttr,
    pub(crate) arguments: Vec<Argument<'a>>,
    pub(crate) returns: Returns<'a>,
    /// Whether nothing is wrong with it; only such methods get code.
    pub(crate) sound: bool,
    /// Whether another method has its name; the trait then has to do without this one.
    pub(crate) repeated: bool,
}

/// An argument after `&self`.
pub(crate) struct Argument<'a> {
    pub(crate) original: &'a PatType,
    /// The name, which the client's method has too.
    pub(crate) name: Ident,
    pub(crate) kind: Kind<'a>,
}

/// How the server holds an argument while the method runs.
pub(crate) enum Kind<'a> {
    /// Decoded as it is written, and moved into the method: `i64`, `Option<&str>`.
    Owned,
    /// Written `&T` with a `T` that borrows nothing itself: whatever `Lend` says for `T`.
    Lent(&'a Type),
    /// Written `&[u8]`, which serde reads where it lies; the bytes are those of a `Vec<u8>`.
    Bytes(&'a Type),
    /// Written `&T` with a `T` that borrows: this type is decoded and a reference to it given.
    Borrowed(Box<Type>),
}

/// What a method returns.
pub(crate) enum Returns<'a> {
    /// Nothing, or a type whose name is not `Result`.
    Plain(Box<Type>),
    /// `Result<T, E>`.
    Result {
        whole: &'a Type,
        ok: &'a Type,
        err: &'a Type,
    },
    /// `Result<T>`, an alias that knows its error, as in `io::Result<T>`.
    Alias(&'a Type),
}

impl<'a> Service<'a> {
    /// Takes a trait apart. `#[rpc(..)]` attributes with mistakes are reported.
    pub(crate) fn from_syn(
        original: &'a ItemTrait,
        attr: ServiceAttr,
        errors: &mut Errors,
    ) -> Self {
        let functions = original.items.iter().filter_map(|item| match item {
            TraitItem::Fn(function) => Some(function),
            _ => None,
        });
        Self {
            original,
            attr,
            async_trait: original.attrs.iter().find(|attr| {
                attr.path()
                    .segments
                    .last()
                    .is_some_and(|last| last.ident == "async_trait")
            }),
            methods: functions
                .map(|function| Method::from_syn(function, errors))
                .collect(),
            sound: true,
        }
    }

    /// The name of the trait.
    pub(crate) fn ident(&self) -> &'a Ident {
        &self.original.ident
    }

    /// The name on the wire.
    pub(crate) fn name(&self) -> String {
        match &self.attr.name {
            Some(name) => name.value(),
            None => names::plain(self.ident()),
        }
    }

    /// The version with the matchmaker.
    pub(crate) fn version(&self) -> String {
        self.attr
            .version
            .as_ref()
            .map_or_else(|| "1.0.0".to_owned(), syn::LitStr::value)
    }

    /// Whether everything beside the trait can be generated.
    pub(crate) fn is_complete(&self) -> bool {
        self.sound && self.methods.iter().all(|method| method.sound)
    }

    /// The methods that get code.
    pub(crate) fn sound_methods(&self) -> impl Iterator<Item = &Method<'a>> {
        self.methods.iter().filter(|method| method.sound)
    }
}

impl<'a> Method<'a> {
    fn from_syn(original: &'a TraitItemFn, errors: &mut Errors) -> Self {
        let before = errors.count();
        let attr = RpcAttr::parse(&original.attrs, errors);
        let typed = original.sig.inputs.iter().filter_map(|input| match input {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        });
        Self {
            original,
            attr,
            arguments: typed
                .enumerate()
                .map(|(at, typed)| Argument::new(at, typed))
                .collect(),
            returns: Returns::from_syn(&original.sig.output),
            sound: errors.count() == before,
            repeated: false,
        }
    }

    /// The name of the function.
    pub(crate) fn ident(&self) -> &'a Ident {
        &self.original.sig.ident
    }

    /// The name on the wire.
    pub(crate) fn name(&self) -> String {
        match &self.attr.name {
            Some(name) => name.value(),
            None => names::plain(self.ident()),
        }
    }

    /// Whether some configurations do not have the method.
    pub(crate) fn conditional(&self) -> bool {
        !crate::attr::conditions(&self.original.attrs).is_empty()
    }
}

impl<'a> Argument<'a> {
    fn new(at: usize, original: &'a PatType) -> Self {
        let name = match &*original.pat {
            Pat::Ident(pattern) => pattern.ident.clone(),
            _ => format_ident!("argument_{at}"),
        };
        Self {
            original,
            name,
            kind: Kind::of(peel(&original.ty)),
        }
    }

    /// The type as it is written.
    pub(crate) fn ty(&self) -> &'a Type {
        &self.original.ty
    }

    /// The name for messages to people.
    pub(crate) fn label(&self) -> String {
        self.name.unraw().to_string()
    }
}

impl<'a> Kind<'a> {
    fn of(ty: &'a Type) -> Self {
        let Type::Reference(TypeReference {
            elem,
            mutability: None,
            ..
        }) = ty
        else {
            return Self::Owned;
        };
        let referent = peel(elem);
        match referent {
            Type::Slice(slice) if is_path(&slice.elem, "u8") => Self::Bytes(referent),
            Type::Slice(slice) if borrows(&slice.elem) => {
                let element = &slice.elem;
                Self::Borrowed(Box::new(syn::parse_quote!(::std::vec::Vec<#element>)))
            }
            _ if borrows(referent) => Self::Borrowed(Box::new(referent.clone())),
            _ => Self::Lent(referent),
        }
    }
}

impl<'a> Returns<'a> {
    fn from_syn(output: &'a ReturnType) -> Self {
        let ReturnType::Type(_, whole) = output else {
            let unit = TypeTuple {
                attrs: Vec::new(),
                paren_token: syn::token::Paren::default(),
                elems: syn::punctuated::Punctuated::new(),
            };
            return Self::Plain(Box::new(Type::Tuple(unit)));
        };
        match result_arguments(peel(whole)).as_deref() {
            Some([ok, err]) => Self::Result { whole, ok, err },
            Some([_]) => Self::Alias(whole),
            _ => Self::Plain(whole.clone()),
        }
    }

    /// The type as it is written.
    pub(crate) fn ty(&self) -> &Type {
        match self {
            Self::Plain(ty) => ty,
            Self::Result { whole, .. } | Self::Alias(whole) => whole,
        }
    }
}

/// The type arguments of a path that ends in `Result`.
fn result_arguments(ty: &Type) -> Option<Vec<&Type>> {
    let Type::Path(path) = ty else { return None };
    let last = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == "Result")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    });
    Some(types.collect())
}

/// The type without parentheses and without the invisible brackets of `macro_rules`.
pub(crate) fn peel(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => peel(&group.elem),
        Type::Paren(paren) => peel(&paren.elem),
        other => other,
    }
}

/// Whether the type is the single word `name`.
pub(crate) fn is_path(ty: &Type, name: &str) -> bool {
    matches!(peel(ty), Type::Path(path) if path.qself.is_none() && path.path.is_ident(name))
}

/// Whether the type visibly borrows: it has a reference or a lifetime anywhere in it.
pub(crate) fn borrows(ty: &Type) -> bool {
    struct Finder(bool);
    impl VisitMut for Finder {
        fn visit_type_reference_mut(&mut self, _: &mut TypeReference) {
            self.0 = true;
        }
        fn visit_lifetime_mut(&mut self, _: &mut Lifetime) {
            self.0 = true;
        }
    }
    let mut finder = Finder(false);
    visit_mut::visit_type_mut(&mut finder, &mut ty.clone());
    finder.0
}
