//! From text to [`Address`], and from mistakes to sentences that say the repair.

use std::fmt::{self, Write as _};

use super::host::is_port;
use super::{ADDRESS_MAX, Address, HostPort, UNIX_PATH_MAX, words};
use crate::error::{Code, Error};

/// Every scheme, with the form that a message shows.
const SCHEMES: &[(&str, &str)] = &[
    ("tcp", "tcp://host:port"),
    ("tls", "tls://host:port"),
    ("udp", "udp://host:port"),
    ("unix", "unix:/path"),
    ("fifo", "fifo:/path"),
    ("pipe", "pipe:"),
    ("exec", "exec:program args"),
    ("memory", "memory:name"),
    ("mm", "mm:Service"),
];

/// Words that other systems use for what has another name here.
const ALIASES: &[(&str, &str)] = &[
    ("http", "tcp"),
    ("https", "tls"),
    ("grpc", "tcp"),
    ("ssl", "tls"),
    ("ipc", "unix"),
    ("file", "unix"),
    ("npipe", "fifo"),
    ("stdio", "pipe"),
    ("inproc", "memory"),
    ("matchmaker", "mm"),
    ("discover", "mm"),
];

/// How much of a text that may come from a peer is repeated in a message, in characters: enough to
/// recognise it, too little to flood a log.
const QUOTE_MAX: usize = 200;

/// The longest name of a service or of a memory address, in bytes; the same bound as for a file.
const NAME_MAX: usize = 255;

pub(super) fn address(text: &str) -> Result<Address, Error> {
    parse(text).map_err(|Wrong { what, write }| {
        let error = Error::new(Code::InvalidAddress, quote(&what)).with_address(quote(text));
        match write {
            Some(write) => error.with_hint(quote(&write)),
            None => error,
        }
    })
}

/// What is wrong, and what to do about it.
struct Wrong {
    what: String,
    write: Option<String>,
}

impl Wrong {
    #[cold]
    #[inline(never)]
    fn new(what: fmt::Arguments<'_>) -> Self {
        Self {
            what: what.to_string(),
            write: None,
        }
    }

    /// Names the text to write instead.
    #[cold]
    #[inline(never)]
    fn write(mut self, instead: fmt::Arguments<'_>) -> Self {
        self.write = Some(format!("write `{instead}`"));
        self
    }
}

fn parse(text: &str) -> Result<Address, Wrong> {
    if text.is_empty() {
        return Err(
            Wrong::new(format_args!("the address is empty")).write(format_args!("tcp://host:port"))
        );
    }
    if text.len() > ADDRESS_MAX {
        return Err(Wrong::new(format_args!(
            "the address has {} bytes; at most {ADDRESS_MAX} are allowed",
            text.len()
        )));
    }
    // Most addresses are seen to have none without being taken apart.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let mut characters = if is_plain { "" } else { text }.chars().enumerate();
    if let Some((place, wrong)) = characters.find(|(_, c)| c.is_control()) {
        return Err(Wrong::new(format_args!(
            "the control character {} at position {} cannot stand in an address",
            wrong.escape_default(),
            place.saturating_add(1)
        )));
    }
    if text.trim() != text {
        return Err(
            Wrong::new(format_args!("white space stands around the address"))
                .write(format_args!("{}", text.trim())),
        );
    }
    let Some((scheme, rest)) = text.split_once(':') else {
        return Err(without_scheme(text));
    };
    if let Some(feature) = left_out(scheme) {
        let mut wrong = Wrong::new(format_args!("this program was built without `{feature}`"));
        wrong.write = Some(format!("enable the feature `{feature}` of rpc-core"));
        return Err(wrong);
    }
    match scheme {
        "tcp" => host_port(scheme, rest).map(Address::Tcp),
        "tls" => host_port(scheme, rest).map(Address::Tls),
        "udp" => host_port(scheme, rest).map(Address::Udp),
        "unix" if cfg!(feature = "unix") => unix(rest),
        "fifo" if cfg!(feature = "pipes") => Ok(Address::Fifo {
            path: path(scheme, rest)?,
        }),
        "pipe" if rest.is_empty() => Ok(Address::Pipe),
        "pipe" => Err(Wrong::new(format_args!(
            "`{rest}` stands after `pipe:`, which means the inherited descriptors and takes nothing"
        ))
        .write(format_args!("pipe:"))),
        "exec" if cfg!(feature = "pipes") => exec(rest),
        "memory" if cfg!(feature = "memory") => memory(rest),
        "mm" if cfg!(feature = "discovery") => matchmaker(rest),
        _ => Err(unknown_scheme(scheme, rest, text)),
    }
}

