//! The conformance suite of the transports: what [`Conduit`], [`Connector`] and [`Listener`]
//! promise, over each of them. A transport joins with one line in [`conformance!`].

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::{Address, Conduit, ConnectOptions, Connector, Identity, ListenOptions, Listener};
use crate::error::{Code, Executed};

/// No test here takes a tenth of this; it turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// A path in the directory for temporary files that no other test has; removed in the end.
pub(super) struct TempPath(PathBuf);

impl TempPath {
    pub(super) fn new() -> Self {
        let name = format!("rpc-core-{}-{}", std::process::id(), unique());
        Self(std::env::temp_dir().join(name))
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl AsRef<Path> for TempPath {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn unique() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A listener at a fresh address, and a connector to where it says that it listens.
struct Setup {
    listener: Box<dyn Listener>,
    connector: Box<dyn Connector>,
    _path: Option<TempPath>,
}

impl Setup {
    async fn new(address: String, path: Option<TempPath>) -> Self {
        let listener = address
            .parse::<Address>()
            .unwrap()
            .listen(&ListenOptions::new())
            .await
            .unwrap();
        let connector = listener
            .address()
            .parse::<Address>()
            .unwrap()
            .connector(&ConnectOptions::new())
            .unwrap();
        Self {
            listener,
            connector,
            _path: path,
        }
    }

    async fn tcp() -> Self {
        Self::new("tcp://127.0.0.1:0".into(), None).await
    }

    async fn memory() -> Self {
        Self::new(format!("memory:conformance-{}", unique()), None).await
    }

    #[cfg(unix)]
    async fn unix() -> Self {
        let path = TempPath::new();
        Self::new(format!("unix:{}", path.as_str()), Some(path)).await
    }

    #[cfg(target_os = "linux")]
    async fn unix_abstract() -> Self {
        Self::new(
            format!("unix:@rpc-core-{}-{}", std::process::id(), unique()),
            None,
        )
        .await
    }

    #[cfg(target_os = "linux")]
    async fn fifo() -> Self {
        let path = TempPath::new();
        Self::new(format!("fifo:{}", path.as_str()), Some(path)).await
    }

    async fn pair(&mut self) -> (Conduit, Conduit) {
        let (client, server) = tokio::join!(self.connector.connect(), self.listener.accept());
        (client.unwrap(), server.unwrap())
    }
}

macro_rules! conformance {
    ($($(#[$attribute:meta])* $transport:ident: $($property:ident)+;)+) => {
        $($(#[$attribute])* mod $transport {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $property() {
                let setup = super::Setup::$transport().await;
                tokio::time::timeout(super::PATIENCE, super::$property(setup))
                    .await
                    .expect("the test hangs");
            })+
        })+
    };
}

macro_rules! for_each_transport {
    ($($property:ident)+) => {
        conformance! {
            tcp: $($property)+;
            memory: $($property)+;
            #[cfg(unix)] unix: $($property)+;
            #[cfg(target_os = "linux")] unix_abstract: $($property)+;
            #[cfg(target_os = "linux")] fifo: $($property)+;
        }
    };
}

for_each_transport! {
    bytes_arrive_in_order
    large_transfers_both_ways_at_once
    writes_wait_for_a_reader
    half_close_leaves_the_other_half_open
    a_dropped_peer_is_seen
    a_hundred_connections_do_not_mix
    accept_is_cancel_safe
    a_dropped_dial_leaves_the_listener_well
    a_dropped_listener_refuses
    a_taken_address_is_in_use
    a_free_address_can_be_taken_again
    addresses_are_true
    the_peer_is_known
}

async fn bytes_arrive_in_order(mut setup: Setup) {
    let (mut client, mut server) = setup.pair().await;
    // Pieces of many sizes, flushed or not; the reader cuts them elsewhere.
    let sent = pattern(1, 200_000);
    let writing = async {
        let mut rest = sent.as_slice();
        let mut length = 1;
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(length.min(rest.len()));
            client.io.write_all(piece).await.unwrap();
            client.io.flush().await.unwrap();
            rest = others;
            length = length * 3 % 7919 + 1;
        }
        client.io.shutdown().await.unwrap();
    };
    let mut received = Vec::new();
    let (_, read) = tokio::join!(writing, server.io.read_to_end(&mut received));
    read.unwrap();
    assert!(received == sent, "the bytes differ");
}

async fn large_transfers_both_ways_at_once(mut setup: Setup) {
    const LENGTH: usize = 8 << 20;

    async fn exchange(conduit: Conduit, send: u64, expect: u64) {
        let (mut reader, mut writer) = tokio::io::split(conduit.io);
        let sent = pattern(send, LENGTH);
        let writing = async {
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let mut received = Vec::with_capacity(LENGTH);
        let (_, read) = tokio::join!(writing, reader.read_to_end(&mut received));
        read.unwrap();
        assert!(received == pattern(expect, LENGTH), "the bytes differ");
    }

    let (client, server) = setup.pair().await;
    let server = tokio::spawn(exchange(server, 2, 1));
    exchange(client, 1, 2).await;
    server.await.unwrap();
}

async fn writes_wait_for_a_reader(mut setup: Setup) {
    const MUCH: usize = 64 << 20;

    let (mut client, mut server) = setup.pair().await;
    let writer = tokio::spawn(async move {
        let piece = vec![7; 64 << 10];
        let mut written = 0;
        while written < MUCH {
            match timeout(Duration::from_millis(200), client.io.write(&piece)).await {
                Ok(count) => written += count.unwrap(),
                Err(_) => break,
            }
        }
        (client, written)
    });
    let (client, written) = writer.await.unwrap();
    assert!(
        written < MUCH,
        "{written} bytes were taken though nobody reads"
    );

    drop(client);
    let mut received = 0;
    let mut piece = vec![0; 64 << 10];
    loop {
        match server.io.read(&mut piece).await.unwrap() {
            0 => break,
            count => received += count,
        }
    }
    assert_eq!(received, written);
}

async fn half_close_leaves_the_other_half_open(mut setup: Setup) {
    let (mut client, mut server) = setup.pair().await;
    client.io.write_all(b"question").await.unwrap();
    client.io.shutdown().await.unwrap();

    let mut text = String::new();
    server.io.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "question");
    server.io.write_all(b"answer").await.unwrap();
    server.io.shutdown().await.unwrap();

    let mut text = String::new();
    client.io.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "answer");
}

async fn a_dropped_peer_is_seen(mut setup: Setup) {
    for client_goes in [true, false] {
        let (client, server) = setup.pair().await;
        let (gone, mut rest) = if client_goes {
            (client, server)
        } else {
            (server, client)
        };
        drop(gone);
        assert_eq!(rest.io.read(&mut [0]).await.unwrap(), 0);
        // The first writes may go into a buffer; the fault shows after a few.
        let mut result = Ok(());
        while result.is_ok() {
            result = rest.io.write_all(b"to nobody").await;
            tokio::task::yield_now().await;
        }
    }
}

async fn a_hundred_connections_do_not_mix(setup: Setup) {
    const CONNECTIONS: u32 = 100;

    let mut listener = setup.listener;
    tokio::spawn(async move {
        loop {
            let conduit = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(conduit.io);
                tokio::io::copy(&mut reader, &mut writer).await.unwrap();
                writer.shutdown().await.unwrap();
            });
        }
    });
    let dials = (0..CONNECTIONS).map(|number| {
        let connector = setup
            .connector
            .address()
            .parse::<Address>()
            .unwrap()
            .connector(&ConnectOptions::new())
            .unwrap();
        tokio::spawn(async move {
            let mut conduit = connector.connect().await.unwrap();
            let sent = pattern(number.into(), 1000);
            conduit.io.write_all(&sent).await.unwrap();
            conduit.io.shutdown().await.unwrap();
            let mut received = Vec::new();
            conduit.io.read_to_end(&mut received).await.unwrap();
            assert_eq!(received, sent);
        })
    });
    for dial in dials.collect::<Vec<_>>() {
        dial.await.unwrap();
    }
    setup.connector.connect().await.unwrap();
}

