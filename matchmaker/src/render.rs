//! Answers as text: tables for people, JSON for programs.
//!
//! Everything shown comes from another process, so whatever could move the cursor of a terminal is
//! escaped.

use std::fmt::Write as _;
use std::time::Duration;

use rpc_core::discovery::lan::Found;
use rpc_core::discovery::matchmaker::{Health, Instance, Position};
use serde_json::{Value, json};

/// The columns of a table of instances. Addresses stand last, because there may be many.
const COLUMNS: [&str; 9] = [
    "SERVICE",
    "VERSION",
    "INSTANCE",
    "HOST",
    "PID",
    "AGE",
    "EXPIRES",
    "STATE",
    "ADDRESSES",
];

/// How much of the id of an instance or a host a table shows: enough to tell a few thousand apart.
const ID_DIGITS: usize = 8;

/// A table with one line for each service of each instance.
pub fn instances_table(instances: &[Instance]) -> String {
    let mut rows = vec![COLUMNS.map(str::to_owned)];
    rows.extend(instances.iter().map(|instance| {
        let addresses: Vec<_> = instance
            .endpoints
            .iter()
            .map(|endpoint| printable(&endpoint.address))
            .collect();
        [
            printable(&instance.offer.name),
            printable(&instance.offer.version),
            instance
                .instance
                .to_string()
                .chars()
                .take(ID_DIGITS)
                .collect(),
            printable(instance.host.as_str())
                .chars()
                .take(ID_DIGITS)
                .collect(),
            instance.pid.to_string(),
            humane(instance.age),
            humane(instance.expires_in),
            instance.state.to_string(),
            addresses.join(", "),
        ]
    }));
    let mut widths = [0; COLUMNS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut table = String::new();
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        table.push_str(line.trim_end());
        table.push('\n');
    }
    table
}

/// The same as one JSON object, with nothing left out. Times are in seconds; ids, epochs and
/// fingerprints are hexadecimal texts, because not every reader of JSON has 64-bit numbers.
pub fn instances_json(position: Position, instances: &[Instance]) -> String {
    let instances: Vec<Value> = instances.iter().map(instance_json).collect();
    pretty(&json!({
        "epoch": position.epoch.to_string(),
        "revision": position.revision.0,
        "instances": instances,
    }))
}

/// The state of a matchmaker, one line for each fact.
pub fn health_table(health: &Health) -> String {
    let facts = [
        ("version", printable(&health.version)),
        ("epoch", health.epoch.to_string()),
        ("revision", health.revision.to_string()),
        ("uptime", humane(health.uptime)),
        ("instances", health.instances.to_string()),
        ("services", health.services.to_string()),
        ("watches", health.watches.to_string()),
        ("unconfirmed", health.unconfirmed.to_string()),
        ("paused", humane(health.paused)),
    ];
    facts
        .iter()
        .fold(String::new(), |mut table, (fact, value)| {
            let _ = writeln!(table, "{fact:<12} {value}");
            table
        })
}

/// The same as one JSON object.
pub fn health_json(health: &Health) -> String {
    pretty(&json!({
        "version": health.version,
        "epoch": health.epoch.to_string(),
        "revision": health.revision.0,
        "uptime_seconds": health.uptime.as_secs_f64(),
        "instances": health.instances,
        "services": health.services,
        "watches": health.watches,
        "unconfirmed": health.unconfirmed,
        "paused_seconds": health.paused.as_secs_f64(),
    }))
}

/// Matchmakers that were found, one line for each, with its addresses.
pub fn found_table(found: &[Found]) -> String {
    let mut table = String::new();
    for found in found {
        let addresses: Vec<_> = found
            .addresses
            .iter()
            .map(|address| printable(&address.to_string()))
            .collect();
        table.push_str(&addresses.join(", "));
        table.push('\n');
    }
    table
}

/// The same as a JSON list.
pub fn found_json(found: &[Found]) -> String {
    let found: Vec<Value> = found
        .iter()
        .map(|found| {
            let addresses: Vec<_> = found.addresses.iter().map(ToString::to_string).collect();
            json!({"addresses": addresses, "from": found.from.to_string()})
        })
        .collect();
    pretty(&Value::from(found))
}

