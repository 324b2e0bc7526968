//! What may be registered and asked for: names, versions, ranges, addresses, sizes.
//!
//! Everything here comes from a peer. What is echoed in an error is cut short.

use std::collections::BTreeSet;

use rpc_core::discovery::matchmaker::{Endpoint, Query, Registration, RegistryError};
use semver::{Version, VersionReq};

use super::account::{Limits, quota};

/// The longest service name: as much as a DNS name or a file name.
pub const NAME_BYTES_MAX: usize = 255;

/// The longest version, which leaves room for a pre-release tag and build metadata.
pub const VERSION_BYTES_MAX: usize = 64;

/// The longest version requirement: a dozen comparisons.
pub const REQUIREMENT_BYTES_MAX: usize = 256;

/// The longest host id: a host name beside a hash.
pub const HOST_BYTES_MAX: usize = 64;

/// The most addresses of one instance: every transport on a few interfaces.
pub const ENDPOINTS_MAX: usize = 16;

/// How much of a faulty value its error repeats.
const ECHO_CHARS: usize = 80;

/// Accepts a registration, with its time to live settled and the host filled in where an address
/// is reachable on the registrant's own host only.
pub(super) fn registration(
    registration: &Registration,
    limits: &Limits,
) -> Result<Registration, RegistryError> {
    if registration.services.is_empty() {
        return Err(malformed("it offers no service; name at least one"));
    }
    if registration.endpoints.is_empty() {
        return Err(malformed(
            "it has no address; listen on one that others can reach",
        ));
    }
    if registration.endpoints.len() > ENDPOINTS_MAX {
        return Err(quota("addresses of one instance", ENDPOINTS_MAX));
    }
    let host = registration.host.as_str();
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err(malformed(&format!(
            "host id {:?} is not 1 to {HOST_BYTES_MAX} printable ASCII characters",
            echo(host)
        )));
    }
    let mut names = BTreeSet::new();
    for offer in &registration.services {
        name(&offer.name)?;
        version(&offer.version)?;
        if !names.insert(offer.name.as_str()) {
            return Err(malformed(&format!(
                "it offers {:?} twice",
                echo(&offer.name)
            )));
        }
    }
    // Measured before anything is copied.
    let texts = registration.endpoints.iter().map(|endpoint| {
        let identity = endpoint.identity.as_ref().map_or(0, String::len);
        endpoint.address.len().saturating_add(identity)
    });
    let tags = registration
        .tags
        .iter()
        .map(|(key, value)| key.len().saturating_add(value.len()));
    if texts.chain(tags).fold(0, usize::saturating_add) > limits.value_bytes {
        return Err(quota(
            "bytes of addresses and tags of one instance",
            limits.value_bytes,
        ));
    }
    let mut accepted = registration.clone();
    accepted.ttl = Some(limits.ttl(registration.ttl));
    for endpoint in &mut accepted.endpoints {
        let reach = address(&endpoint.address)?;
        if endpoint
            .host
            .as_ref()
            .is_some_and(|host| *host != registration.host)
        {
            return Err(invalid_address(
                endpoint,
                "it is bound to another host than the registrant's; leave the host out",
            ));
        }
        let identity = endpoint.identity.as_deref().unwrap_or("-");
        if identity.is_empty() || !identity.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid_address(
                endpoint,
                "the identity that must be found there is not of printable ASCII characters",
            ));
        }
        if reach == Reach::OwnHost {
            endpoint.host = Some(registration.host.clone());
        }
    }
    Ok(accepted)
}

/// Accepts a query and reads its range.
pub(super) fn query(query: &Query) -> Result<Option<VersionReq>, RegistryError> {
    name(&query.name)?;
    let Some(requirement) = &query.version_requirement else {
        return Ok(None);
    };
    let invalid = |problem: String| RegistryError::InvalidRequirement {
        requirement: echo(requirement),
        problem,
    };
    if requirement.len() > REQUIREMENT_BYTES_MAX {
        return Err(invalid(format!(
            "it is longer than {REQUIREMENT_BYTES_MAX} bytes"
        )));
    }
    VersionReq::parse(requirement)
        .map(Some)
        .map_err(|error| invalid(error.to_string()))
}

fn name(name: &str) -> Result<(), RegistryError> {
    let problem = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it is longer than 255 bytes"
    } else if name.split('.').any(str::is_empty) {
        "a dot must stand between two parts"
    } else if !name
        .chars()
        .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
    {
        "only letters, digits, `_`, `-` and `.` may stand in it"
    } else {
        return Ok(());
    };
    Err(RegistryError::InvalidName {
        name: echo(name),
        problem: problem.into(),
    })
}