async fn accept_is_cancel_safe(mut setup: Setup) {
    const CONNECTIONS: u8 = 50;

    assert!(
        once(setup.listener.accept()).await.is_none(),
        "nobody has connected yet"
    );
    let connector = setup.connector;
    let clients = tokio::spawn(async move {
        let mut clients = Vec::new();
        for number in 0..CONNECTIONS {
            let mut client = connector.connect().await.unwrap();
            client.io.write_all(&[number]).await.unwrap();
            clients.push(client);
            tokio::task::yield_now().await;
        }
        clients
    });
    let mut seen = Vec::new();
    while seen.len() < CONNECTIONS.into() {
        match once(setup.listener.accept()).await {
            Some(conduit) => {
                let mut number = [0];
                conduit.unwrap().io.read_exact(&mut number).await.unwrap();
                seen.push(number[0]);
            }
            None => tokio::task::yield_now().await,
        }
    }
    assert_eq!(seen, (0..CONNECTIONS).collect::<Vec<_>>());
    clients.await.unwrap();
}

/// Polls a future once and drops it: what a `select!` does to its losers.
async fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

async fn a_dropped_dial_leaves_the_listener_well(mut setup: Setup) {
    for _ in 0..10 {
        drop(once(setup.connector.connect()).await);
    }
    let mut client = setup.connector.connect().await.unwrap();
    client.io.write_all(b"!").await.unwrap();
    // Before the one that stayed come those that were dropped, as ends of file.
    loop {
        let mut server = setup.listener.accept().await.unwrap();
        if server.io.read(&mut [0]).await.is_ok_and(|count| count == 1) {
            break;
        }
    }
}