/// A time as people say it: at most two units, the smaller one with two digits.
pub fn humane(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0 if time.is_zero() => "0s".to_owned(),
        0 => format!("{}ms", time.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

fn instance_json(instance: &Instance) -> Value {
    let endpoints: Vec<Value> = instance
        .endpoints
        .iter()
        .map(|endpoint| {
            json!({
                "address": endpoint.address,
                "host": endpoint.host.as_ref().map(|host| host.as_str()),
                "identity": endpoint.identity,
            })
        })
        .collect();
    json!({
        "service": instance.offer.name,
        "version": instance.offer.version,
        "fingerprint": format!("{:016x}", instance.offer.fingerprint),
        "instance": instance.instance.to_string(),
        "incarnation": instance.incarnation,
        "revision": instance.revision.0,
        "host": instance.host.as_str(),
        "pid": instance.pid,
        "endpoints": endpoints,
        "tags": instance.tags,
        "state": instance.state.to_string(),
        "age_seconds": instance.age.as_secs_f64(),
        "expires_in_seconds": instance.expires_in.as_secs_f64(),
    })
}

/// JSON that is indented, and escaped as a table is: only what stands in its strings can need it.
fn pretty(value: &Value) -> String {
    let mut shown = String::new();
    for c in format!("{value:#}\n").chars() {
        if c.is_alphanumeric() || c.is_ascii_graphic() || matches!(c, ' ' | '\n') {
            shown.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    shown
}

/// The text with everything escaped but letters, digits, printable ASCII and space.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ' {
            shown.push(c);
        } else {
            shown.extend(c.escape_default());
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_core::discovery::matchmaker::{
        Endpoint, Epoch, HostId, InstanceId, Offer, Registration, Revision, State,
    };

    fn calculator() -> Instance {
        let id = InstanceId::from_bytes([0xab; 16]);
        let host = HostId::new("web1");
        let mut registration = Registration::new(id, host.clone(), 4711);
        registration
            .endpoints
            .push(Endpoint::on_host("unix:/run/calc.sock", host));
        registration
            .endpoints
            .push(Endpoint::new("tcp://10.0.0.7:7000"));
        registration.tags.insert("zone".into(), "a".into());
        let offer = Offer::new("math.Calculator", "1.2.0", 7);
        let mut instance = Instance::new(offer, &registration, Revision(3));
        instance.age = Duration::from_secs(3 * 60 + 5);
        instance.expires_in = Duration::from_millis(12_400);
        instance
    }

    #[test]
    fn a_table_has_a_line_for_each_service() {
        let mut short = calculator();
        short.offer = Offer::new("A", "10.20.30-rc.1", 7);
        short.state = State::Suspect;
        short.endpoints.pop();
        assert_eq!(
            instances_table(&[calculator(), short]),
            "\
SERVICE          VERSION        INSTANCE  HOST  PID   AGE    EXPIRES  STATE    ADDRESSES
math.Calculator  1.2.0          abababab  web1  4711  3m05s  12s      ready    unix:/run/calc.sock, tcp://10.0.0.7:7000
A                10.20.30-rc.1  abababab  web1  4711  3m05s  12s      suspect  unix:/run/calc.sock
"
        );
    }

    #[test]
    fn an_empty_table_still_has_its_head() {
        assert!(instances_table(&[]).starts_with("SERVICE  VERSION"));
        assert_eq!(instances_table(&[]).lines().count(), 1);
    }

    #[test]
    fn row_56_a_hostile_matchmaker_does_not_write_to_the_terminal() {
        let mut hostile = calculator();
        hostile.offer.name = "a\u{1b}[2J\u{202e}b\nc".into();
        hostile.endpoints[0].address = "unix:/\u{7}\r".into();
        hostile
            .tags
            .insert("\u{9b}2J".into(), "\u{1f980}\u{7f}é".into());
        let table = instances_table(std::slice::from_ref(&hostile));
        assert_eq!(table.lines().count(), 2);
        assert!(table.contains("a\\u{1b}[2J\\u{202e}b\\nc"), "{table}");
        assert!(!table.chars().any(|c| c.is_control() && c != '\n'));

        let json = instances_json(Position::new(Epoch(1), Revision(1)), &[hostile.clone()]);
        assert!(
            !json
                .chars()
                .any(|c| c != '\n' && (c.is_control() || c == '\u{202e}')),
            "{json}"
        );
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["instances"][0]["service"], hostile.offer.name);
        assert_eq!(
            value["instances"][0]["tags"]["\u{9b}2J"],
            "\u{1f980}\u{7f}é"
        );
    }

    #[test]
    fn json_leaves_nothing_out() {
        let position = Position::new(Epoch(1), Revision(9));
        let text = instances_json(position, &[calculator()]);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            value,
            json!({
                "epoch": "0000000000000001",
                "revision": 9,
                "instances": [{
                    "service": "math.Calculator",
                    "version": "1.2.0",
                    "fingerprint": "0000000000000007",
                    "instance": "abababababababababababababababab",
                    "incarnation": 1,
                    "revision": 3,
                    "host": "web1",
                    "pid": 4711,
                    "endpoints": [
                        {"address": "unix:/run/calc.sock", "host": "web1", "identity": null},
                        {"address": "tcp://10.0.0.7:7000", "host": null, "identity": null},
                    ],
                    "tags": {"zone": "a"},
                    "state": "ready",
                    "age_seconds": 185.0,
                    "expires_in_seconds": 12.4,
                }],
            })
        );
        assert!(text.ends_with("}\n"));
    }

    #[test]
    fn health_reads_line_by_line() {
        let mut health = Health::new("0.1.0", Position::new(Epoch(0xe), Revision(9)));
        health.uptime = Duration::from_secs(2 * 86_400 + 3 * 3_600);
        health.instances = 4;
        let table = health_table(&health);
        assert!(table.contains("\nuptime       2d03h\n"), "{table}");
        assert!(table.contains("\ninstances    4\n"), "{table}");
        let value: Value = serde_json::from_str(&health_json(&health)).unwrap();
        assert_eq!(value["epoch"], "000000000000000e");
        assert_eq!(value["uptime_seconds"], 183_600.0);
    }

    #[test]
    fn times_have_at_most_two_units() {
        for (seconds, text) in [
            (0.0, "0s"),
            (0.42, "420ms"),
            (1.9, "1s"),
            (59.9, "59s"),
            (60.0, "1m00s"),
            (3_599.0, "59m59s"),
            (3_600.0 * 4.0 + 60.0 * 7.0, "4h07m"),
            (86_400.0 * 12.0 + 3_600.0 * 3.0, "12d03h"),
        ] {
            assert_eq!(humane(Duration::from_secs_f64(seconds)), text);
        }
    }
}
