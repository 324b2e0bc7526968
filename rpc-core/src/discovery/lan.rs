//! Finding a matchmaker in the local network, with nothing said about where it is.
//!
//! Whoever looks for one asks all of the network, by a broadcast to port [`PORT`]; a [`Beacon`]
//! answers where a matchmaker has one, which is off unless its operator turns it on. It names itself
//! and lists nothing.
//!
//! **An answer proves nothing.** Anybody in the network can give one, and lead to a matchmaker of his
//! own. What is found is therefore used like an address that a stranger wrote down: over `tcp://` it
//! takes [`insecure`](crate::ChannelBuilder::insecure), which says that the network is trusted; over
//! `tls://` the certificate proves who answers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::MatchmakerClient;
use crate::driver::{now, spawn};
use crate::error::{Code, Error};
use crate::transport::Address;
use crate::wire::lan::{Here, QUERY_LEN, Query};

/// The port at which matchmakers are asked, the number of their TCP port.
pub const PORT: u16 = 7111;

/// How long answers are waited for: in a local network they take milliseconds, and a busy host a
/// scheduler's turn more.
pub const WAIT: Duration = Duration::from_millis(500);

/// When the question is put again, because it may be lost.
const AGAIN: Duration = Duration::from_millis(150);

/// Answers that are looked at: a network has few matchmakers, and a hostile one is not to fill the
/// memory of who asks.
const FOUND_MAX: usize = 16;

/// A matchmaker that has named itself. Whether it is one, only a connection to it can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Where it says that it listens, at least one address, the best first as it sees them.
    pub addresses: Vec<Address>,
    /// Where the answer came from.
    pub from: SocketAddr,
}

impl MatchmakerClient {
    /// The matchmakers that answer from the local network within [`WAIT`]; none is no error. The
    /// order is that of their answers.
    ///
    /// They prove nothing by their answers; see [`lan`](crate::discovery::lan). Cancel safe.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use rpc_core::discovery::MatchmakerClient;
    ///
    /// let found = MatchmakerClient::find_on_lan().await?;
    /// let first = found.first().ok_or("no matchmaker answers")?;
    /// let channel = rpc_core::Channel::builder(&first.addresses[0])
    ///     .insecure() // the network is trusted
    ///     .connect()
    ///     .await?;
    /// let matchmaker = MatchmakerClient::new(channel);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Code::Unreachable`] if this host has no network to ask, [`Code::Io`] if the system has no
    /// socket for it.
    pub async fn find_on_lan() -> Result<Vec<Found>, Error> {
        let targets = networks().into_iter().map(|ip| (ip, PORT).into());
        find(targets.collect()).await
    }
}

async fn find(targets: Vec<SocketAddr>) -> Result<Vec<Found>, Error> {
    let failed = |error| Error::new(Code::Io, "cannot ask the local network").with_source(error);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .await
        .map_err(failed)?;
    socket.set_broadcast(true).map_err(failed)?;
    let nonce = fastrand::u64(..);
    let mut question = Vec::new();
    Query { nonce }.put(&mut question);
    let end = now() + WAIT;
    let mut again = now();
    let mut found: Vec<(u128, Found)> = Vec::new();
    let mut buffer = [0; QUERY_LEN + 1];
    while now() < end && found.len() < FOUND_MAX {
        if now() >= again {
            ask(&socket, &targets, &question).await?;
            again = now() + AGAIN;
        }
        let received = socket.recv_from(&mut buffer);
        let until = again.min(end);
        let Ok(Ok((length, from))) = tokio::time::timeout_at(until.into(), received).await else {
            continue;
        };
        let Some(here) = buffer.get(..length).and_then(|it| Here::parse(it).ok()) else {
            continue;
        };
        let is_new = found.iter().all(|(daemon, _)| *daemon != here.daemon);
        let addresses = usable(&here.addresses, from.ip());
        if here.nonce == nonce && is_new && !addresses.is_empty() {
            found.push((here.daemon, Found { addresses, from }));
        }
    }
    Ok(found.into_iter().map(|(_, found)| found).collect())
}