async fn a_dropped_listener_refuses(setup: Setup) {
    setup.connector.connect().await.unwrap();
    drop(setup.listener);
    let error = setup.connector.connect().await.unwrap_err();
    assert_eq!(error.code(), Code::Refused, "{error}");
    assert_eq!(error.executed(), Executed::No);
    assert_eq!(error.address(), Some(setup.connector.address()));
}

async fn a_taken_address_is_in_use(setup: Setup) {
    let address: Address = setup.listener.address().parse().unwrap();
    let error = address
        .listen(&ListenOptions::new())
        .await
        .err()
        .expect("two listen at one address");
    assert_eq!(error.code(), Code::InUse, "{error}");
    assert_eq!(error.address(), Some(address.to_string().as_str()));
}

async fn a_free_address_can_be_taken_again(mut setup: Setup) {
    let address: Address = setup.listener.address().parse().unwrap();
    for _ in 0..3 {
        setup.pair().await;
        drop(setup.listener);
        setup.listener = address.listen(&ListenOptions::new()).await.unwrap();
    }
    setup.pair().await;
}

async fn addresses_are_true(setup: Setup) {
    let text = setup.listener.address();
    let address: Address = text.parse().unwrap();
    assert_eq!(address.to_string(), text);
    assert_eq!(setup.connector.address(), text);
    assert_ne!(address.host_port().map(|at| at.port()), Some(0));
}

async fn the_peer_is_known(mut setup: Setup) {
    let (client, server) = setup.pair().await;
    let address: Address = setup.listener.address().parse().unwrap();
    for peer in [&client.peer, &server.peer] {
        assert!(peer.is_local(), "{peer}");
        peer.address().parse::<Address>().unwrap();
        if address.scheme() == "tcp" {
            assert_eq!(peer.identity(), &Identity::Unknown);
        } else if cfg!(unix) {
            // A pipe tells whose it is, and no more.
            let pid = (address.scheme() != "fifo").then(std::process::id);
            assert_eq!(peer.pid(), pid);
            assert!(peer.uid().is_some() && peer.gid().is_some());
        }
    }
    assert_eq!(client.peer.address(), setup.listener.address());
}

/// Bytes that are the same for the same seed and without a short period.
fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

#[tokio::test]
#[cfg(unix)]
async fn nobody_listens_at_a_program() {
    let address: Address = "exec:a b".parse().unwrap();
    let error = address.listen(&ListenOptions::new()).await.err().unwrap();
    assert_eq!(error.code(), Code::InvalidAddress);
    assert!(error.to_string().contains("it starts a program"), "{error}");
}

#[tokio::test]
async fn a_transport_of_another_version_is_a_clear_error() {
    for text in [
        #[cfg(not(feature = "_tls"))]
        "tls://h:1",
        "mm:A",
    ] {
        let address: Address = text.parse().unwrap();
        for error in [
            address.connector(&ConnectOptions::new()).err().unwrap(),
            address.listen(&ListenOptions::new()).await.err().unwrap(),
        ] {
            assert_eq!(error.code(), Code::InvalidAddress);
            let sentence = error.to_string();
            assert!(sentence.starts_with(text), "{sentence}");
            assert!(
                sentence.contains(&format!("{}: address", address.scheme())),
                "{sentence}"
            );
        }
    }
}
