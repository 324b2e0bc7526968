//! A listener that is about to close.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::codec::CodecId;
use crate::limits::Limits;
use crate::process::spawning;
use crate::proto::Opening;
use crate::server::connections::Connections;
use crate::server::reception::{Full, Guest};
use crate::server::{Router, ServerBuilder};
use crate::service::Service;
use crate::transport::{Address, ConnectOptions, ListenOptions};

#[crate::service]
trait Nothing {
    async fn nothing(&self);
}

struct Void;

impl Nothing for Void {
    async fn nothing(&self) {}
}

/// Counts those that come.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Host for Counter {
    fn receive(&self, _: Guest) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn turn_away(&self, _: Guest, full: Full) {
        panic!("there is room: {}", full.text());
    }
}

fn reception() -> Arc<Reception> {
    let limits = Limits::default();
    let services: Vec<Arc<dyn Service>> = vec![Arc::new(NothingServer::new(Void))];
    let router = Router::new(services, 1, ServerBuilder::BUFFERS_MAX, limits).unwrap();
    let router = Arc::new(router);
    Arc::new(Reception {
        limits: Arc::new(limits),
        opening: Arc::new(Opening {
            codecs: [CodecId::BINCODE.to_wire()].into(),
            expected: None,
            credentials: bytes::Bytes::new(),
            instance: [7; 16],
            refuse: None,
        }),
        connections_max: 100,
        connections_per_peer_max: 100,
        connections: Arc::new(Connections::new(Arc::clone(&router), 100)),
        router,
    })
}

/// Its start may take longer than the last call.
#[tokio::test(start_paused = true)]
async fn who_comes_while_a_child_is_started_is_let_in_by_a_server_that_stops() {
    let address: Address = "memory:accept-last-call".parse().unwrap();
    let counter = Arc::new(Counter::default());
    let stop = Cancellation::new();
    let acceptor = Acceptor {
        listener: address.listen(&ListenOptions::new()).await.unwrap(),
        stop: stop.clone(),
        reception: reception(),
        host: Arc::clone(&counter) as Arc<dyn Host>,
    };
    let (begun, begins) = mpsc::channel();
    let (ends, ended) = mpsc::channel::<()>();
    let start = std::thread::spawn(move || {
        let _spawning = spawning();
        begun.send(()).unwrap();
        // Not for ever, so that an acceptor that waits for it fails the test.
        let _ = ended.recv_timeout(Duration::from_secs(5));
    });
    begins.recv().unwrap();
    stop.cancel();
    let running = tokio::spawn(acceptor.run());
    tokio::time::sleep(Acceptor::LAST_CALL * 10).await;
    let connector = address.connector(&ConnectOptions::new()).unwrap();
    let _came = connector.connect().await.expect("the listener is there");
    tokio::time::sleep(Acceptor::LAST_CALL * 10).await;
    assert_eq!(counter.0.load(Ordering::SeqCst), 1, "it was let in");
    drop(ends);
    start.join().unwrap();
    running.await.unwrap();
    connector.connect().await.unwrap_err();
}
