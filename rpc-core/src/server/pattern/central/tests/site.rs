//! A main server and its subservers in one process, over buffers in the place of pipes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::codec::CodecId;
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::proto::Opening;
use crate::server::connections::{Connections, Origin};
use crate::server::pattern::central::branch::Branch;
use crate::server::pattern::central::contract::{Program, Setup};
use crate::server::pattern::central::subserver::{Arrival, Knowledge};
use crate::server::reception::Reception;
use crate::server::{Router, ServerBuilder};
use crate::service::{Descriptor, Service};
use crate::transport::{Conduit, Connector, ListenOptions, Peer};
use crate::{Channel, ChannelBuilder, Context, service};

/// One number for all clients, and some ways to misbehave.
#[service]
pub(super) trait Counter {
    async fn add(&self, amount: u64) -> u64;
    async fn text(&self, text: &str) -> Result<String, String>;
    async fn bytes(&self, bytes: Vec<u8>) -> Vec<u8>;
    async fn make(&self, length: u64) -> Vec<u8>;
    async fn map(&self, map: HashMap<(), ()>) -> u64;
    async fn hang(&self);
    async fn panics(&self);
    async fn peer(&self) -> Option<String>;
    async fn time_left(&self) -> Option<Duration>;
    async fn metadata(&self, key: &str) -> Option<Vec<u8>>;
    async fn ask_back(&self, question: &str) -> Result<String, String>;
    /// Waits in the background until its client has gone.
    async fn watch_me(&self);
}

/// What clients offer.
#[service]
pub(super) trait Oracle {
    async fn answer(&self, question: &str) -> String;
}

pub(super) struct Wise;

impl Oracle for Wise {
    async fn answer(&self, question: &str) -> String {
        format!("{question} 42")
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) sum: AtomicU64,
    pub(super) running: AtomicUsize,
    pub(super) clients_gone: AtomicUsize,
}

pub(super) struct Central(pub(super) Arc<State>);

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Counter for Central {
    async fn add(&self, amount: u64) -> u64 {
        self.0.sum.fetch_add(amount, Ordering::SeqCst) + amount
    }
    async fn text(&self, text: &str) -> Result<String, String> {
        match text {
            "" => Err("nothing".into()),
            text => Ok(text.to_uppercase()),
        }
    }
    async fn bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
    async fn make(&self, length: u64) -> Vec<u8> {
        vec![7; length as usize]
    }
    async fn map(&self, map: HashMap<(), ()>) -> u64 {
        map.len() as u64
    }
    async fn hang(&self) {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(&self.0.running);
        std::future::pending().await
    }
    async fn panics(&self) {
        panic!("on purpose");
    }
    async fn peer(&self) -> Option<String> {
        Some(Context::current().peer()?.address().to_owned())
    }
    async fn time_left(&self) -> Option<Duration> {
        Context::current().time_left()
    }
    async fn metadata(&self, key: &str) -> Option<Vec<u8>> {
        let context = Context::current();
        context.metadata().value(key).map(|value| value.to_vec())
    }
    async fn ask_back(&self, question: &str) -> Result<String, String> {
        let channel = Context::current().caller().ok_or("nobody called")?;
        let answer = OracleClient::new(channel).answer(question).await;
        answer.map_err(|error| format!("{:?}", error.code()))
    }
    async fn watch_me(&self) {
        let (state, context) = (Arc::clone(&self.0), Context::current());
        tokio::spawn(async move {
            context.disconnected().await;
            state.clients_gone.fetch_add(1, Ordering::SeqCst);
        });
    }
}

pub(super) struct Site {
    pub(super) state: Arc<State>,
    pub(super) reception: Arc<Reception>,
    pub(super) subservers: Vec<Arc<Subserver>>,
}

pub(super) struct Subserver {
    pub(super) branch: Branch,
    arrivals: mpsc::Sender<Arrival>,
    /// Its process, as it were, until it is killed.
    process: Mutex<Option<Runtime>>,
}