fn version(version: &str) -> Result<(), RegistryError> {
    let invalid = |problem: String| RegistryError::InvalidVersion {
        version: echo(version),
        problem,
    };
    if version.len() > VERSION_BYTES_MAX {
        return Err(invalid(format!(
            "it is longer than {VERSION_BYTES_MAX} bytes"
        )));
    }
    Version::parse(version)
        .map(drop)
        .map_err(|error| invalid(error.to_string()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// As far as the network goes; a transport that we do not know is taken at its word.
    Anywhere,
    OwnHost,
}

/// Who reaches an address, if it means anything outside its own process.
///
/// Schemes are refused by name and not admitted by name, because users add transports of their own.
fn address(text: &str) -> Result<Reach, RegistryError> {
    let invalid = |problem: &str| RegistryError::InvalidAddress {
        address: echo(text),
        problem: problem.into(),
    };
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(invalid(
            "it has no scheme; write it as in tcp://host:port or unix:/path",
        ));
    };
    // Lower case only, so that no spelling of a refused scheme passes.
    let well_formed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(well_formed) {
        return Err(invalid(
            "its scheme is not made of lower-case letters, digits, `+`, `-`, `.`",
        ));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid("it contains white space or control characters"));
    }
    match scheme {
        "memory" | "pipe" => Err(invalid(
            "it means nothing outside its own process; listen on tcp:// or unix: as well",
        )),
        "exec" => Err(invalid("an entry of the registry must not start a program")),
        "mm" => Err(invalid(
            "it is itself looked up here; register the address behind it",
        )),
        "unix" | "fifo" => match rest.as_bytes() {
            [b'/', _, ..] | [b'@', _, ..] => Ok(Reach::OwnHost),
            _ => Err(invalid("its path is not absolute")),
        },
        "tcp" | "tls" | "udp" => {
            let Some((host, port)) = rest.strip_prefix("//").and_then(|r| r.rsplit_once(':'))
            else {
                return Err(invalid("it is not of the form scheme://host:port"));
            };
            if port.parse::<u16>().map_or(true, |port| port == 0) {
                return Err(invalid("its port is not a number from 1 to 65535"));
            }
            reach(host).ok_or_else(|| {
                invalid("nobody can dial a wildcard; advertise an address of this host")
            })
        }
        _ if rest.is_empty() => Err(invalid("nothing follows its scheme")),
        _ => Ok(Reach::Anywhere),
    }
}

/// Who reaches an IP host; `None` for a wildcard.
fn reach(host: &str) -> Option<Reach> {
    let bare = host
        .strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.is_unspecified() => None,
        Ok(ip) if ip.is_loopback() => Some(Reach::OwnHost),
        Ok(_) => Some(Reach::Anywhere),
        Err(_) if bare.is_empty() || bare == "*" => None,
        Err(_) if bare == "localhost" => Some(Reach::OwnHost),
        Err(_) => Some(Reach::Anywhere),
    }
}

fn invalid_address(endpoint: &Endpoint, problem: &str) -> RegistryError {
    RegistryError::InvalidAddress {
        address: echo(&endpoint.address),
        problem: problem.into(),
    }
}

fn malformed(problem: &str) -> RegistryError {
    RegistryError::InvalidRegistration {
        problem: problem.into(),
    }
}

