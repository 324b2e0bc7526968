//! `#[service(..)]` on the trait and `#[rpc(..)]` on methods, from tokens to values.

use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Lit, LitStr, Meta, Path, Token};

use crate::errors::Errors;

/// What `#[service(..)]` says.
#[derive(Default)]
pub(crate) struct ServiceAttr {
    /// The name on the wire and with the matchmaker, instead of the trait's.
    pub(crate) name: Option<LitStr>,
    /// The version with the matchmaker.
    pub(crate) version: Option<LitStr>,
    /// Where rpc-core is, for those who reach it through a crate of their own.
    pub(crate) krate: Option<Path>,
}

/// What `#[rpc(..)]` says.
#[derive(Default)]
pub(crate) struct RpcAttr {
    /// The name on the wire, instead of the method's.
    pub(crate) name: Option<LitStr>,
    /// Whether a repeated call does no harm.
    pub(crate) idempotent: bool,
}

const SERVICE_KEYS: &[&str] = &["name", "version", "crate"];
const RPC_KEYS: &[&str] = &["name", "idempotent"];

impl ServiceAttr {
    /// Reads the arguments of `#[service(..)]`.
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Errors) -> Self {
        let mut attr = Self::default();
        for (key, meta) in entries(tokens, errors) {
            match key.to_string().as_str() {
                "name" => attr.name = text(&meta, errors),
                "version" => attr.version = text(&meta, errors),
                "crate" => attr.krate = path(&meta, errors),
                "client_impl" => errors.at(
                    key,
                    "`client_impl` is reserved for later and has no meaning yet: leave it out",
                ),
                unknown => unknown_key(&key, unknown, "service", SERVICE_KEYS, errors),
            }
        }
        attr
    }
}

impl RpcAttr {
    /// Whether `attr` is for us.
    pub(crate) fn is(attr: &Attribute) -> bool {
        attr.path().is_ident("rpc")
    }

    /// Whether `attr` is a `#[cfg_attr]` around one that is for us.
    pub(crate) fn is_within(attr: &Attribute) -> bool {
        attr.path().is_ident("cfg_attr") && keep(attr, &|path| path.is_ident("rpc")).is_some()
    }

    /// Reads the `#[rpc(..)]` attributes among `attrs`.
    pub(crate) fn parse(attrs: &[Attribute], errors: &mut Errors) -> Self {
        let mut rpc = Self::default();
        for attr in attrs.iter().filter(|attr| Self::is(attr)) {
            let Meta::List(list) = &attr.meta else {
                errors.at(
                    attr,
                    "say what: `#[rpc(idempotent)]` or `#[rpc(name = \"..\")]`",
                );
                continue;
            };
            for (key, meta) in entries(list.tokens.clone(), errors) {
                match key.to_string().as_str() {
                    "name" if rpc.name.is_some() => errors.at(key, TWICE),
                    "name" => rpc.name = text(&meta, errors),
                    "idempotent" => match meta {
                        Meta::Path(_) => rpc.idempotent = true,
                        _ => errors.at(meta, "write `idempotent` alone, it takes no value"),
                    },
                    unknown => unknown_key(&key, unknown, "rpc", RPC_KEYS, errors),
                }
            }
        }
        rpc
    }
}

const TWICE: &str = "this key stands here twice: leave one out";

/// The entries of an attribute with their keys; an entry that is none is reported.
fn entries(tokens: TokenStream, errors: &mut Errors) -> Vec<(Ident, Meta)> {
    let parsed = match Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens) {
        Ok(parsed) => parsed,
        Err(error) => {
            errors.push(error);
            return Vec::new();
        }
    };
    let mut entries: Vec<(Ident, Meta)> = Vec::new();
    for meta in parsed {
        let Some(key) = meta.path().get_ident().cloned() else {
            errors.at(meta.path(), "expected a key, such as `name = \"..\"`");
            continue;
        };
        if entries.iter().any(|(other, _)| *other == key) {
            errors.at(key, TWICE);
        } else {
            entries.push((key, meta));
        }
    }
    entries
}

/// The value of `key = "text"`.
fn text(meta: &Meta, errors: &mut Errors) -> Option<LitStr> {
    if let Meta::NameValue(pair) = meta {
        if let Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) = &pair.value
        {
            return Some(text.clone());
        }
        errors.at(&pair.value, "expected a text in quotes");
    } else {
        let key = meta.path().to_token_stream();
        errors.at(meta, format!("this key takes a text: `{key} = \"..\"`"));
    }
    None
}

/// The value of `key = "path"`.
fn path(meta: &Meta, errors: &mut Errors) -> Option<Path> {
    let text = text(meta, errors)?;
    let path = text.parse_with(Path::parse_mod_style).ok();
    if path.is_none() {
        errors.at(
            text,
            "expected the path of the crate in quotes, such as \"::my_crate::rpc_core\"",
        );
    }
    path
}