/// Puts the question to all targets; it is an error only if none can be asked.
async fn ask(socket: &UdpSocket, targets: &[SocketAddr], question: &[u8]) -> Result<(), Error> {
    let mut refusal = None;
    let mut asked = false;
    for target in targets {
        match socket.send_to(question, target).await {
            Ok(_) => asked = true,
            Err(error) => refusal = Some(error),
        }
    }
    if asked {
        return Ok(());
    }
    let error = Error::new(Code::Unreachable, "this host has no local network to ask")
        .with_hint("say where the matchmaker is, with MATCHMAKER_ADDR or --matchmaker");
    Err(match refusal {
        Some(cause) => error.with_source(cause),
        None => error,
    })
}

/// The addresses that lead to another host, with the sender's in the place of a wildcard. An answer
/// from the network must neither start a program nor lead to something of this host's own.
fn usable(said: &[String], from: IpAddr) -> Vec<Address> {
    let addresses = said.iter().filter_map(|text| text.parse::<Address>().ok());
    let addresses = addresses.map(|address| match address.is_wildcard() {
        true => address.with_ip(from),
        false => address,
    });
    addresses.filter(is_of_the_network).collect()
}

fn is_of_the_network(address: &Address) -> bool {
    let by_network = matches!(address, Address::Tcp(_) | Address::Tls(_) | Address::Udp(_));
    let at = address.host_port();
    by_network && at.is_some_and(|at| at.port() != 0 && at.ip().is_none_or(|ip| !ip.is_loopback()))
}

/// Where to ask: the broadcast address of each network that this host is in, and that of all.
fn networks() -> Vec<Ipv4Addr> {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut networks = broadcasts(&routes);
    networks.push(Ipv4Addr::BROADCAST);
    networks
}

/// The broadcast addresses of the networks in a table of routes as Linux writes it: interface,
/// destination, gateway, flags, .. and mask in the eighth column, numbers in hexadecimal and in the
/// byte order of the machine.
fn broadcasts(routes: &str) -> Vec<Ipv4Addr> {
    let mut broadcasts = Vec::new();
    for line in routes.lines().skip(1) {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[interface, destination, gateway, _, _, _, _, mask, ..] = &columns[..] else {
            continue;
        };
        let number = |text| u32::from_str_radix(text, 16).map(u32::to_ne_bytes);
        let (Ok(destination), Ok([0, 0, 0, 0]), Ok(mask)) =
            (number(destination), number(gateway), number(mask))
        else {
            continue;
        };
        let (destination, mask) = (u32::from_be_bytes(destination), u32::from_be_bytes(mask));
        // A network of one or two has nobody to ask, and a route to everywhere is no network.
        if interface != "lo" && mask != 0 && mask < u32::MAX - 1 {
            broadcasts.push(Ipv4Addr::from(destination | !mask));
        }
    }
    broadcasts
}

/// Answers who asks the local network for a matchmaker, until it is dropped.
///
/// An answer is never longer than the question and says where the matchmaker listens and nothing
/// else. At most [`RATE`](Self::RATE) are given a second: it is a help, not a service.
#[must_use = "dropping a beacon ends it"]
pub struct Beacon {
    at: SocketAddr,
    task: JoinHandle<()>,
}

impl Beacon {
    /// Answers in a second: a room full of clients that start together, who ask more than once.
    pub const RATE: u32 = 100;

    /// Answers questions that arrive `at`, for a matchmaker that listens at `addresses`. Those that
    /// no other host can reach are left out; a wildcard stands for the address that the answer goes
    /// out from.
    ///
    /// # Errors
    /// [`Code::InvalidAddress`] if no other host can reach the matchmaker; [`Code::InUse`] if the port
    /// is taken, [`Code::Io`] for the rest.
    pub async fn start(at: SocketAddr, addresses: &[String]) -> Result<Self, Error> {
        let parsed = addresses
            .iter()
            .filter_map(|text| text.parse::<Address>().ok());
        let said: Vec<String> = parsed
            .filter(is_of_the_network)
            .map(|address| address.to_string())
            .collect();
        if said.is_empty() {
            let text = "no other host can reach the matchmaker, so there is nothing to answer";
            return Err(Error::new(Code::InvalidAddress, text)
                .with_hint("listen at an address of the network, such as tls://0.0.0.0:7111"));
        }
        let socket = UdpSocket::bind(at).await.map_err(|error| {
            let code = match error.kind() {
                std::io::ErrorKind::AddrInUse => Code::InUse,
                _ => Code::Io,
            };
            Error::new(code, "cannot listen for questions of the local network")
                .with_address(format!("udp://{at}"))
                .with_source(error)
        })?;
        let at = socket.local_addr().unwrap_or(at);
        let here = Here {
            nonce: 0,
            daemon: fastrand::u128(..),
            addresses: said,
        };
        let task = spawn(answer(socket, here));
        Ok(Self { at, task })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.at
    }
}