fn echo(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS) {
        Some((end, _)) => text
            .get(..end)
            .map_or_else(String::new, |cut| format!("{cut}..")),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_core::discovery::matchmaker::{HostId, InstanceId, Offer};

    fn valid() -> Registration {
        let mut registration = Registration::new(InstanceId::random(), HostId::new("here"), 1);
        registration
            .services
            .push(Offer::new("Calculator", "1.2.0", 7));
        registration
            .endpoints
            .push(Endpoint::new("tcp://10.0.0.7:7000"));
        registration
    }

    fn refusal(change: impl FnOnce(&mut Registration)) -> String {
        let mut faulty = valid();
        change(&mut faulty);
        registration(&faulty, &Limits::default()).map_or_else(|e| e.to_string(), |_| "ok".into())
    }

    #[test]
    fn an_address_is_bound_to_the_hosts_that_reach_it() {
        for (text, reach) in [
            ("tcp://10.0.0.7:7000", Reach::Anywhere),
            ("tcp://calc.example:7000", Reach::Anywhere),
            ("tls://[2001:db8::1]:7000", Reach::Anywhere),
            ("carrier+pigeon:loft-7", Reach::Anywhere),
            ("tcp://127.0.0.1:7000", Reach::OwnHost),
            ("tcp://[::1]:7000", Reach::OwnHost),
            ("tcp://localhost:7000", Reach::OwnHost),
            ("unix:/run/calc.sock", Reach::OwnHost),
            ("unix:@calc", Reach::OwnHost),
            ("fifo:/run/calc.wkp", Reach::OwnHost),
        ] {
            assert_eq!(address(text), Ok(reach), "{text}");
        }
    }

    #[test]
    fn row_56_what_must_not_be_dialled_is_not_registered() {
        for text in [
            "memory:calc",
            "pipe:",
            "pipe:3,4",
            "exec:/bin/sh -c true",
            "EXEC:/bin/sh",
            "Exec:/bin/sh",
            " exec:/bin/sh",
            "mm:Calculator",
            "tcp://0.0.0.0:7000",
            "tcp://[::]:7000",
            "tcp://:7000",
            "tcp://*:7000",
            "tcp://10.0.0.7:0",
            "tcp://10.0.0.7",
            "tcp:10.0.0.7:7000",
            "unix:calc",
            "unix:",
            "unix:/",
            "fifo:",
            "nothing",
            "",
            ":",
            "x:",
            "unix:/run/\u{1b}[2J",
            "tcp://10.0.0.7:70000",
            "tcp://10.0.0.7:7000\n",
        ] {
            assert!(address(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_registrants_host_is_filled_in_where_only_it_reaches() {
        let mut given = valid();
        given.endpoints.push(Endpoint::new("unix:/run/calc.sock"));
        let accepted = registration(&given, &Limits::default()).unwrap();
        assert_eq!(accepted.endpoints[0].host, None);
        assert_eq!(accepted.endpoints[1].host, Some(HostId::new("here")));
        let again = registration(&accepted, &Limits::default()).unwrap();
        assert_eq!(again, accepted);
    }

    #[test]
    fn malformed_registrations_are_told_what_to_do() {
        assert_eq!(refusal(|_| ()), "ok");
        assert!(refusal(|r| r.services.clear()).contains("name at least one"));
        assert!(refusal(|r| r.endpoints.clear()).contains("listen on one"));
        assert!(refusal(|r| r.services.push(r.services[0].clone())).contains("twice"));
        assert!(refusal(|r| r.host = HostId::new("a b")).contains("host id"));
        assert!(refusal(|r| r.services[0].version = "1.2".into()).contains("1.2.0"));
        for name in [
            "",
            ".a",
            "a.",
            "a..b",
            "a b",
            "a/b",
            "a\u{1b}b",
            &"x".repeat(256),
        ] {
            assert!(
                refusal(|r| r.services[0].name = name.into()).contains("service name"),
                "{name}"
            );
        }
        assert!(
            refusal(|r| {
                r.endpoints = vec![Endpoint::on_host("unix:/a/b", HostId::new("elsewhere"))];
            })
            .contains("another host")
        );
        for identity in ["", "spiffe://a b", "dns:a\n"] {
            let refused = refusal(|r| r.endpoints[0].identity = Some(identity.into()));
            assert!(refused.contains("identity"), "{identity:?}: {refused}");
        }
    }

    #[test]
    fn row_39_one_record_is_bounded() {
        assert!(
            refusal(|r| {
                r.tags.insert("key".into(), "x".repeat(4096));
            })
            .contains("limit is 4096")
        );
        assert!(
            refusal(|r| {
                r.endpoints = vec![Endpoint::new("tcp://10.0.0.7:7000"); ENDPOINTS_MAX + 1];
            })
            .contains("limit is 16")
        );
        assert!(
            refusal(|r| r.endpoints[0].identity = Some("x".repeat(4096))).contains("limit is 4096")
        );
        let long = refusal(|r| r.services[0].name = "é".repeat(100_000));
        assert!(long.len() < 400, "{}", long.len());
    }

    #[test]
    fn ranges_follow_semver() {
        let accepts = |requirement: &str, version: &str| {
            let query = query(&Query::new("A").with_version(requirement))
                .unwrap()
                .unwrap();
            query.matches(&Version::parse(version).unwrap())
        };
        assert!(accepts("1.2.0", "1.9.3"));
        assert!(!accepts("1.2.0", "2.0.0"));
        assert!(!accepts("1.2.0", "1.1.9"));
        assert!(accepts("=1.2.0", "1.2.0") && !accepts("=1.2.0", "1.2.1"));
        assert!(accepts("^1", "1.0.0") && !accepts("^1", "0.9.0"));
        assert!(accepts(">=1.2, <2", "1.99.0") && !accepts(">=1.2, <2", "2.0.0"));
        assert!(accepts("1.2.*", "1.2.7") && !accepts("1.2.*", "1.3.0"));
        assert!(!accepts("^1", "1.3.0-beta") && accepts("^1.3.0-alpha", "1.3.0-beta"));
        for wrong in ["", "one", ">=1.2 <2", "^1 || ^2", &"1,".repeat(200)] {
            assert!(
                query(&Query::new("A").with_version(wrong)).is_err(),
                "{wrong}"
            );
        }
    }
}