pub(super) fn reception(services: Vec<Arc<dyn Service>>) -> Arc<Reception> {
    let limits = Limits::default();
    let router = Router::new(services, 1000, ServerBuilder::BUFFERS_MAX, limits).unwrap();
    let router = Arc::new(router);
    Arc::new(Reception {
        limits: Arc::new(limits),
        opening: Arc::new(Opening {
            codecs: CodecId::ALL.iter().map(|codec| codec.to_wire()).collect(),
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

impl Subserver {
    pub(super) fn start(
        reception: &Arc<Reception>,
        services: Vec<&'static Descriptor>,
        callbacks: Vec<&'static Descriptor>,
    ) -> Arc<Self> {
        let setup = Setup {
            services: Program::of(reception.router.descriptors()),
            instance: reception.opening.instance,
            limits: *reception.limits,
            handshaking_max: 100,
            calls_max: 1000,
            buffers_max: ServerBuilder::BUFFERS_MAX,
            listen: Vec::new(),
        };
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let trunk = Conduit::new(ours, Peer::new("pipe:"));
        let branch = Branch::grow(trunk, setup, reception).unwrap();
        let (arrivals, incoming) = mpsc::channel(100);
        let knowledge = Knowledge {
            services,
            callbacks,
            options: ListenOptions::default(),
        };
        let process = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        process.spawn(knowledge.serve(Conduit::new(theirs, Peer::new("pipe:")), incoming));
        Arc::new(Self {
            branch,
            arrivals,
            process: Mutex::new(Some(process)),
        })
    }

    /// Everything in it is gone, wherever it was.
    pub(super) fn kill(&self) {
        if let Some(process) = self.process.lock().unwrap().take() {
            process.shutdown_background();
        }
    }
}

impl Drop for Subserver {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Site {
    pub(super) async fn new(subservers: usize) -> Self {
        let state = Arc::new(State::default());
        let service = CounterServer::new(Central(Arc::clone(&state)));
        let reception = reception(vec![Arc::new(service)]);
        let subservers: Vec<_> = (0..subservers)
            .map(|_| {
                let callbacks = vec![OracleServer::new(Wise).descriptor()];
                Subserver::start(
                    &reception,
                    reception.router.descriptors().collect(),
                    callbacks,
                )
            })
            .collect();
        for subserver in &subservers {
            subserver.branch.ready().await.unwrap();
        }
        Self {
            state,
            reception,
            subservers,
        }
    }

    /// The way to one of the subservers.
    pub(super) fn channel(&self, subserver: usize) -> ChannelBuilder {
        Channel::builder_over(self.door(subserver))
    }

    pub(super) fn door(&self, subserver: usize) -> Door {
        Door {
            reception: Arc::clone(&self.reception),
            subserver: Arc::clone(&self.subservers[subserver]),
        }
    }

    pub(super) async fn client(&self, subserver: usize) -> CounterClient {
        CounterClient::new(self.channel(subserver).connect().await.unwrap())
    }

    pub(super) async fn eventually(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..2000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("did not come about in 10 s: {what}");
    }
}

/// Lets clients in as the main server does: counts them, and hands them on unread.
pub(super) struct Door {
    reception: Arc<Reception>,
    subserver: Arc<Subserver>,
}

#[async_trait]
impl Connector for Door {
    async fn connect(&self) -> Result<Conduit, Error> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("client {}", NEXT.fetch_add(1, Ordering::Relaxed));
        let (ours, theirs) = tokio::io::duplex(1000);
        let membership = self.reception.connections.enter(Origin::Unknown);
        let number = self.subserver.branch.enter(Peer::new(name), membership);
        let theirs = Conduit::new(theirs, Peer::new("subserver's own business"));
        let arrival = Arrival::Client(number, theirs);
        let refused = |_| Error::new(Code::Refused, "the subserver has gone");
        self.subserver
            .arrivals
            .send(arrival)
            .await
            .map_err(refused)?;
        Ok(Conduit::new(ours, Peer::new("central")))
    }

    fn address(&self) -> &str {
        "central"
    }
}