async fn answer(socket: UdpSocket, mut here: Here) {
    /// After an error of the system's own.
    const PAUSE: Duration = Duration::from_millis(100);
    let mut buffer = [0; QUERY_LEN + 1];
    let mut rate = Rate::new(now());
    let mut reply = Vec::new();
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "cannot receive questions; trying on");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let question = buffer.get(..length).unwrap_or_default();
        let Ok(Query { nonce }) = Query::parse(question) else {
            continue;
        };
        if rate.allows(now()) {
            here.nonce = nonce;
            reply.clear();
            here.put(&mut reply);
            // Whoever asked will ask again.
            let _ = socket.send_to(&reply, from).await;
        }
    }
}

/// So many in each second.
struct Rate {
    second: Instant,
    left: u32,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self {
            second: now,
            left: Beacon::RATE,
        }
    }

    fn allows(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Beacon {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Beacon")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loopback() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    async fn beacon(addresses: &[&str]) -> Result<Beacon, Error> {
        let addresses: Vec<String> = addresses.iter().map(|&text| text.to_owned()).collect();
        Beacon::start(loopback(), &addresses).await
    }

    #[tokio::test]
    async fn a_beacon_says_where_its_matchmaker_is_and_nothing_of_its_own_host() {
        let addresses = [
            "tcp://0.0.0.0:7",
            "unix:/a",
            "tcp://127.0.0.1:8",
            "tls://mm.example:9",
        ];
        let beacon = beacon(&addresses).await.unwrap();
        let to = beacon.local_addr();
        // Twice the same is found once. On loopback the wildcard becomes an address of no network.
        let found = find(vec![to, to]).await.unwrap();
        let [found] = &found[..] else {
            panic!("{found:?}");
        };
        assert_eq!(found.addresses, ["tls://mm.example:9".parse().unwrap()]);
        assert_eq!(found.from, to);
    }

    #[tokio::test]
    async fn a_matchmaker_that_nobody_reaches_has_no_beacon() {
        let error = beacon(&["tcp://127.0.0.1:8", "unix:/a"]).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidAddress);
    }

    #[tokio::test]
    async fn where_nobody_answers_nothing_is_found() {
        let silent = UdpSocket::bind(loopback()).await.unwrap();
        let to = silent.local_addr().unwrap();
        assert_eq!(find(vec![to]).await, Ok(Vec::new()));
        assert_eq!(
            find(Vec::new()).await.unwrap_err().code(),
            Code::Unreachable
        );
    }

    #[test]
    fn an_answer_starts_no_program_and_leads_to_no_loopback() {
        let said = [
            "exec:/bin/sh",
            "pipe:",
            "memory:a",
            "unix:/a",
            "fifo:/a",
            "mm:A",
            "tcp://127.0.0.1:1",
            "tcp://[::1]:1",
            "tcp://192.0.2.9:0",
            "nonsense",
            "tcp://0.0.0.0:5",
            "udp://192.0.2.9:6",
        ];
        let said: Vec<String> = said.iter().map(|&text| text.to_owned()).collect();
        let usable = usable(&said, [192, 0, 2, 1].into());
        let usable: Vec<String> = usable.iter().map(Address::to_string).collect();
        assert_eq!(usable, ["tcp://192.0.2.1:5", "udp://192.0.2.9:6"]);
    }

    #[test]
    fn answers_are_rated() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let allowed = (0..1000).filter(|_| rate.allows(start)).count();
        assert_eq!(allowed, 100);
        assert!(rate.allows(start + Duration::from_secs(1)));
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_networks_of_a_host_are_those_of_its_routes() {
        let routes = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t0001A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
ppp0\t0100000A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0
lo\t0000007F\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0
wlan0\t00000A0A\t00000000\t0001\t0\t0\t0\t0000FEFF\t0\t0\t0
broken
";
        assert_eq!(
            broadcasts(routes),
            [
                Ipv4Addr::new(192, 168, 1, 255),
                Ipv4Addr::new(10, 11, 255, 255)
            ]
        );
    }
}
