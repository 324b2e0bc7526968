//! A server, its clients and the network between them, on virtual time. What must always hold is
//! checked at every step: no call runs twice, no call ends twice, no datagram is too long, and no
//! answer to an address that is not validated is longer than its question.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;

use crate::error::{Code, Error, Executed};
use crate::limits::Limits;
use crate::proto::datagram::{Admission, Admitted, Client, Memory, Secret, Server};
use crate::proto::{Call, CallId, Event, Fault, Opening, later};
use crate::wire::datagram::DATAGRAM_MAX;
use crate::wire::{Metadata, Payload, Reply};

/// What the network does to datagrams.
#[derive(Clone, Copy)]
pub(super) struct Weather {
    /// How many of a thousand are lost.
    pub(super) loss: u32,
    /// How many of a thousand come twice.
    pub(super) repeats: u32,
    /// The longest way; each datagram takes a random part of it, so that they overtake each other.
    pub(super) latency: Duration,
}

impl Weather {
    pub(super) const FAIR: Self = Self {
        loss: 0,
        repeats: 0,
        latency: Duration::from_micros(50),
    };

    pub(super) fn bad(percent: u32) -> Self {
        Self {
            loss: percent * 10,
            repeats: percent * 10,
            latency: Duration::from_millis(5),
        }
    }
}

pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) weather: Weather,
    pub(super) rng: Rng,
    pub(super) clients: Vec<Caller>,
    pub(super) host: Host,
    /// What the method of a call does, by what the call carries.
    pub(super) handler: fn(u64, &mut Rng) -> (Duration, Reply),
    wire: BTreeMap<(Instant, u64), Parcel>,
    sent: u64,
}

#[derive(Clone)]
enum Parcel {
    ToServer(usize, Bytes),
    ToClient(usize, Bytes),
}

/// A client, and what has become of its calls.
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) at: SocketAddr,
    /// By token.
    pub(super) ended: HashMap<usize, Reply>,
    pub(super) closed: Option<Fault>,
    pub(super) ids: HashMap<usize, CallId>,
    tokens: usize,
    pub(super) sent: usize,
    /// It hears and does nothing any more; what it has sent is still on its way.
    vanished: bool,
}

/// A server as its listener runs it.
pub(super) struct Host {
    admission: Admission,
    pub(super) memory: Memory,
    opening: Arc<Opening>,
    limits: Arc<Limits>,
    pub(super) open: bool,
    /// A client that is gone leaves its key, as in a listener.
    pub(super) table: HashMap<(SocketAddr, u64), Option<Server>>,
    running: BTreeMap<(Instant, u64), (SocketAddr, u64, CallId, Reply)>,
    /// How often each call ran, over all runs of the server.
    pub(super) ran: HashMap<u64, u32>,
    /// Whether each call is told from all others by what it carries.
    pub(super) keeps_ledger: bool,
    pub(super) aborted: u32,
    boots: u32,
    answered: u64,
}

pub(super) fn opening() -> Opening {
    Opening {
        codecs: [1].into(),
        expected: None,
        credentials: Bytes::new(),
        instance: [7; 16],
        refuse: None,
    }
}

/// The call that carries `number`.
pub(super) fn call(number: u64, deadline: Instant) -> Call {
    Call {
        method: 1,
        fingerprint: 2,
        deadline,
        metadata: Metadata::new(),
        payload: Payload::copy_from_slice(&number.to_le_bytes()),
        token: 0,
    }
}

fn echo(number: u64) -> Reply {
    Reply::Value(Payload::copy_from_slice(&number.to_le_bytes()))
}

/// Answers at once with what the call carried.
pub(super) fn at_once(number: u64, _: &mut Rng) -> (Duration, Reply) {
    (Duration::ZERO, echo(number))
}

