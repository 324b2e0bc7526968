//! Where the matchmaker is.

use std::sync::Arc;
use std::time::Duration;

use super::matchmaker::INSECURE_VARIABLE;
use crate::client::Options;
use crate::client::dial::Dialer;
use crate::driver::Link;
use crate::error::{Code, Error};
use crate::transport::{Address, ConnectOptions, IntoAddress as _};

/// Where the matchmaker listens unless somebody says otherwise.
const DEFAULT: &str = "tcp://127.0.0.1:7111";

/// Overrides [`DEFAULT`] for a process and its children.
const VARIABLE: &str = "MATCHMAKER_ADDR";

/// The address to use: what the program said, or else the environment at this moment, or else the
/// default.
pub(super) fn address(said: Option<Result<Address, Error>>) -> Result<Address, Error> {
    if let Some(said) = said {
        return said;
    }
    match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => text.into_address().map_err(|error| {
            error.with_hint(format!(
                "the address comes from the environment: {VARIABLE}"
            ))
        }),
        _ => DEFAULT.into_address(),
    }
}

/// How the matchmaker is connected to: as the program said of the services, but for who they are; where the environment says where it
/// is, the environment may say too that clear text will do.
pub(super) fn options(said: &ConnectOptions) -> ConnectOptions {
    let options = said.clone().expecting_nobody();
    match std::env::var_os(INSECURE_VARIABLE) {
        Some(value) if value == "1" || value == "true" => options.insecure(),
        _ => options,
    }
}

/// Opens a connection to the matchmaker at `address`. Each is a dial of its own, without the waits
/// that a [`Dialer`] puts between its dials, because whoever asks for one waits by [`Backoff`].
pub(super) async fn dial(address: &Address, connect: &ConnectOptions) -> Result<Link, Error> {
    let connector = address.connector(&options(connect))?;
    let dialer = Dialer::new(connector, Arc::<Options>::default(), None);
    dialer.establish().await
}

/// The failure to reach the matchmaker at `address`, with what to do about it.
pub(super) fn unreachable(error: Error, address: &str) -> Error {
    if error.code() == Code::Insecure {
        // It was not tried, and says itself what to do.
        return error;
    }
    let text = format!("the matchmaker cannot be reached: {}", error.message());
    Error::new(error.code(), text)
        .with_executed(error.executed())
        .with_address(address)
        .with_source(error)
        .with_hint(format!(
            "start it with `matchmaker serve`, or say where it is with {VARIABLE}"
        ))
}

/// Waits between attempts to reach a matchmaker that is away: a random part of a time that doubles.
/// A matchmaker on this host is asked again soon, because nobody else suffers; a remote one serves
/// a fleet, which must not come back all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Duration,
    max: Duration,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const MAX_LOCAL: Duration = Duration::from_secs(1);
    const MAX_REMOTE: Duration = Duration::from_secs(30);

    pub(super) fn new(address: &Address) -> Self {
        let max = if is_local(address) {
            Self::MAX_LOCAL
        } else {
            Self::MAX_REMOTE
        };
        Self {
            ceiling: Self::FIRST,
            max,
        }
    }

    pub(super) fn next(&mut self) -> Duration {
        let wait = self.ceiling.mul_f64(fastrand::f64());
        self.ceiling = self.ceiling.saturating_mul(2).min(self.max);
        wait
    }

    pub(super) fn reset(&mut self) {
        self.ceiling = Self::FIRST;
    }
}

/// Whether the address leads to this host for certain.
pub(super) fn is_local(address: &Address) -> bool {
    match address.host_port() {
        Some(at) => at.ip().is_some_and(|ip| ip.is_loopback()),
        None => true,
    }
}

/// The address as one that names a place: `mm://host:port` becomes the matchmaker's own.
pub(super) fn place(address: Address) -> Result<Address, Error> {
    match address {
        Address::Matchmaker {
            daemon: Some(at),
            service: None,
        } => Ok(Address::Tcp(at)),
        Address::Matchmaker { .. } => Err(Error::new(
            Code::InvalidAddress,
            format!("{address} does not say where the matchmaker is"),
        )
        .with_hint(format!("write an address such as {DEFAULT}"))),
        address => Ok(address),
    }
}
