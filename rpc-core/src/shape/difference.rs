//! The first thing that two programs do not agree on, as a sentence.

use std::fmt;

use super::{MethodShape, Part, Shape, display};

/// Characters of a sentence; one that names long types is cut.
const SENTENCE_MAX: usize = 300;

/// Says where the shapes that a client and a server have of one method first differ; `None` where
/// they do not. `arguments` are the names of the client's arguments.
///
/// ```
/// use rpc_core::shape::{MethodShape, Shape, first_difference};
///
/// let shape = |b| MethodShape { arguments: vec![Shape::F64, b], returns: Shape::F64, error: None };
/// assert_eq!(
///     first_difference(&shape(Shape::F64), &shape(Shape::F32), &["a", "b"]).unwrap(),
///     "argument 2 `b`: this client sends f64, the server expects f32",
/// );
/// ```
pub fn first_difference(
    client: &MethodShape,
    server: &MethodShape,
    arguments: &[&str],
) -> Option<String> {
    find(client, server, arguments).map(|sentence| {
        match sentence.char_indices().nth(SENTENCE_MAX) {
            Some((end, _)) => format!("{}...", sentence.get(..end).unwrap_or_default()),
            None => sentence,
        }
    })
}

fn find(client: &MethodShape, server: &MethodShape, arguments: &[&str]) -> Option<String> {
    let (sent, expected) = (client.arguments.len(), server.arguments.len());
    if sent != expected {
        return Some(format!(
            "this client sends {}, the server expects {expected}",
            counted(sent, "argument")
        ));
    }
    for (index, (ours, theirs)) in client.arguments.iter().zip(&server.arguments).enumerate() {
        let number = index.saturating_add(1);
        let place = match arguments.get(index) {
            Some(name) => format!("argument {number} `{name}`"),
            None => format!("argument {number}"),
        };
        if let Some(found) = compare(ours, theirs, SENT) {
            return Some(format!("{place}{found}"));
        }
    }
    if let Some(found) = compare(&client.returns, &server.returns, RECEIVED) {
        return Some(format!("return value{found}"));
    }
    match (&client.error, &server.error) {
        (Some(ours), Some(theirs)) => {
            compare(ours, theirs, RECEIVED).map(|found| format!("error{found}"))
        }
        (None, None) => None,
        (Some(ours), None) => Some(format!(
            "return value: this client expects a `Result` with the error {ours:#}, \
             the server sends no `Result`"
        )),
        (None, Some(theirs)) => Some(format!(
            "return value: this client expects no `Result`, the server sends one with the error \
             {theirs:#}"
        )),
    }
}

/// What each side does with a value.
#[derive(Clone, Copy)]
struct Roles {
    client: &'static str,
    server: &'static str,
}

const SENT: Roles = Roles {
    client: "sends",
    server: "expects",
};
const RECEIVED: Roles = Roles {
    client: "expects",
    server: "sends",
};

/// The way into a value and the difference there: `, field `a`: this client ...`.
fn compare(client: &Shape, server: &Shape, roles: Roles) -> Option<String> {
    let inside = |place: &str, client: &Shape, server: &Shape| {
        compare(client, server, roles).map(|found| format!(", {place}{found}"))
    };
    match (client, server) {
        (Shape::Option(ours), Shape::Option(theirs)) => inside("the value in it", ours, theirs),
        (Shape::Seq(ours), Shape::Seq(theirs)) => inside("an element of it", ours, theirs),
        (Shape::Map(key, value), Shape::Map(their_key, their_value)) => {
            inside("a key of it", key, their_key)
                .or_else(|| inside("a value of it", value, their_value))
        }
        (Shape::Tuple(ours), Shape::Tuple(theirs)) if ours.len() == theirs.len() => ours
            .iter()
            .zip(theirs)
            .enumerate()
            .find_map(|(index, (ours, theirs))| inside(&format!("element {index}"), ours, theirs)),
        (
            Shape::Struct { name, fields },
            Shape::Struct {
                name: their_name,
                fields: their_fields,
            },
        ) => compare_parts(&FIELD, (name, fields), (their_name, their_fields), roles),
        (
            Shape::Enum { name, variants },
            Shape::Enum {
                name: their_name,
                variants: their_variants,
            },
        ) => compare_parts(
            &VARIANT,
            (name, variants),
            (their_name, their_variants),
            roles,
        ),
        (ours, theirs) if ours == theirs => None,
        (ours, theirs) => Some(format!(
            ": this client {} {}, the server {} {}",
            roles.client,
            brief(ours),
            roles.server,
            brief(theirs)
        )),
    }
}

/// Structs and enums by name where that tells them from the other side's, which is of another kind.
fn brief(shape: &Shape) -> String {
    match shape {
        Shape::Enum { name, .. } => format!("the enum {name}"),
        Shape::Opaque => "a type that cannot be examined".to_owned(),
        other => format!("{other:#}"),
    }
}

/// How fields and variants are told of.
struct Kind {
    one: &'static str,
    many: &'static str,
    show: fn(&Part, &mut fmt::Formatter<'_>) -> fmt::Result,
}

const FIELD: Kind = Kind {
    one: "field",
    many: "fields",
    show: |part, f| write!(f, "{}: {:#}", part.name, part.shape),
};

const VARIANT: Kind = Kind {
    one: "variant",
    many: "variants",
    show: |part, f| display::variant_of(f, part),
};

struct Shown<'a>(&'a Kind, &'a Part);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0.show)(self.1, f)
    }
}

fn compare_parts(
    kind: &Kind,
    (name, ours): (&str, &[Part]),
    (their_name, theirs): (&str, &[Part]),
    roles: Roles,
) -> Option<String> {
    let Kind { one, many, .. } = kind;
    // The contents of a variant have no name of their own.
    let called = |name: &str| {
        if name.is_empty() {
            "type".to_owned()
        } else {
            format!("`{name}`")
        }
    };
    if let Some(part) = beyond(theirs, ours) {
        return Some(format!(
            ": the server's {} has {one} `{}` that this client lacks",
            called(their_name),
            Shown(kind, part)
        ));
    }
    if let Some(part) = beyond(ours, theirs) {
        return Some(format!(
            ": this client's {} has {one} `{}` that the server lacks",
            called(name),
            Shown(kind, part)
        ));
    }
    let pairs = || ours.iter().zip(theirs);
    if ours.len() != theirs.len() || pairs().any(|(ours, theirs)| ours.name != theirs.name) {
        let moved = pairs().find(|(ours, theirs)| ours.name != theirs.name);
        let (ours, theirs) = moved.map_or(("", ""), |(o, t)| (o.name.as_str(), t.name.as_str()));
        return Some(format!(
            ": the {many} of {} are in another order: where this client has `{ours}`, the server \
             has `{theirs}`",
            called(name)
        ));
    }
    pairs().find_map(|(ours, theirs)| {
        compare(&ours.shape, &theirs.shape, roles)
            .map(|found| format!(", {one} `{}` of {}{found}", ours.name, called(name)))
    })
}

/// The first of `some` whose name is not among those of `others`.
fn beyond<'a>(some: &'a [Part], others: &[Part]) -> Option<&'a Part> {
    some.iter()
        .find(|part| others.iter().all(|other| other.name != part.name))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
