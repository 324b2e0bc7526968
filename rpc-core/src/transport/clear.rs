//! Clear text, and where it may go: over the loopback device, and elsewhere only where somebody
//! said `insecure`. A name counts as the addresses that it resolves to.

use std::net::{IpAddr, SocketAddr};

use super::{ConnectOptions, HostPort, ListenOptions};
use crate::error::{Code, Error};

/// Those of `candidates`, which are what `at` resolves to, that clear text may be sent to.
///
/// # Errors
/// [`Code::Insecure`] if there were some and none is left.
pub(super) fn dialled(
    scheme: &str,
    at: &HostPort,
    candidates: Vec<SocketAddr>,
    options: &ConnectOptions,
) -> Result<Vec<SocketAddr>, Error> {
    permitted(candidates, options.is_insecure(), &stays).map_err(|abroad| {
        let text = format!(
            "clear text to {} can be read and changed on its way",
            place(at, abroad)
        );
        Error::new(Code::Insecure, text)
            .with_hint(format!(
                "connect to tls://{at}, or say `.insecure()` on the builder if you trust the \
                 network"
            ))
            .with_address(format!("{scheme}://{at}"))
    })
}

/// As [`dialled`], before anything is resolved: a name may lead anywhere.
pub(super) fn may_dial(scheme: &str, at: &HostPort, options: &ConnectOptions) -> Result<(), Error> {
    match at.ip() {
        Some(ip) if !stays(ip.to_canonical()) => {
            let literal = SocketAddr::new(ip, at.port());
            dialled(scheme, at, vec![literal], options).map(|_| ())
        }
        _ => Ok(()),
    }
}

/// Whether who dials it stays on this host: who dials every address reaches it.
fn stays(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

/// Those of `candidates`, which are what `at` resolves to, where clear text may be listened for.
///
/// # Errors
/// [`Code::Insecure`] if there were some and none is left.
pub(super) fn listened(
    scheme: &str,
    at: &HostPort,
    candidates: Vec<SocketAddr>,
    options: &ListenOptions,
) -> Result<Vec<SocketAddr>, Error> {
    permitted(candidates, options.is_insecure(), &|ip| ip.is_loopback()).map_err(|abroad| {
        let text = format!(
            "other hosts reach {}, and clear text from them can be read and changed on its way",
            place(at, abroad)
        );
        Error::new(Code::Insecure, text)
            .with_hint(format!(
                "listen at tls://{at}, at 127.0.0.1 for this host alone, or say `.insecure()` on \
                 the builder if you trust the network"
            ))
            .with_address(format!("{scheme}://{at}"))
    })
}

/// The candidates that are allowed; if none of several is, the first as the reason.
fn permitted(
    mut candidates: Vec<SocketAddr>,
    insecure: bool,
    stays: &dyn Fn(IpAddr) -> bool,
) -> Result<Vec<SocketAddr>, SocketAddr> {
    let first = candidates.first().copied();
    candidates.retain(|candidate| insecure || stays(candidate.ip().to_canonical()));
    match first {
        Some(first) if candidates.is_empty() => Err(first),
        _ => Ok(candidates),
    }
}

fn place(at: &HostPort, resolved: SocketAddr) -> String {
    if at.ip().is_some() {
        at.host().to_owned()
    } else {
        format!("`{}`, which is {},", at.host(), resolved.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> HostPort {
        HostPort::parse(text).unwrap()
    }

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_loopback_device_needs_no_permission() {
        let options = ConnectOptions::new();
        for text in [
            "127.0.0.1:1",
            "127.9.9.9:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "0.0.0.0:1",
        ] {
            may_dial("tcp", &at(text), &options).unwrap();
        }
        for text in [
            "10.0.0.7:1",
            "[fe80::1]:1",
            "[::ffff:10.0.0.7]:1",
            "192.0.2.1:1",
        ] {
            let error = may_dial("tcp", &at(text), &options).unwrap_err();
            assert_eq!(error.code(), Code::Insecure);
            may_dial("tcp", &at(text), &options.clone().insecure()).unwrap();
        }
    }

    #[test]
    fn a_name_counts_as_what_it_resolves_to() {
        let (name, options) = (at("calc.example:7000"), ConnectOptions::new());
        may_dial("tcp", &name, &options).unwrap();
        let mixed = addresses(&["10.0.0.7:7000", "127.0.0.1:7000"]);
        assert_eq!(
            dialled("tcp", &name, mixed.clone(), &options).unwrap(),
            addresses(&["127.0.0.1:7000"])
        );
        assert_eq!(
            dialled("tcp", &name, mixed.clone(), &options.clone().insecure()).unwrap(),
            mixed
        );
        let error = dialled("tcp", &name, addresses(&["10.0.0.7:7000"]), &options).unwrap_err();
        assert_eq!(
            error.to_string(),
            "tcp://calc.example:7000: clear text refused: clear text to `calc.example`, which is \
             10.0.0.7, can be read and changed on its way; connect to tls://calc.example:7000, or \
             say `.insecure()` on the builder if you trust the network"
        );
    }

    #[test]
    fn a_wildcard_is_reached_by_other_hosts() {
        let options = ListenOptions::new();
        let listen = |text: &str, options: &ListenOptions| {
            listened("tcp", &at(text), addresses(&[text]), options)
        };
        listen("127.0.0.1:0", &options).unwrap();
        for text in ["0.0.0.0:0", "[::]:0", "10.0.0.7:0"] {
            let error = listen(text, &options).unwrap_err();
            assert_eq!(error.code(), Code::Insecure);
            listen(text, &options.clone().insecure()).unwrap();
        }
    }
}
