//! The service that is attacked, and the guard that no attack may get past.

use std::collections::HashMap;
use std::panic;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use rpc_core::{Channel, Context, Server, ServerBuilder, Service, service};
use serde::{Deserialize, Serialize};

use super::wire::Target;

/// A value that nests as deep as its bytes say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Tree {
    Leaf,
    Node(Box<Self>),
}

/// One byte on the wire, a kilobyte in memory.
#[derive(Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant)]
pub(crate) enum Swelling {
    Small,
    Large([u64; 32], [u64; 32], [u64; 32], [u64; 32]),
}

/// How a handler panics.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Way {
    Plainly,
    AfterAnAwait,
    InADestructor,
    WithAPayloadThatPanics,
}

#[service]
pub(crate) trait Prey {
    async fn add(&self, a: i64, b: i64) -> i64;
    async fn string(&self, text: String) -> u64;
    async fn blob(&self, bytes: Vec<u8>) -> u64;
    async fn units(&self, map: HashMap<(), ()>) -> u64;
    async fn tree(&self, tree: Tree) -> u64;
    async fn swelling(&self, list: Vec<Swelling>) -> u64;
    async fn scalars(&self, flag: bool, letter: char, option: Option<u8>) -> u64;
    async fn give_scalars(&self) -> (bool, char, Option<u8>);
    async fn give_string(&self) -> String;
    async fn give_units(&self) -> HashMap<(), ()>;
    async fn give_tree(&self) -> Tree;
    async fn give_swelling(&self) -> Vec<Swelling>;
    async fn give_blob(&self) -> Vec<u8>;
    async fn hang(&self);
    /// Hangs, with its request.
    async fn hold(&self, bytes: &[u8]);
    async fn time_left(&self) -> u64;
    async fn panics(&self, way: Way);
    /// Hangs, with a local that panics when it is dropped.
    async fn hang_over_a_bomb(&self);
}

/// What handlers leave behind.
#[derive(Debug, Default)]
pub(crate) struct Log {
    begun: AtomicU32,
    gone: AtomicU32,
}

impl Log {
    /// Handlers that hang or tell the time left and have begun.
    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Those of them that are gone.
    pub(crate) fn gone(&self) -> u32 {
        self.gone.load(Ordering::SeqCst)
    }

    fn begin(self: &Arc<Self>) -> Presence {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Presence(Arc::clone(self))
    }
}

struct Presence(Arc<Log>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.gone.fetch_add(1, Ordering::SeqCst);
    }
}

/// The text of panics on purpose; no peer may ever see it.
pub(crate) const SECRET: &str = "on purpose: tulip";

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("{SECRET}");
        }
    }
}

struct Victim(Arc<Log>);

impl Prey for Victim {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a.wrapping_add(b)
    }
    async fn string(&self, text: String) -> u64 {
        text.len() as u64
    }
    async fn blob(&self, bytes: Vec<u8>) -> u64 {
        bytes.len() as u64
    }
    async fn units(&self, map: HashMap<(), ()>) -> u64 {
        map.len() as u64
    }
    async fn tree(&self, tree: Tree) -> u64 {
        u64::from(matches!(tree, Tree::Node(_)))
    }
    async fn swelling(&self, list: Vec<Swelling>) -> u64 {
        list.len() as u64
    }
    async fn scalars(&self, flag: bool, letter: char, option: Option<u8>) -> u64 {
        u64::from(flag) + u64::from(letter) + u64::from(option.unwrap_or_default())
    }
    async fn give_scalars(&self) -> (bool, char, Option<u8>) {
        (true, 'a', None)
    }
    async fn give_string(&self) -> String {
        "given".into()
    }
    async fn give_units(&self) -> HashMap<(), ()> {
        HashMap::new()
    }
    async fn give_tree(&self) -> Tree {
        Tree::Leaf
    }
    async fn give_swelling(&self) -> Vec<Swelling> {
        Vec::new()
    }
    async fn give_blob(&self) -> Vec<u8> {
        vec![7; 1 << 20]
    }
    async fn hang(&self) {
        let _presence = self.0.begin();
        std::future::pending().await
    }
    async fn hold(&self, bytes: &[u8]) {
        let _presence = self.0.begin();
        std::future::pending::<()>().await;
        drop(bytes.to_vec());
    }
    async fn time_left(&self) -> u64 {
        let _presence = self.0.begin();
        let left = Context::current().time_left().unwrap_or_default();
        left.as_millis() as u64
    }
    async fn panics(&self, way: Way) {
        match way {
            Way::Plainly => panic!("{SECRET}"),
            Way::AfterAnAwait => {
                tokio::task::yield_now().await;
                panic!("{SECRET}")
            }
            Way::InADestructor => {
                let _bomb = Bomb;
                tokio::task::yield_now().await;
            }
            Way::WithAPayloadThatPanics => panic::panic_any(Bomb),
        }
    }
    async fn hang_over_a_bomb(&self) {
        let _presence = self.0.begin();
        let _bomb = Bomb;
        std::future::pending().await
    }
}

