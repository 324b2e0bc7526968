//! `host:port`, the part that the network addresses have in common.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest host name, in bytes: what DNS can carry.
const HOST_MAX: usize = 253;

/// A host and a port, such as `127.0.0.1:7000`, `[::1]:7000` or `calc.example:7000`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Without brackets. IP addresses stand in their canonical form, so that equal addresses are
    /// equal; an IPv6 address may carry a zone (`fe80::1%eth0`).
    host: String,
    port: u16,
}

impl HostPort {
    /// The port `port` of `ip`.
    pub fn new(ip: IpAddr, port: u16) -> Self {
        Self {
            host: ip.to_string(),
            port,
        }
    }

    /// The name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 asks a listener for a free one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host, if it is an IP address and not a name.
    pub fn ip(&self) -> Option<IpAddr> {
        let unscoped = self
            .host
            .split_once('%')
            .map_or(self.host.as_str(), |(ip, _)| ip);
        unscoped.parse().ok()
    }

    pub(super) fn with_port(&self, port: u16) -> Self {
        Self {
            host: self.host.clone(),
            port,
        }
    }

    /// Reads `host:port`. The error is what is wrong and, where one can be told, what to write.
    pub(in crate::transport) fn parse(text: &str) -> Result<Self, (String, Option<String>)> {
        let (host, port) = split(text)?;
        Ok(Self {
            host,
            port: parse_port(port, text)?,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_ipv6 = self.host.contains(':');
        if is_ipv6 {
            f.write_str("[")?;
        }
        f.write_str(&self.host)?;
        f.write_str(if is_ipv6 { "]:" } else { ":" })?;
        write!(f, "{}", self.port)
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        let host = match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
            _ => address.ip().to_string(),
        };
        Self {
            host,
            port: address.port(),
        }
    }
}

/// Splits at the colon before the port, and checks the host.
fn split(text: &str) -> Result<(String, &str), (String, Option<String>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((ip, rest)) = rest.split_once(']') else {
            return Err(wrong(
                format_args!("the bracket before the IPv6 address is never closed"),
                None,
            ));
        };
        let Some(port) = rest.strip_prefix(':') else {
            return Err(missing_port(&format!("[{ip}]")));
        };
        return Ok((parse_ipv6(ip)?, port));
    }
    if text.bytes().filter(|byte| *byte == b':').count() > 1 {
        let (ip, port) = text.rsplit_once(':').unwrap_or((text, ""));
        let repair = ip
            .parse::<Ipv6Addr>()
            .ok()
            .map(|ip| format!("[{ip}]:{port}"));
        return Err(wrong(
            format_args!(
                "the host has colons, so it is unclear where it ends; an IPv6 address stands in \
             brackets"
            ),
            repair,
        ));
    }
    match text.split_once(':') {
        Some((host, port)) => Ok((parse_name(host)?, port)),
        None if text.is_empty() => Err(wrong(format_args!("the host is missing"), None)),
        None => Err(missing_port(text)),
    }
}

/// Whether it is a port and no more, which is mostly meant for this machine.
pub(super) fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// What is wrong, and what to write instead.
#[cold]
#[inline(never)]
fn wrong(what: fmt::Arguments<'_>, instead: Option<String>) -> (String, Option<String>) {
    (what.to_string(), instead)
}

fn missing_port(host: &str) -> (String, Option<String>) {
    if is_port(host) {
        return wrong(
            format_args!("the host is missing before the port {host}"),
            Some(format!("127.0.0.1:{host}")),
        );
    }
    wrong(
        format_args!("the port is missing after `{host}`"),
        Some(format!("{host}:7000")),
    )
}

fn parse_port(port: &str, text: &str) -> Result<u16, (String, Option<String>)> {
    if port.is_empty() {
        return Err(missing_port(text.strip_suffix(':').unwrap_or(text)));
    }
    if let Some((number, rest)) = port.split_once('/') {
        if number.parse::<u16>().is_ok() {
            let end = text.len().saturating_sub(rest.len()).saturating_sub(1);
            let repair = text.get(..end).map(str::to_owned);
            return Err(wrong(
                format_args!("nothing stands after the port, but `/{rest}` does"),
                repair,
            ));
        }
    }
    // `parse` alone would take a sign.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong(
            format_args!("the port `{port}` is not a number"),
            None,
        ));
    }
    port.parse()
        .map_err(|_| (format!("the port {port} is above 65535"), None))
}

fn parse_ipv6(text: &str) -> Result<String, (String, Option<String>)> {
    let (ip, zone) = match text.split_once('%') {
        Some((ip, zone)) => (ip, Some(zone)),
        None => (text, None),
    };
    let Ok(ip) = ip.parse::<Ipv6Addr>() else {
        return Err(wrong(
            format_args!("`{text}` in brackets is not an IPv6 address"),
            None,
        ));
    };
    match zone {
        None => Ok(ip.to_string()),
        Some(zone) if !zone.is_empty() && zone.chars().all(is_name_character) => {
            Ok(format!("{ip}%{zone}"))
        }
        Some(zone) => Err(wrong(
            format_args!("the zone `{zone}` of the IPv6 address is malformed"),
            None,
        )),
    }
}

fn parse_name(host: &str) -> Result<String, (String, Option<String>)> {
    if host.is_empty() {
        return Err(wrong(
            format_args!("the host is missing before the port"),
            None,
        ));
    }
    if host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return match host.parse::<Ipv4Addr>() {
            // There is one way alone to write it.
            Ok(_) => Ok(host.to_owned()),
            Err(_) => Err(wrong(format_args!("`{host}` is not an IPv4 address"), None)),
        };
    }
    if host.len() > HOST_MAX {
        return Err(wrong(
            format_args!(
                "the host has {} bytes; names have at most {HOST_MAX}",
                host.len()
            ),
            None,
        ));
    }
    if let Some(odd) = host.chars().find(|&c| !is_name_character(c)) {
        return Err(wrong(
            format_args!("`{odd}` cannot stand in the host `{host}`"),
            None,
        ));
    }
    if host.starts_with('.') || host.as_bytes().windows(2).any(|two| two == b"..") {
        return Err(wrong(
            format_args!("the host `{host}` has an empty part between its dots"),
            None,
        ));
    }
    Ok(host.to_owned())
}

/// Letters, digits, hyphens and dots, and the underscore that container networks use. Other
/// alphabets reach DNS in their `xn--` form.
fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')
}