fn unknown_key(key: &Ident, unknown: &str, attribute: &str, known: &[&str], errors: &mut Errors) {
    let list: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
    let (last, first) = list.split_last().expect("every attribute has keys");
    let guess = known
        .iter()
        .find(|known| distance(unknown, known) <= MISSPELLING)
        .map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
    errors.at(
        key,
        format!(
            "`#[{attribute}]` has no key `{unknown}`, only {} and {last}{guess}",
            first.join(", ")
        ),
    );
}

/// How many edits still make a misspelling: beyond two, a guess is mostly wrong.
const MISSPELLING: usize = 2;

/// The number of single-letter edits from `a` to `b` (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// What of `attrs` says whether the item exists at all: `#[cfg]`, also inside `#[cfg_attr]`.
pub(crate) fn conditions(attrs: &[Attribute]) -> Vec<Attribute> {
    attrs
        .iter()
        .filter_map(|attr| keep(attr, &|path| path.is_ident("cfg")))
        .collect()
}

/// What of `attrs` also belongs on the client's method.
pub(crate) fn documentation(attrs: &[Attribute]) -> Vec<Attribute> {
    let kept = |path: &Path| {
        ["cfg", "doc", "deprecated"]
            .iter()
            .any(|name| path.is_ident(name))
    };
    attrs.iter().filter_map(|attr| keep(attr, &kept)).collect()
}

/// `attr` if `kept` says so; of a `#[cfg_attr(.., a, b)]` what is kept among `a` and `b`.
fn keep(attr: &Attribute, kept: &dyn Fn(&Path) -> bool) -> Option<Attribute> {
    if kept(attr.path()) {
        return Some(attr.clone());
    }
    if !attr.path().is_ident("cfg_attr") {
        return None;
    }
    let Meta::List(list) = &attr.meta else {
        return None;
    };
    let nested = Punctuated::<Meta, Token![,]>::parse_terminated
        .parse2(list.tokens.clone())
        .ok()?;
    let mut nested = nested.into_iter();
    let predicate = nested.next()?;
    let inner: Vec<Meta> = nested.filter(|meta| kept(meta.path())).collect();
    if inner.is_empty() {
        return None;
    }
    Some(syn::parse_quote!(#[cfg_attr(#predicate, #(#inner),*)]))
}

/// The text of a doc comment, as it is written, without the space that follows `///`.
pub(crate) fn doc(attrs: &[Attribute]) -> LitStr {
    let mut lines = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("doc")) {
        if let Meta::NameValue(pair) = &attr.meta {
            if let Expr::Lit(ExprLit {
                lit: Lit::Str(line),
                ..
            }) = &pair.value
            {
                let line = line.value();
                lines.push(
                    line.strip_prefix(' ')
                        .unwrap_or(&line)
                        .trim_end()
                        .to_owned(),
                );
            }
        }
    }
    LitStr::new(lines.join("\n").trim(), Span::call_site())
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn service_mistakes(tokens: TokenStream) -> Vec<String> {
        let mut errors = Errors::default();
        ServiceAttr::parse(tokens, &mut errors);
        errors.messages()
    }

    #[test]
    fn keys_are_read() {
        let mut errors = Errors::default();
        let tokens = quote!(
            name = "math.Calculator",
            version = "1.2.0",
            crate = "crate::rpc"
        );
        let attr = ServiceAttr::parse(tokens, &mut errors);
        assert_eq!(errors.messages(), [""; 0]);
        assert_eq!(attr.name.unwrap().value(), "math.Calculator");
        assert_eq!(attr.version.unwrap().value(), "1.2.0");
        assert_eq!(attr.krate.to_token_stream().to_string(), "crate :: rpc");
    }

    #[test]
    fn a_misspelt_key_is_guessed_and_a_strange_one_is_not() {
        assert_eq!(
            service_mistakes(quote!(nmae = "x")),
            [
                "`#[service]` has no key `nmae`, only `name`, `version` and `crate`; did you mean `name`?"
            ]
        );
        assert_eq!(
            service_mistakes(quote!(transport = "x")),
            ["`#[service]` has no key `transport`, only `name`, `version` and `crate`"]
        );
    }

    #[test]
    fn every_mistake_is_reported() {
        assert_eq!(
            service_mistakes(quote!(name = 1, nam = "x", name = "y", client_impl)).len(),
            4
        );
    }

    #[test]
    fn distances_count_edits() {
        assert_eq!(distance("name", "name"), 0);
        assert_eq!(distance("nme", "name"), 1);
        assert_eq!(distance("", "crate"), 5);
    }

    #[test]
    fn conditions_are_taken_out_of_cfg_attr() {
        let attrs: Vec<Attribute> = vec![
            syn::parse_quote!(#[doc = " text"]),
            syn::parse_quote!(#[cfg(unix)]),
            syn::parse_quote!(#[cfg_attr(unix, doc = "x", cfg(debug_assertions))]),
        ];
        let conditions = conditions(&attrs);
        assert_eq!(
            quote!(#(#conditions)*).to_string(),
            quote!(#[cfg(unix)] #[cfg_attr(unix, cfg(debug_assertions))]).to_string()
        );
        assert_eq!(doc(&attrs).value(), "text");
    }
}