/// Takes up to 50 ms for it, now and then.
pub(super) fn sometimes_slow(number: u64, rng: &mut Rng) -> (Duration, Reply) {
    let takes = match rng.u8(..4) {
        0 => Duration::from_micros(rng.u64(..50_000)),
        _ => Duration::ZERO,
    };
    (takes, echo(number))
}

/// Takes an hour.
pub(super) fn never(number: u64, _: &mut Rng) -> (Duration, Reply) {
    (Duration::from_secs(3600), echo(number))
}

impl Network {
    pub(super) fn new(rng: Rng, weather: Weather) -> Self {
        Self::with(rng, weather, Limits::default(), opening())
    }

    pub(super) fn with(rng: Rng, weather: Weather, limits: Limits, opening: Opening) -> Self {
        let now = Instant::now();
        let limits = Arc::new(limits);
        let opening = Arc::new(opening);
        Self {
            now,
            weather,
            rng,
            clients: Vec::new(),
            host: Host {
                admission: admission(now, 1, &limits, &opening),
                memory: Memory::default(),
                opening,
                limits,
                open: true,
                table: HashMap::new(),
                running: BTreeMap::new(),
                ran: HashMap::new(),
                keeps_ledger: true,
                aborted: 0,
                boots: 1,
                answered: 0,
            },
            handler: at_once,
            wire: BTreeMap::new(),
            sent: 0,
        }
    }

    /// A client of its own address that begins its handshake; its index.
    pub(super) fn dial(&mut self) -> usize {
        let index = self.clients.len();
        let port = 1000 + u16::try_from(index).unwrap();
        let seed = self.rng.u64(..);
        let client = Client::new(
            self.now,
            Arc::default(),
            Arc::new(opening()),
            self.rng.u64(..),
            seed,
        );
        self.clients.push(Caller {
            client,
            at: SocketAddr::from(([192, 0, 2, 1], port)),
            ended: HashMap::new(),
            closed: None,
            ids: HashMap::new(),
            tokens: 0,
            sent: 0,
            vanished: false,
        });
        self.drain_client(index);
        index
    }

    /// Makes a call that carries `number`; its token.
    pub(super) fn call(&mut self, index: usize, number: u64, deadline: Duration) -> usize {
        let call = call(number, later(self.now, deadline));
        self.make(index, call)
    }

    pub(super) fn make(&mut self, index: usize, mut call: Call) -> usize {
        let caller = &mut self.clients[index];
        caller.tokens += 1;
        call.token = caller.tokens;
        let token = call.token;
        match caller.client.call(self.now, &mut call) {
            Ok(id) => {
                caller.ids.insert(token, id);
            }
            Err(error) => {
                caller.ended.insert(token, Reply::Failure(error));
            }
        }
        self.drain_client(index);
        token
    }

    pub(super) fn cancel(&mut self, index: usize, token: usize) {
        let id = self.clients[index].ids[&token];
        self.clients[index].client.cancel(self.now, id);
        self.drain_client(index);
    }

    pub(super) fn close(&mut self, index: usize) {
        self.clients[index].client.close(self.now, Fault::Closed);
        self.drain_client(index);
    }

    /// The client dies without a word.
    pub(super) fn vanish(&mut self, index: usize) {
        self.clients[index].vanished = true;
    }

    /// The server begins to leave.
    pub(super) fn drain(&mut self) {
        self.host.open = false;
        for key in self.host.keys() {
            if let Some(server) = self.host.table.get_mut(&key).and_then(Option::as_mut) {
                server.go_away(self.now, Code::Draining, "leaving");
            }
            self.drain_server(key);
        }
    }

    /// The server dies, and another takes its place at once.
    pub(super) fn restart(&mut self) {
        let host = &mut self.host;
        host.boots += 1;
        host.admission = admission(self.now, host.boots, &host.limits, &host.opening);
        host.memory = Memory::default();
        host.table.clear();
        host.running.clear();
    }