/// The feature of this crate that reads the rest of such an address, if this program was built without
/// it. Those that are a host and a port are read by every program: they may be another's.
fn left_out(scheme: &str) -> Option<&'static str> {
    let (feature, is_on) = match scheme {
        "unix" => ("unix", cfg!(feature = "unix")),
        "fifo" | "exec" => ("pipes", cfg!(feature = "pipes")),
        "memory" => ("memory", cfg!(feature = "memory")),
        "mm" => ("discovery", cfg!(feature = "discovery")),
        _ => return None,
    };
    (!is_on).then_some(feature)
}

fn host_port(scheme: &str, rest: &str) -> Result<HostPort, Wrong> {
    let Some(at) = rest.strip_prefix("//") else {
        let (host, at) = match rest.trim_start_matches('/') {
            "" => ("", "host:port"),
            port if is_port(port) => ("127.0.0.1:", port),
            at => ("", at),
        };
        return Err(
            Wrong::new(format_args!("`//` is missing after `{scheme}:`"))
                .write(format_args!("{scheme}://{host}{at}")),
        );
    };
    HostPort::parse(at).map_err(|(what, instead)| {
        let wrong = Wrong::new(format_args!("{what}"));
        match instead {
            Some(instead) => wrong.write(format_args!("{scheme}://{instead}")),
            None => wrong.write(format_args!("{scheme}://host:port")),
        }
    })
}

fn unix(rest: &str) -> Result<Address, Wrong> {
    let (kind, bytes, address) = if let Some(name) = rest.strip_prefix('@') {
        if name.is_empty() {
            return Err(
                Wrong::new(format_args!("the abstract name after `@` is missing"))
                    .write(format_args!("unix:@name")),
            );
        }
        (
            "abstract name",
            name.len(),
            Address::UnixAbstract {
                name: name.to_owned(),
            },
        )
    } else {
        let path = path("unix", rest)?;
        ("path", path.len(), Address::Unix { path })
    };
    if bytes > UNIX_PATH_MAX {
        let mut wrong = Wrong::new(format_args!(
            "the {kind} has {bytes} bytes; a Unix socket's has at most {UNIX_PATH_MAX}"
        ));
        wrong.write = Some("choose a shorter one".into());
        return Err(wrong);
    }
    Ok(address)
}

/// Reads `/path` and `///path`.
fn path(scheme: &str, rest: &str) -> Result<String, Wrong> {
    if rest.is_empty() || rest == "//" {
        return Err(
            Wrong::new(format_args!("the path is missing")).write(format_args!("{scheme}:/path"))
        );
    }
    if let Some(host) = rest
        .strip_prefix("//")
        .filter(|rest| !rest.starts_with('/'))
    {
        return Err(Wrong::new(format_args!(
            "`{}` stands where a host would, and a {scheme} address has none",
            host.split('/').next().unwrap_or(host)
        ))
        .write(format_args!("{scheme}:/{host}")));
    }
    if !rest.starts_with('/') {
        return Err(Wrong::new(format_args!(
            "the path `{rest}` is relative, and would mean another file to another process"
        ))
        .write(format_args!(
            "{scheme}:/path/to/{}",
            rest.trim_start_matches("./")
        )));
    }
    if rest.ends_with('/') {
        return Err(Wrong::new(format_args!(
            "the path ends with `/`, as only a directory does"
        )));
    }
    Ok(["/", rest.trim_start_matches('/')].concat())
}

fn exec(command: &str) -> Result<Address, Wrong> {
    let words = words::split(command).map_err(|what| {
        Wrong::new(format_args!("{what}")).write(format_args!("exec:program 'an argument' another"))
    })?;
    if words.first().is_none_or(String::is_empty) {
        return Err(Wrong::new(format_args!("the program is missing"))
            .write(format_args!("exec:program args")));
    }
    Ok(Address::Exec {
        command: command.to_owned(),
    })
}

fn memory(name: &str) -> Result<Address, Wrong> {
    if name.is_empty() || name.starts_with("//") {
        let name = name.trim_start_matches('/');
        let name = if name.is_empty() { "name" } else { name };
        return Err(
            Wrong::new(format_args!("a name stands right after `memory:`"))
                .write(format_args!("memory:{name}")),
        );
    }
    check_length("the name", name)?;
    Ok(Address::Memory {
        name: name.to_owned(),
    })
}

