//! The rules for names on the wire and on the client, and for versions.

use std::collections::HashMap;

use crate::ast::{Method, Service};
use crate::errors::Errors;
use crate::names;

/// Reports bad names and versions.
pub(super) fn check(service: &Service<'_>, errors: &mut Errors) {
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

/// Reports a method whose name the client keeps for itself.
pub(super) fn check_client(method: &Method<'_>, errors: &mut Errors) {
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

/// Two methods of one name would be one method to the peer. Methods with a `#[cfg]` may exclude
/// each other; the server looks at those when it starts.
pub(super) fn check_wire(service: &mut Service<'_>, errors: &mut Errors) {
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