    /// Lets time pass.
    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.step();
        }
        self.now = end;
    }

    /// Lets time pass until the clients have nothing under way.
    pub(super) fn run_until_ended(&mut self, limit: Duration) {
        let end = self.now + limit;
        while self.clients.iter().any(Caller::is_busy) {
            let next = self
                .next()
                .expect("somebody waits, and nothing will happen");
            assert!(next <= end, "a call did not end in time");
            self.now = self.now.max(next);
            self.step();
        }
    }

    fn next(&self) -> Option<Instant> {
        let wire = self.wire.keys().next().map(|(at, _)| *at);
        let running = self.host.running.keys().next().map(|(at, _)| *at);
        let clients = self.clients.iter().filter_map(Caller::poll_timeout);
        let servers = self.host.table.values().flatten();
        let servers = servers.filter_map(Server::poll_timeout);
        clients.chain(servers).chain(wire).chain(running).min()
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= now) {
            match entry.remove() {
                Parcel::ToServer(index, datagram) => self.arrive(index, &datagram),
                Parcel::ToClient(index, datagram) => {
                    let caller = &mut self.clients[index];
                    if !caller.vanished {
                        caller.client.handle_datagram(now, &datagram);
                        self.drain_client(index);
                    }
                }
            }
        }
        while let Some(entry) = self.host.running.first_entry().filter(|e| e.key().0 <= now) {
            let (at, client, id, reply) = entry.remove();
            if let Some(server) = self.host.server(at, client) {
                server.respond(now, id, &reply);
            }
            self.drain_server((at, client));
        }
        for index in 0..self.clients.len() {
            let caller = &mut self.clients[index];
            if caller.poll_timeout().is_some_and(|due| due <= now) {
                caller.client.handle_timeout(now);
                self.drain_client(index);
            }
        }
        for key in self.host.keys() {
            let Some(server) = self.host.server(key.0, key.1) else {
                continue;
            };
            if server.poll_timeout().is_some_and(|due| due <= now) {
                server.handle_timeout(now);
                if server.is_drained(now) {
                    server.close(Fault::Closed);
                }
                self.drain_server(key);
            }
        }
    }

    /// A datagram reaches the server's socket.
    pub(super) fn arrive(&mut self, index: usize, datagram: &[u8]) {
        let from = self.clients[index].at;
        let mut answer = Vec::new();
        let admitted =
            self.host
                .admission
                .admit(self.now, from, self.host.open, datagram, &mut answer);
        assert!(answer.len() <= datagram.len(), "an answer amplifies");
        if let Admitted::Client { id, fresh } = admitted {
            let key = (from, id);
            if !self.host.table.contains_key(&key) && fresh {
                let server = Server::new(
                    self.now,
                    Arc::clone(&self.host.limits),
                    &self.host.opening,
                    self.host.memory.clone(),
                );
                self.host.table.insert(key, Some(server));
            }
            if let Some(server) = self.host.server(from, id) {
                server.handle_datagram(self.now, datagram);
                return self.drain_server(key);
            }
        }
        if !answer.is_empty() {
            self.send(Parcel::ToClient(index, answer.into()));
        }
    }

    fn drain_server(&mut self, key: (SocketAddr, u64)) {
        let now = self.now;
        let mut gone = false;
        let host = &mut self.host;
        let Some(server) = host.table.get_mut(&key).and_then(Option::as_mut) else {
            return;
        };
        while let Some(event) = server.poll_event() {
            match event {
                Event::Request { id, payload, .. } => {
                    let number = payload.first_chunk().map_or(0, |n| u64::from_le_bytes(*n));
                    let ran = host.ran.entry(number).or_default();
                    *ran += 1;
                    assert!(*ran == 1 || !host.keeps_ledger, "call {number} ran twice");
                    let (takes, reply) = (self.handler)(number, &mut self.rng);
                    if takes.is_zero() {
                        server.respond(now, id, &reply);
                    } else if server.go_on(id) {
                        host.answered += 1;
                        let at = (now + takes, host.answered);
                        host.running.insert(at, (key.0, key.1, id, reply));
                    }
                }
                Event::Abort(id) => {
                    host.aborted += 1;
                    host.running.retain(|_, running| {
                        (running.0, running.1, running.2) != (key.0, key.1, id)
                    });
                    let error = Error::new(Code::Cancelled, "").with_executed(Executed::Maybe);
                    server.respond(now, id, &Reply::Failure(error));
                }
                Event::Closed(_) => gone = true,
                _ => {}
            }
        }
        let mut datagrams = Vec::new();
        while let Some(datagram) = server.poll_transmit() {
            datagrams.push(datagram);
        }
        if gone {
            host.table.insert(key, None);
        }
        let index = self.clients.iter().position(|caller| caller.at == key.0);
        let index = index.expect("a server answers somebody");
        for datagram in datagrams {
            self.send(Parcel::ToClient(index, datagram));
        }
    }

    fn drain_client(&mut self, index: usize) {
        let caller = &mut self.clients[index];
        while let Some(event) = caller.client.poll_event() {
            assert!(caller.closed.is_none(), "nothing happens after the end");
            match event {
                Event::Response { token, reply } => {
                    let before = caller.ended.insert(token, reply);
                    assert!(before.is_none(), "call {token} ended twice");
                }
                Event::Closed(fault) => caller.closed = Some(fault),
                _ => {}
            }
        }
        let mut datagrams = Vec::new();
        while let Some(datagram) = caller.client.poll_transmit() {
            caller.sent += 1;
            datagrams.push(datagram);
        }
        for datagram in datagrams {
            self.send(Parcel::ToServer(index, datagram));
        }
    }

    fn send(&mut self, parcel: Parcel) {
        let (Parcel::ToServer(_, datagram) | Parcel::ToClient(_, datagram)) = &parcel;
        assert!(datagram.len() <= DATAGRAM_MAX);
        let copies = match self.rng.u32(..1000) {
            chance if chance < self.weather.loss => 0,
            chance if chance < self.weather.loss + self.weather.repeats => 2,
            _ => 1,
        };
        for _ in 0..copies {
            self.sent += 1;
            let at = self.now + self.weather.latency.mul_f64(self.rng.f64());
            self.wire.insert((at, self.sent), parcel.clone());
        }
    }
}

