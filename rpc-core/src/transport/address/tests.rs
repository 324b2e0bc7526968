use super::*;
use crate::error::Code;

fn parse(text: &str) -> Address {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn sentence(text: &str) -> String {
    let error = text.parse::<Address>().expect_err(text);
    assert_eq!(error.code(), Code::InvalidAddress, "{text}");
    error.to_string()
}

#[test]
fn what_is_written_reads_back() {
    for text in [
        "tcp://127.0.0.1:7000",
        "tcp://[::1]:7000",
        "tcp://[fe80::1%eth0]:7000",
        "tcp://calc.example:7000",
        "tcp://my_host-2.:0",
        "tls://calc.example:443",
        "udp://[::]:9",
        "unix:/run/calc.sock",
        "unix:/run/with space/ü.sock",
        "unix:@calc",
        "fifo:/run/calc.wkp",
        "pipe:",
        "exec:calculator --quiet  'two words'",
        "memory:calc/1",
        "mm:Calculator",
        "mm:math.Calculator-2",
        "mm://127.0.0.1:7111/Calculator",
        "mm://[::1]:7111",
    ] {
        let address = parse(text);
        assert_eq!(address.to_string(), text);
        assert_eq!(text.split(':').next(), Some(address.scheme()));
    }
}

#[test]
fn equal_places_are_equal_addresses() {
    for (text, canonical) in [
        ("unix:///run/calc.sock", "unix:/run/calc.sock"),
        ("unix:////run/calc.sock", "unix:/run/calc.sock"),
        ("fifo:///run/calc.wkp", "fifo:/run/calc.wkp"),
        ("tcp://[0:0:0:0:0:0:0:1]:80", "tcp://[::1]:80"),
        ("tcp://[::FFFF]:080", "tcp://[::ffff]:80"),
    ] {
        assert_eq!(parse(text), parse(canonical));
        assert_eq!(parse(text).to_string(), canonical);
    }
}

#[test]
fn a_mistake_is_answered_with_its_repair() {
    for (text, expected) in [
        (
            "",
            "invalid address: the address is empty; write `tcp://host:port`",
        ),
        (
            "127.0.0.1:7000",
            "does not begin with a transport; write `tcp://127.0.0.1:7000`",
        ),
        (
            "localhost:7000",
            "does not begin with a transport; write `tcp://localhost:7000`",
        ),
        (
            "localhost",
            "does not begin with a transport; write `tcp://localhost:7000`",
        ),
        (
            "[::1]:7000",
            "does not begin with a transport; write `tcp://[::1]:7000`",
        ),
        (
            "/run/calc.sock",
            "does not begin with a transport; write `unix:/run/calc.sock`",
        ),
        ("pipe", "does not begin with a transport; write `pipe:`"),
        (
            "tpc://h:1",
            "the transport `tpc` is unknown; did you mean `tcp://host:port`?",
        ),
        (
            "TCP://h:1",
            "the transport `TCP` is unknown; did you mean `tcp://host:port`?",
        ),
        (
            "tp://h:1",
            "the transport `tp` is unknown; did you mean `tcp://host:port`?",
        ),
        (
            "execs:a",
            "the transport `execs` is unknown; did you mean `exec:program args`?",
        ),
        (
            "unxi:/a",
            "the transport `unxi` is unknown; did you mean `unix:/path`?",
        ),
        (
            "memroy:a",
            "the transport `memroy` is unknown; did you mean `memory:name`?",
        ),
        (
            "https://h:1",
            "the transport `https` is unknown; did you mean `tls://host:port`?",
        ),
        (
            "carrier-pigeon:a",
            "write one of `tcp://host:port`, `tls://host:port`",
        ),
        ("tcp:h:1", "`//` is missing after `tcp:`; write `tcp://h:1`"),
        (
            "tcp:/h:1",
            "`//` is missing after `tcp:`; write `tcp://h:1`",
        ),
        (
            "tcp:7111",
            "`//` is missing after `tcp:`; write `tcp://127.0.0.1:7111`",
        ),
        (
            "tcp://7111",
            "the host is missing before the port 7111; write `tcp://127.0.0.1:7111`",
        ),
        (
            "tcp://70000",
            "the port is missing after `70000`; write `tcp://70000:7000`",
        ),
        (
            "localhost:70000",
            "does not begin with a transport; write `tcp://localhost:70000`",
        ),
        (
            "7111",
            "does not begin with a transport; write `tcp://127.0.0.1:7111`",
        ),
        ("tcp://", "the host is missing; write `tcp://host:port`"),
        ("tcp://:80", "the host is missing before the port"),
        (
            "tcp://host",
            "the port is missing after `host`; write `tcp://host:7000`",
        ),
        (
            "tcp://host:",
            "the port is missing after `host`; write `tcp://host:7000`",
        ),
        (
            "tcp://[::1]",
            "the port is missing after `[::1]`; write `tcp://[::1]:7000`",
        ),
        ("tcp://host:http", "the port `http` is not a number"),
        ("tcp://host:+80", "the port `+80` is not a number"),
        ("tcp://host:65536", "the port 65536 is above 65535"),
        (
            "tcp://host:80/",
            "nothing stands after the port, but `/` does; write `tcp://host:80`",
        ),
        ("tcp://host:80/a", "but `/a` does; write `tcp://host:80`"),
        (
            "tcp://::1:80",
            "an IPv6 address stands in brackets; write `tcp://[::1]:80`",
        ),
        (
            "tcp://[::1:80",
            "the bracket before the IPv6 address is never closed",
        ),
        (
            "tcp://[host]:80",
            "`host` in brackets is not an IPv6 address",
        ),
        (
            "tcp://[fe80::1%]:80",
            "the zone `` of the IPv6 address is malformed",
        ),
        ("tcp://256.0.0.1:80", "`256.0.0.1` is not an IPv4 address"),
        // Otherwise one host would have two texts.
        ("tcp://127.0.0.01:80", "`127.0.0.01` is not an IPv4 address"),
        ("tcp://ho st:80", "` ` cannot stand in the host `ho st`"),
        ("tcp://me@host:80", "`@` cannot stand in the host `me@host`"),
        (
            "tcp://a..b:80",
            "the host `a..b` has an empty part between its dots",
        ),
        (
            " tcp://host:80",
            "white space stands around the address; write `tcp://host:80`",
        ),
        (
            "tcp://host\n:80",
            "the control character \\n at position 11 cannot stand",
        ),
        ("unix:", "the path is missing; write `unix:/path`"),
        (
            "unix:@",
            "the abstract name after `@` is missing; write `unix:@name`",
        ),
        (
            "unix:calc.sock",
            "is relative, and would mean another file to another process",
        ),
        ("unix:./calc.sock", "write `unix:/path/to/calc.sock`"),
        (
            "unix://run/a",
            "`run` stands where a host would, and a unix address has none",
        ),
        ("unix://run/a", "write `unix:/run/a`"),
        (
            "unix:/run/",
            "the path ends with `/`, as only a directory does",
        ),
        ("pipe:3", "`3` stands after `pipe:`"),
        ("exec: ", "white space stands around the address"),
        ("exec:", "the program is missing; write `exec:program args`"),
        ("exec:'' a", "the program is missing"),
        ("exec:a 'b", "a `'` is not closed"),
        (
            "memory:",
            "a name stands right after `memory:`; write `memory:name`",
        ),
        ("memory://calc", "write `memory:calc`"),
        ("mm:", "the service is missing; write `mm:Service`"),
        ("mm:Cal/c", "`/` cannot stand in the name of a service"),
        (
            "mm://h:1/",
            "the service is missing after `/`; write `mm://h:1/Service`",
        ),
        (
            "mm://h/Calc",
            "of the matchmaker the port is missing after `h`; write `mm://h:7000/Calc`",
        ),
    ] {
        let sentence = sentence(text);
        assert!(
            sentence.contains(expected),
            "{text:?} is answered with {sentence:?}"
        );
    }
}

#[test]
fn row_54_a_long_unix_path_is_named_with_the_limit() {
    let longest = format!("/tmp/{}", "a".repeat(UNIX_PATH_MAX - 5));
    assert_eq!(
        parse(&format!("unix:{longest}")),
        Address::Unix {
            path: longest.clone()
        }
    );

    let sentence = sentence(&format!("unix:{longest}b"));
    assert!(sentence.contains(&format!("{longest}b")), "{sentence}");
    assert!(
        sentence.contains(&format!("{} bytes", UNIX_PATH_MAX + 1)),
        "{sentence}"
    );
    assert!(
        sentence.contains(&format!("at most {UNIX_PATH_MAX}")),
        "{sentence}"
    );

    let name = "n".repeat(UNIX_PATH_MAX);
    parse(&format!("unix:@{name}"));
    self::sentence(&format!("unix:@{name}n"));
}

#[test]
fn what_a_peer_wrote_cannot_forge_a_log_line() {
    let sentence = sentence("tcp://a\r\n\u{1b}[2J\u{202e}:1");
    assert!(
        !sentence.chars().any(|c| c.is_control() || c == '\u{202e}'),
        "{sentence:?}"
    );
    assert!(self::sentence(&"x".repeat(1 << 20)).len() < 1000);
}

#[test]
fn helpers() {
    for (text, local_only, wildcard) in [
        ("memory:a", true, false),
        ("pipe:", true, false),
        ("exec:a", true, false),
        ("unix:/a", false, false),
        ("tcp://127.0.0.1:1", false, false),
        ("tcp://localhost:1", false, false),
        ("tcp://0.0.0.0:1", false, true),
        ("tls://[::]:1", false, true),
        ("udp://0.0.0.0:1", false, true),
        ("mm:A", false, false),
    ] {
        let address = parse(text);
        assert_eq!(address.is_local_only(), local_only, "{text}");
        assert_eq!(address.is_wildcard(), wildcard, "{text}");
    }
    assert_eq!(
        parse("tcp://[::1]:0").with_port(80).to_string(),
        "tcp://[::1]:80"
    );
    assert_eq!(parse("unix:/a").with_port(80).to_string(), "unix:/a");
    let ip = "2001:db8::1".parse().unwrap();
    assert_eq!(
        parse("tls://[::]:80").with_ip(ip).to_string(),
        "tls://[2001:db8::1]:80"
    );
}

#[test]
fn everything_that_reads_as_an_address_is_taken() {
    fn take(address: impl IntoAddress) -> Address {
        address.into_address().unwrap()
    }
    let address = parse("memory:a");
    let text = String::from("memory:a");
    assert_eq!(take("memory:a"), address);
    assert_eq!(take(&text), address);
    assert_eq!(take(text), address);
    assert_eq!(take(&address), address);
    assert_eq!(take(address.clone()), address);
}

/// Any text is an address or an error, and an address is the same after a round trip.
#[test]
fn random_text_is_read_or_refused() {
    const STARTS: &[&str] = &[
        "tcp://", "tls://", "udp://", "unix:", "fifo:", "pipe:", "exec:", "memory:", "mm:",
        "mm://", "",
    ];
    const PIECES: &[&str] = &[
        ":", ":80", "/", "//", "[", "]", "[::1]", "::", "%", "1", "99999", ".", "..", "@", "a",
        "host", " ", "\0", "ü", "-", "+", "0.0.0.0", "Service", "\n", "?",
    ];
    let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
    println!("SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut read = 0;
    for _ in 0..20_000 {
        let mut text = String::from(*random.choice(STARTS).unwrap());
        for _ in 0..random.usize(..6) {
            text += random.choice(PIECES).unwrap();
        }
        if let Ok(address) = text.parse::<Address>() {
            read += 1;
            let written = address.to_string();
            assert_eq!(
                written.parse::<Address>().as_ref(),
                Ok(&address),
                "{text:?} {written:?}"
            );
        }
    }
    assert!(read > 1000, "only {read} texts were addresses");
}
