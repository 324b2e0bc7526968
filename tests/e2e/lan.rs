//! A matchmaker is found from another host, with nothing said about where it is. The two hosts are
//! two network namespaces with a cable between them.

#![cfg(target_os = "linux")]

use std::process::Command;

use support::{Finished, Process};

const MATCHMAKER: &str = env!("CARGO_BIN_EXE_test-matchmaker");

/// Two namespaces that see each other and nothing else, gone when dropped.
struct Hosts {
    names: [String; 2],
}

impl Hosts {
    /// `None`, and loudly, where this process may not make them.
    fn new() -> Option<Self> {
        let id = std::process::id();
        let hosts = Self {
            names: [format!("mm-lan-{id}-a"), format!("mm-lan-{id}-b")],
        };
        match hosts.connect() {
            Ok(()) => Some(hosts),
            Err(reason) => {
                println!("!!! SKIPPED: network namespaces cannot be made here: {reason}");
                println!("!!! run it as root, with `ip` of iproute2 installed");
                None
            }
        }
    }

    fn connect(&self) -> Result<(), String> {
        let [a, b] = &self.names;
        // Names of interfaces have at most 15 bytes.
        let id = std::process::id();
        let (left, right) = (format!("mml{id}"), format!("mmr{id}"));
        ip(&["netns", "add", a])?;
        ip(&["netns", "add", b])?;
        ip(&[
            "link", "add", &left, "netns", a, "type", "veth", "peer", "name", &right, "netns", b,
        ])?;
        for (host, cable, address) in [(a, &left, "10.71.11.1/24"), (b, &right, "10.71.11.2/24")] {
            ip(&["-n", host, "link", "set", "lo", "up"])?;
            ip(&["-n", host, "address", "add", address, "dev", cable])?;
            ip(&["-n", host, "link", "set", cable, "up"])?;
        }
        Ok(())
    }

    /// The matchmaker's program, on one of the hosts.
    fn matchmaker(&self, host: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.names[host], MATCHMAKER])
            .args(arguments)
            .env_remove("MATCHMAKER_ADDR")
            .env_remove("MATCHMAKER_INSECURE");
        command
    }

    fn serve(&self, arguments: &[&str]) -> Process {
        let process = Process::spawn(&mut self.matchmaker(0, arguments));
        process.line("the matchmaker listens", |line| {
            line.contains("listening").then_some(())
        });
        process
    }

    fn run(&self, host: usize, arguments: &[&str]) -> Finished {
        Process::run(&mut self.matchmaker(host, arguments))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // The cable goes with its ends.
        for name in &self.names {
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

#[test]
fn a_matchmaker_is_found_from_another_host() {
    let Some(hosts) = Hosts::new() else {
        return;
    };
    // Port 7111 is that of these hosts, which nobody else sees.
    let quiet = hosts.serve(&["serve", "--insecure", "--listen", "tcp://0.0.0.0:7111"]);
    let found = hosts.run(1, &["find"]);
    assert_eq!(
        found.code,
        Some(4),
        "it answers though nobody said so: {found:?}"
    );
    quiet.terminate();
    drop(quiet);

    let _speaking = hosts.serve(&[
        "serve",
        "--insecure",
        "--lan",
        "--listen",
        "tcp://0.0.0.0:7111",
    ]);
    for host in [0, 1] {
        let found = hosts.run(host, &["find"]);
        assert_eq!(found.code, Some(0), "{found:?}");
        assert_eq!(found.stdout, "tcp://10.71.11.1:7111", "from host {host}");
    }
    // What was found proves nothing, so it takes a word to go there in the clear.
    let address = "tcp://10.71.11.1:7111";
    let refused = hosts.run(1, &["--matchmaker", address, "health"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    let health = hosts.run(1, &["--matchmaker", address, "--insecure", "health"]);
    assert_eq!(health.code, Some(0), "{health:?}");
    assert!(health.stdout.contains("instances"), "{health:?}");
}
