//! Which host this is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use super::matchmaker::HostId;

/// Names this host and its network: two processes with one id reach each other's Unix sockets and
/// loopback addresses. Containers with a network of their own count as hosts of their own.
pub(super) fn id() -> HostId {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    let network = std::fs::read_link("/proc/self/ns/net").ok();
    let boot = boot.map(|text| text.trim().to_owned()).unwrap_or_else(name);
    // The link reads "net:[4026531840]".
    let network = network
        .map(|link| link.to_string_lossy().into_owned())
        .unwrap_or_default();
    let network: String = network.chars().filter(char::is_ascii_digit).collect();
    HostId::new(format!("{boot}.{network}"))
}

/// Whether the numbers of users mean the same in this process as in the rest of the host, which they
/// do unless it has a name space of its own for them. Where nobody can tell, they do not.
pub(super) fn has_plain_users() -> bool {
    if cfg!(not(target_os = "linux")) {
        return true;
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// What there is instead of a boot id where the system has none or hides it.
#[cfg(unix)]
fn name() -> String {
    let name = rustix::system::uname();
    let printable = |c: &char| c.is_ascii_graphic();
    name.nodename()
        .to_string_lossy()
        .chars()
        .filter(printable)
        .take(40)
        .collect()
}

#[cfg(not(unix))]
fn name() -> String {
    "localhost".to_owned()
}

/// The addresses under which others reach this host: those that the system would send from. No
/// packet is sent to find out; connecting a datagram socket only chooses a route.
pub(super) fn addresses() -> Vec<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): routed like the rest of the world.
    let v4 = route(
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv4Addr::new(192, 0, 2, 1).into(),
    );
    let v6 = route(
        Ipv6Addr::UNSPECIFIED.into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
    );
    let usable = |ip: &IpAddr| !ip.is_unspecified() && !ip.is_loopback();
    [v4, v6].into_iter().flatten().filter(usable).collect()
}

fn route(from: IpAddr, to: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((to, 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}