fn matchmaker(rest: &str) -> Result<Address, Wrong> {
    let Some(rest) = rest.strip_prefix("//") else {
        if rest.is_empty() {
            return Err(Wrong::new(format_args!("the service is missing"))
                .write(format_args!("mm:Service")));
        }
        return Ok(Address::Matchmaker {
            daemon: None,
            service: Some(service(rest)?),
        });
    };
    let (at, name) = match rest.split_once('/') {
        Some((at, name)) => (at, Some(name)),
        None => (rest, None),
    };
    let daemon = HostPort::parse(at).map_err(|(what, instead)| {
        let service = name.filter(|name| !name.is_empty()).unwrap_or("Service");
        let at = instead.unwrap_or_else(|| "host:port".into());
        Wrong::new(format_args!("of the matchmaker {what}"))
            .write(format_args!("mm://{at}/{service}"))
    })?;
    let service = match name {
        Some("") => {
            return Err(Wrong::new(format_args!("the service is missing after `/`"))
                .write(format_args!("mm://{at}/Service")));
        }
        Some(name) => Some(service(name)?),
        None => None,
    };
    Ok(Address::Matchmaker {
        daemon: Some(daemon),
        service,
    })
}

fn service(name: &str) -> Result<String, Wrong> {
    check_length("the service", name)?;
    match name
        .chars()
        .find(|&c| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '-')))
    {
        Some(wrong) => Err(Wrong::new(format_args!(
            "`{wrong}` cannot stand in the name of a service, which has letters, digits, `.`, `_` \
             and `-`"
        ))),
        None => Ok(name.to_owned()),
    }
}

fn check_length(what: &str, name: &str) -> Result<(), Wrong> {
    if name.len() > NAME_MAX {
        return Err(Wrong::new(format_args!(
            "{what} has {} bytes; at most {NAME_MAX} are allowed",
            name.len()
        )));
    }
    Ok(())
}

fn without_scheme(text: &str) -> Wrong {
    let wrong = Wrong::new(format_args!("it does not begin with a transport"));
    if text.starts_with('/') {
        wrong.write(format_args!("unix:{text}"))
    } else if let Some((_, form)) = SCHEMES.iter().find(|(scheme, _)| *scheme == text) {
        wrong.write(format_args!("{form}"))
    } else if is_port(text) {
        wrong.write(format_args!("tcp://127.0.0.1:{text}"))
    } else {
        wrong.write(format_args!("tcp://{text}:7000"))
    }
}

fn unknown_scheme(scheme: &str, rest: &str, text: &str) -> Wrong {
    let is_number = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    if is_number || text.starts_with('[') {
        return Wrong::new(format_args!("it does not begin with a transport"))
            .write(format_args!("tcp://{text}"));
    }
    let wrong = Wrong::new(format_args!("the transport `{scheme}` is unknown"));
    let lower = scheme.to_ascii_lowercase();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == lower);
    let meant = match alias {
        Some((_, scheme)) => Some(*scheme),
        None => nearest_scheme(&lower),
    };
    match meant.and_then(|meant| SCHEMES.iter().find(|(scheme, _)| *scheme == meant)) {
        Some((_, form)) => Wrong {
            write: Some(format!("did you mean `{form}`?")),
            ..wrong
        },
        None => {
            let mut write = String::from("write one of");
            for (place, (_, form)) in SCHEMES.iter().enumerate() {
                let comma = if place == 0 { "" } else { "," };
                let _ = write!(write, "{comma} `{form}`");
            }
            Wrong {
                write: Some(write),
                ..wrong
            }
        }
    }
}

/// The scheme that `word` was meant to be, if one is a single slip away.
fn nearest_scheme(word: &str) -> Option<&'static str> {
    SCHEMES
        .iter()
        .map(|(scheme, _)| *scheme)
        .find(|scheme| is_one_slip(word, scheme))
}

/// Whether at most one letter was added, dropped, changed, or swapped with its neighbour.
fn is_one_slip(word: &str, meant: &str) -> bool {
    let (mut word, mut meant) = (word.as_bytes(), meant.as_bytes());
    while let ([a, word_rest @ ..], [b, meant_rest @ ..]) = (word, meant) {
        if a != b {
            break;
        }
        (word, meant) = (word_rest, meant_rest);
    }
    while let ([word_rest @ .., a], [meant_rest @ .., b]) = (word, meant) {
        if a != b {
            break;
        }
        (word, meant) = (word_rest, meant_rest);
    }
    match (word, meant) {
        ([a, b], [c, d]) => a == d && b == c,
        _ => word.len() <= 1 && meant.len() <= 1,
    }
}

/// Text from anywhere, made fit for one line of a log.
fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for (place, c) in text.chars().enumerate() {
        if place == QUOTE_MAX {
            quoted.push_str("..");
            break;
        }
        if c.is_control() || is_direction(c) {
            quoted.extend(c.escape_default());
        } else {
            quoted.push(c);
        }
    }
    quoted
}

/// Characters that reorder the text around them, so that a line would not read as it is.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