/// The service, and what its handlers leave behind.
pub(crate) fn prey() -> (impl Service, Arc<Log>) {
    let log = Arc::new(Log::default());
    (PreyServer::new(Victim(Arc::clone(&log))), log)
}

/// A server under attack.
pub(crate) struct Fort {
    pub(crate) server: Server,
    pub(crate) log: Arc<Log>,
}

impl Fort {
    pub(crate) async fn at(address: &str) -> Self {
        Self::built(address, |builder| builder).await
    }

    pub(crate) async fn built(
        address: &str,
        build: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        watch_for_panics();
        let (service, log) = prey();
        let builder = Server::builder()
            .service(service)
            // All the attackers of a test come from one place.
            .connections_per_peer_max(10_000)
            .listen(address);
        #[cfg(target_os = "linux")]
        let builder = super::central::with_pattern(builder);
        let server = build(builder).start().await.unwrap();
        Self { server, log }
    }

    pub(crate) fn address(&self) -> &str {
        &self.server.addresses()[0]
    }

    pub(crate) async fn client(&self) -> PreyClient {
        PreyClient::new(Channel::connect(self.address()).await.unwrap())
    }

    /// The attack is over and has left nothing; an honest client is served.
    pub(crate) async fn stands(&self) {
        assert_eq!(self.client().await.add(20, 22).await, Ok(42));
        eventually("no connection is left", || self.server.connections() == 0).await;
        eventually("no call is left", || self.server.calls() == 0).await;
        eventually("no handler is left", || self.log.begun() == self.log.gone()).await;
        assert_no_panic_inside();
    }
}

/// A free address of each transport that attackers reach.
pub(crate) fn unix_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("unix:@hostile-{}-{number}", std::process::id())
}

pub(crate) const TCP: &str = "tcp://127.0.0.1:0";

/// Number and fingerprint of a method of [`Prey`].
pub(crate) fn method(name: &str) -> Target {
    let (service, _) = prey();
    let methods = service.descriptor().methods;
    let method = methods.iter().find(|method| method.name == name).unwrap();
    Target {
        method: method.id.0,
        fingerprint: method.fingerprint(),
    }
}

/// Checks until it holds; the time is far more than it takes.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "not in 30 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

static PANICS_INSIDE: AtomicU32 = AtomicU32::new(0);

/// Counts panics that do not come from this test's own code, and keeps those on purpose off the screen.
pub(crate) fn watch_for_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            // Of panics in the standard library the caller is not known, so they count, too.
            let place = info.location().map(|location| location.file());
            if place.is_none_or(|file| !file.starts_with("tests/")) {
                PANICS_INSIDE.fetch_add(1, Ordering::SeqCst);
            }
            let payload = info.payload();
            let text = payload
                .downcast_ref::<&'static str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            let on_purpose = payload.is::<Bomb>() || text.is_some_and(|text| text.contains(SECRET));
            if !on_purpose {
                report(info);
            }
        }));
    });
}

pub(crate) fn assert_no_panic_inside() {
    let panics = PANICS_INSIDE.load(Ordering::SeqCst);
    assert_eq!(panics, 0, "the framework itself panicked");
}
