//! The real matchmaker, in a process of its own.

use std::net::TcpListener;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rpc_core::Channel;
use rpc_core::discovery::MatchmakerClient;
use rpc_core::discovery::matchmaker::Instance;

use crate::process::{Finished, Process};
use crate::wait::{LIMIT, eventually_async};

/// A running matchmaker and the way to ask it.
#[derive(Debug)]
pub struct Matchmaker {
    program: String,
    process: Process,
    address: String,
}

impl Matchmaker {
    /// Starts the daemon `program` at a free port and waits until it answers.
    ///
    /// # Panics
    /// It does not.
    pub async fn start(program: &str) -> Self {
        Self::start_at(program, &free_address()).await
    }

    /// The same at an address.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn start_at(program: &str, address: &str) -> Self {
        Self::start_at_both(program, address, None).await
    }

    /// The same at a second address besides.
    ///
    /// # Panics
    /// It does not answer.
    pub async fn start_at_both(program: &str, address: &str, second: Option<&str>) -> Self {
        let mut command = Command::new(program);
        command.args(["serve", "--listen", address]);
        if let Some(second) = second {
            command.args(["--listen", second]);
        }
        let process = Process::spawn(&mut command);
        process.line("the matchmaker listens", |line| {
            line.contains("listening").then_some(())
        });
        let matchmaker = Self {
            program: program.to_owned(),
            process,
            address: address.to_owned(),
        };
        let client = matchmaker.client();
        client.health().await.expect("the matchmaker answers");
        matchmaker
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The address under which it finds `service`.
    pub fn name(&self, service: &str) -> String {
        format!("{}/{service}", self.address.replace("tcp://", "mm://"))
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Starts it anew, after it was killed, at its first address.
    pub async fn start_again(&mut self) {
        *self = Self::start_at(&self.program, &self.address).await;
    }

    /// Runs the command line against it.
    pub fn command(&self, arguments: &[&str]) -> Finished {
        Process::run(
            Command::new(&self.program)
                .args(arguments)
                .env("MATCHMAKER_ADDR", &self.address),
        )
    }

    /// A client of it.
    ///
    /// # Panics
    /// There is no runtime.
    pub fn client(&self) -> MatchmakerClient {
        let channel = Channel::builder(&self.address)
            .connect_lazy()
            .expect("the address is one");
        MatchmakerClient::new(channel)
    }

    /// Waits until exactly `count` instances of `service` are listed, and returns them with the
    /// time that it took.
    ///
    /// # Panics
    /// They are not.
    pub async fn listed(&self, service: &str, count: usize) -> (Vec<Instance>, Duration) {
        let client = self.client();
        let what = format!("{count} instances of {service} are listed");
        eventually_async(&what, LIMIT, async || {
            let mut found = client.list(None).await.ok()?.instances;
            found.retain(|instance| instance.offer.name == service);
            (found.len() == count).then_some(found)
        })
        .await
    }
}

/// A TCP address of this host at which nobody listens, and which no outgoing connection can get by
/// chance: its port lies below those that the system hands out. Whoever is restarted needs such a
/// one; everybody else listens at port 0.
///
/// # Panics
/// No port is free.
pub fn free_address() -> String {
    /// The first port and the number of them: below 32,768, where Linux begins to hand out, and
    /// above most of what has a fixed place, the matchmaker's 7111 among it.
    const PORTS: (u16, u16) = (18_000, 14_000);
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS.1 {
        let next = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed).into());
        let offset = next % u32::from(PORTS.1);
        let port = PORTS.0 + u16::try_from(offset).expect("less than the number of ports");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return format!("tcp://127.0.0.1:{port}");
        }
    }
    panic!("no port is free");
}
