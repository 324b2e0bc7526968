//! Which addresses a process registers, and which of them a client tries, in which order.

use super::host;
use super::matchmaker::{Endpoint, HostId};
use crate::error::Error;
use crate::server::Place;
use crate::transport::{Address, IntoAddress as _};

/// What a server that listens at `addresses` registers, the nearest first. A wildcard stands for
/// the host's addresses; what only this host reaches says so.
pub(super) fn offered(places: &[Place], here: &HostId) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for Place { address, identity } in places {
        // A transport of the user's own has addresses that nobody else can read.
        let Ok(address) = address.as_str().into_address() else {
            continue;
        };
        if address.is_local_only() {
            continue;
        }
        let identity = identity.clone().filter(|name| means_the_same(name));
        let first = endpoints.len();
        if address.is_wildcard() {
            let port = address.host_port().map_or(0, |at| at.port());
            for ip in host::addresses() {
                endpoints.push(Endpoint::new(address.clone().with_ip(ip).to_string()));
            }
            let loopback = address
                .with_ip(std::net::Ipv4Addr::LOCALHOST.into())
                .with_port(port);
            endpoints.push(Endpoint::on_host(loopback.to_string(), here.clone()));
        } else if is_host_bound(&address) {
            endpoints.push(Endpoint::on_host(address.to_string(), here.clone()));
        } else {
            endpoints.push(Endpoint::new(address.to_string()));
        }
        for endpoint in endpoints.iter_mut().skip(first) {
            endpoint.identity = identity.clone();
        }
    }
    nearest_first(endpoints, &|endpoint| distance(endpoint.address.as_str()))
}

/// What `.advertise` said, word for word.
pub(super) fn advertised(
    addresses: Vec<Result<Address, Error>>,
    here: &HostId,
) -> Result<Vec<Endpoint>, Error> {
    let endpoint = |address: Result<Address, Error>| {
        address.map(|address| {
            if is_host_bound(&address) {
                Endpoint::on_host(address.to_string(), here.clone())
            } else {
                Endpoint::new(address.to_string())
            }
        })
    };
    addresses.into_iter().map(endpoint).collect()
}

/// Where a client may try to reach an instance, and whom it must find there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) address: Address,
    pub(super) identity: Option<String>,
}

/// Those of `endpoints` that lead somewhere from host `here`, the nearest first. What cannot be read,
/// and what must never come from a registry, is left out.
pub(super) fn reachable(endpoints: &[Endpoint], here: &HostId) -> Vec<Target> {
    let reachable: Vec<Target> = endpoints
        .iter()
        .filter(|endpoint| endpoint.host.as_ref().is_none_or(|host| host == here))
        .filter_map(|endpoint| {
            let identity = endpoint.identity.clone();
            Some(Target {
                address: endpoint.address.as_str().into_address().ok()?,
                identity: identity.filter(|name| means_the_same(name)),
            })
        })
        .filter(|target| !target.address.is_local_only())
        .collect();
    nearest_first(reachable, &|target| distance(&target.address.to_string()))
}

/// By their distance, and otherwise in their order. There are a handful, for which a sort would be
/// much code.
fn nearest_first<T>(places: Vec<T>, distance: &dyn Fn(&T) -> u8) -> Vec<T> {
    let mut sorted: Vec<(u8, T)> = Vec::new();
    for place in places {
        let distance = distance(&place);
        let at = sorted.partition_point(|(other, _)| *other <= distance);
        sorted.insert(at, (distance, place));
    }
    sorted.into_iter().map(|(_, place)| place).collect()
}

/// Whether the name of an identity means the same to other processes of this host. The numbers of
/// users do not where this process has a name space of its own for them.
fn means_the_same(identity: &str) -> bool {
    !identity.starts_with("uid:") || host::has_plain_users()
}

/// Unix sockets before everything else: they are faster, and the kernel says who is there. Then named
/// pipes, where at least the file system says whose they are. Datagrams last: they take small calls
/// only.
fn distance(address: &str) -> u8 {
    match address.split_once(':') {
        Some(("unix", _)) => 0,
        Some(("fifo", _)) => 1,
        Some(("udp", _)) => 3,
        _ => 2,
    }
}

/// Whether only processes of one host reach the address.
fn is_host_bound(address: &Address) -> bool {
    match address.host_port() {
        Some(at) => at.ip().is_some_and(|ip| ip.is_loopback()),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> HostId {
        HostId::new("here")
    }

    fn places(addresses: &[&str]) -> Vec<Place> {
        let place = |address: &&str| Place {
            address: (*address).to_owned(),
            identity: None,
        };
        addresses.iter().map(place).collect()
    }

    #[test]
    fn what_only_this_host_reaches_says_so() {
        let offered = offered(
            &places(&[
                "tcp://127.0.0.1:7000",
                "tcp://10.0.0.7:7000",
                "fifo:/run/c.wkp",
                "unix:/run/c.sock",
            ]),
            &here(),
        );
        assert_eq!(
            offered,
            [
                Endpoint::on_host("unix:/run/c.sock", here()),
                Endpoint::on_host("fifo:/run/c.wkp", here()),
                Endpoint::on_host("tcp://127.0.0.1:7000", here()),
                Endpoint::new("tcp://10.0.0.7:7000"),
            ]
        );
    }

    #[test]
    fn a_wildcard_is_never_registered_as_it_is() {
        let offered = offered(&places(&["tcp://0.0.0.0:7000"]), &here());
        assert!(offered.contains(&Endpoint::on_host("tcp://127.0.0.1:7000", here())));
        assert!(
            offered
                .iter()
                .all(|endpoint| !endpoint.address.contains("0.0.0.0"))
        );
    }

    #[test]
    fn a_client_tries_what_it_can_reach_and_the_nearest_first() {
        let elsewhere = HostId::new("elsewhere");
        let endpoints = [
            Endpoint::new("udp://10.0.0.7:7000"),
            Endpoint::new("tcp://10.0.0.7:7000"),
            Endpoint::on_host("unix:/run/a.sock", here()),
            Endpoint::on_host("unix:/run/b.sock", elsewhere),
            Endpoint::new("exec:/bin/sh"),
            Endpoint::new("memory:trap"),
            Endpoint::new("nonsense"),
        ];
        let reachable: Vec<_> = reachable(&endpoints, &here())
            .iter()
            .map(|target| target.address.to_string())
            .collect();
        let nearest_first = [
            "unix:/run/a.sock",
            "tcp://10.0.0.7:7000",
            "udp://10.0.0.7:7000",
        ];
        assert_eq!(reachable, nearest_first);
    }

    #[test]
    fn memory_is_never_registered() {
        assert_eq!(offered(&places(&["memory:calc"]), &here()), []);
    }

    #[test]
    fn whoever_must_be_found_is_registered_with_every_address_of_the_place() {
        let place = Place {
            address: "tls://0.0.0.0:7000".into(),
            identity: Some("spiffe://prod/calc".into()),
        };
        let offered = offered(&[place], &here());
        let named = Endpoint::on_host("tls://127.0.0.1:7000", here())
            .with_identity(Some("spiffe://prod/calc".into()));
        assert!(offered.contains(&named), "{offered:?}");
        let found = reachable(&offered, &here());
        assert!(
            found
                .iter()
                .all(|target| target.identity.as_deref() == Some("spiffe://prod/calc")),
            "{found:?}"
        );
    }
}