impl Caller {
    fn poll_timeout(&self) -> Option<Instant> {
        self.client.poll_timeout().filter(|_| !self.vanished)
    }

    /// Calls that were made and have no reply.
    fn is_busy(&self) -> bool {
        self.ended.len() < self.tokens
    }

    /// Whether the reply of the call is that of `number`.
    pub(super) fn has(&self, token: usize, number: u64) -> bool {
        self.ended.get(&token) == Some(&echo(number))
    }

    /// The two facts about a failed call that programs ask for.
    pub(super) fn verdict(&self, token: usize) -> (Code, Executed) {
        match self.ended.get(&token) {
            Some(Reply::Failure(error)) => (error.code(), error.executed()),
            other => panic!("not a failure: {other:?}"),
        }
    }
}

impl Host {
    pub(super) fn server(&mut self, at: SocketAddr, client: u64) -> Option<&mut Server> {
        self.table.get_mut(&(at, client)).and_then(Option::as_mut)
    }

    /// Clients that are there.
    pub(super) fn clients(&self) -> usize {
        self.table.values().flatten().count()
    }

    fn keys(&self) -> Vec<(SocketAddr, u64)> {
        let mut keys: Vec<_> = self.table.keys().copied().collect();
        keys.sort_unstable();
        keys
    }
}

fn admission(now: Instant, epoch: u32, limits: &Arc<Limits>, opening: &Arc<Opening>) -> Admission {
    let key = [u8::try_from(epoch % 256).unwrap(); 16];
    let secret = Secret::new(now, key, epoch);
    Admission::new(secret, Arc::clone(limits), Arc::clone(opening))
}
