//! Two connections on virtual time, joined by a wire that tests can slow down, cut up and break.
//!
//! [`Pair`] is a client and a server; [`Side`] is one of them, and stands alone where a test plays
//! the other by hand. Neither sleeps, and both keep the contract of [`Connection`] the way a driver
//! does. What must always hold is checked at every step: no handler runs twice, no call ends twice,
//! nothing happens after the end, and no credit is lost or made.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::Error;
use crate::limits::Limits;
use crate::proto::{
    Audit, Body, Call, CallId, Connection, Event, Fault, Opening, Taken, Terms, Transmit,
};
use crate::wire::{
    Answer, Decoder, Frame, HEADER_LEN, Hello, MAGIC, Metadata, Parameters, Payload, Reply,
    RequestHead, VERSIONS,
};

/// Which process the server of every test is.
pub(super) const INSTANCE: [u8; 16] = [7; 16];

/// What a test may change before the two sides exist.
pub(super) struct Setup {
    pub(super) client: Limits,
    pub(super) server: Limits,
    pub(super) dials: Opening,
    pub(super) accepts: Opening,
}

impl Setup {
    fn new() -> Self {
        let opening = Opening {
            codecs: [1].into(),
            expected: None,
            credentials: Bytes::new(),
            instance: [0; 16],
            refuse: None,
        };
        Self {
            client: Limits::default(),
            server: Limits::default(),
            dials: opening.clone(),
            accepts: Opening {
                instance: INSTANCE,
                ..opening
            },
        }
    }
}

/// A client, a server and the wire between them.
pub(super) struct Pair {
    pub(super) client: Side,
    pub(super) server: Side,
    /// How long bytes are on their way.
    pub(super) latency: Duration,
    /// The largest piece in which bytes arrive.
    pub(super) piece: usize,
    now: Instant,
}

impl Pair {
    /// Dialled; nothing has been sent.
    pub(super) fn new() -> Self {
        Self::with(|_| ())
    }

    pub(super) fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::new();
        change(&mut setup);
        let now = Instant::now();
        Self {
            client: Side::new(now, Connection::client(now, setup.client, setup.dials)),
            server: Side::new(now, Connection::server(now, setup.server, setup.accepts)),
            latency: Duration::ZERO,
            piece: usize::MAX,
            now,
        }
    }

    /// The handshake is over on both sides.
    pub(super) fn established() -> Self {
        Self::established_with(|_| ())
    }

    pub(super) fn established_with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut pair = Self::with(change);
        pair.drive();
        pair.advance(Duration::from_secs(1));
        assert!(pair.client.terms.is_some() && pair.server.terms.is_some());
        pair.client.transcript.clear();
        pair.server.transcript.clear();
        pair
    }

    /// One turn of each driver: one round of output, then what has arrived. Whether anything moved.
    pub(super) fn step(&mut self) -> bool {
        let arrival = self.now + self.latency;
        let mut moved = false;
        for bytes in self.client.transmit() {
            moved = true;
            self.server.wire.push_back((arrival, bytes));
        }
        for bytes in self.server.transmit() {
            moved = true;
            self.client.wire.push_back((arrival, bytes));
        }
        moved |= self.client.receive(self.piece);
        moved |= self.server.receive(self.piece);
        self.check();
        moved
    }

    /// Lets everything happen that needs no time beyond that of the wire.
    pub(super) fn drive(&mut self) {
        loop {
            while self.step() {}
            match self.arrival() {
                Some(arrival) => self.set_now(arrival),
                None => return,
            }
        }
    }

    /// Lets `time` pass, with every timeout in its turn.
    pub(super) fn advance(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while self.step() {}
            let next = [
                self.arrival(),
                self.client.connection.poll_timeout(),
                self.server.connection.poll_timeout(),
            ];
            match next.into_iter().flatten().min() {
                Some(next) if next <= end => self.set_now(next.max(self.now)),
                _ => break,
            }
        }
        self.set_now(end);
        while self.step() {}
    }

    /// The wire breaks, and what was on it is lost.
    pub(super) fn cut(&mut self) {
        for side in [&mut self.client, &mut self.server] {
            side.wire.clear();
            side.connection.handle_eof();
            side.poll_events();
        }
    }

    /// Calls from the client, and lets the server answer.
    pub(super) fn echo(&mut self, text: &'static str) -> Reply {
        let id = self.client.call(text);
        self.drive();
        self.server.respond_all();
        self.drive();
        self.client.reply(id)
    }

    fn arrival(&self) -> Option<Instant> {
        let first = |side: &Side| side.wire.front().map(|(at, _)| *at);
        [first(&self.client), first(&self.server)]
            .into_iter()
            .flatten()
            .min()
    }

    fn set_now(&mut self, now: Instant) {
        self.now = now;
        for side in [&mut self.client, &mut self.server] {
            side.now = now;
            side.connection.handle_timeout(now);
            let next = side.connection.poll_timeout();
            assert!(next.is_none_or(|next| next > now), "a driver would spin");
        }
    }

    /// While nothing is on its way, what one side may send is what the other granted.
    fn check(&self) {
        let (client, server) = (self.client.audit(), self.server.audit());
        let settled = |side: &Side| side.wire.is_empty() && side.inbox.is_empty();
        let quiet = settled(&self.client) && settled(&self.server);
        let empty = client.frames == 0 && server.frames == 0;
        let both = self.client.terms.is_some() && self.server.connection.terms().is_some();
        let open = self.client.closed.is_none() && self.server.closed.is_none();
        if quiet && empty && both && open {
            assert_eq!(client.credit.0, server.credit.1, "credit of the client");
            assert_eq!(server.credit.0, client.credit.1, "credit of the server");
        }
    }
}

/// A call of the peer's that has arrived.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: CallId,
    pub(super) head: RequestHead,
    pub(super) deadline: Instant,
    pub(super) payload: Payload,
}

/// One connection and all that it has told its driver.
pub(super) struct Side {
    pub(super) connection: Connection,
    pub(super) now: Instant,
    /// Whether the system takes bytes; a peer that does not read makes it false.
    pub(super) writable: bool,
    /// Requests that no handler has answered, in the order of their arrival.
    pub(super) requests: VecDeque<Request>,
    /// Calls of the peer's that were to be stopped.
    pub(super) aborts: Vec<CallId>,
    pub(super) terms: Option<Terms>,
    pub(super) draining: bool,
    pub(super) closed: Option<Fault>,
    /// The number of each call, by its token.
    tokens: Vec<CallId>,
    replies: HashMap<CallId, Reply>,
    ran: HashSet<CallId>,
    ended: HashSet<CallId>,
    /// On the way to this side.
    wire: VecDeque<(Instant, Bytes)>,
    inbox: Vec<u8>,
    /// Every other time no more than a header is taken in, so that the body behind it goes to where
    /// it belongs.
    in_place: bool,
    /// Bytes that were read to where they belong.
    pub(super) placed: usize,
    transcript: Vec<Frame>,
    reader: (Decoder, Vec<u8>),
}

impl Side {
    fn new(now: Instant, connection: Connection) -> Self {
        let mut decoder = Decoder::new();
        decoder.accept();
        Self {
            connection,
            now,
            writable: true,
            requests: VecDeque::new(),
            aborts: Vec::new(),
            terms: None,
            draining: false,
            closed: None,
            tokens: Vec::new(),
            replies: HashMap::new(),
            ran: HashSet::new(),
            ended: HashSet::new(),
            wire: VecDeque::new(),
            inbox: Vec::new(),
            in_place: false,
            placed: 0,
            transcript: Vec::new(),
            reader: (decoder, Vec::new()),
        }
    }

    /// A server that has accepted a client which the test plays.
    pub(super) fn server(change: impl FnOnce(&mut Limits)) -> Self {
        let mut setup = Setup::new();
        change(&mut setup.server);
        let now = Instant::now();
        let mut side = Self::new(now, Connection::server(now, setup.server, setup.accepts));
        side.hear_bytes(&MAGIC);
        side.hear(&hello());
        side.hear(&Frame::Ready);
        assert!(side.terms.is_some());
        side.said();
        side
    }

    /// A client that was accepted by a server which the test plays.
    pub(super) fn client(change: impl FnOnce(&mut Limits)) -> Self {
        let mut setup = Setup::new();
        change(&mut setup.client);
        let now = Instant::now();
        let mut side = Self::new(now, Connection::client(now, setup.client, setup.dials));
        side.hear_bytes(&MAGIC);
        side.hear(&accepted());
        assert!(side.terms.is_some());
        side.pass(Duration::from_secs(1));
        side.said();
        side
    }

    // The program's side of the connection.

    pub(super) fn call(&mut self, payload: impl Into<Bytes>) -> CallId {
        self.call_within(Duration::from_secs(10), payload)
    }

    pub(super) fn call_within(&mut self, time: Duration, payload: impl Into<Bytes>) -> CallId {
        self.try_call(self.now + time, payload).unwrap()
    }

    pub(super) fn try_call(
        &mut self,
        deadline: Instant,
        payload: impl Into<Bytes>,
    ) -> Result<CallId, Error> {
        let mut call = Call {
            method: 1,
            fingerprint: 2,
            deadline,
            metadata: Metadata::new(),
            payload: payload.into().into(),
            token: self.tokens.len(),
        };
        let id = self.connection.call(self.now, &mut call)?;
        self.tokens.push(id);
        Ok(id)
    }

    pub(super) fn cancel(&mut self, id: CallId) {
        self.connection.cancel(self.now, id);
        assert!(self.ended.insert(id), "{id:?} had ended");
    }

    /// The oldest request that is not answered; it counts as being run by the test from here on.
    pub(super) fn request(&mut self) -> Request {
        self.requests.pop_front().expect("no request has arrived")
    }

    pub(super) fn respond(&mut self, id: CallId, reply: Reply) {
        self.connection.respond(id, reply);
    }

    /// Answers every request with its own payload.
    pub(super) fn respond_all(&mut self) {
        for request in std::mem::take(&mut self.requests) {
            self.respond(request.id, Reply::Value(request.payload));
        }
    }

    /// The end of a call, which must have come.
    pub(super) fn reply(&mut self, id: CallId) -> Reply {
        self.reply_to(id)
            .unwrap_or_else(|| panic!("{id:?} has not ended"))
    }

    pub(super) fn reply_to(&mut self, id: CallId) -> Option<Reply> {
        self.poll_events();
        self.replies.remove(&id)
    }

    /// Whether a handler of the peer's call was started.
    pub(super) fn has_run(&self, id: CallId) -> bool {
        self.ran.contains(&id)
    }

    /// Whether a call of this side has ended, in whatever way.
    pub(super) fn has_ended(&self, id: CallId) -> bool {
        self.ended.contains(&id)
    }

    pub(super) fn go_away(&mut self) {
        self.connection
            .go_away(crate::error::Code::Draining, "the server is shutting down");
    }

    // The peer, played by the test.

    /// A frame arrives.
    pub(super) fn hear(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        self.hear_bytes(&bytes);
    }

    pub(super) fn hear_bytes(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        let inbox = std::mem::take(&mut self.inbox);
        let mut input = &inbox[..];
        loop {
            self.read_body(&mut input);
            self.in_place = !self.in_place;
            let most = if self.in_place {
                HEADER_LEN
            } else {
                usize::MAX
            };
            let (mut front, behind) = input.split_at(most.min(input.len()));
            let before = front.len();
            let taken = self.connection.handle_input(self.now, &mut front);
            let is_stuck = front.len() == before;
            input = &input[before - front.len()..];
            match taken {
                Taken::Nothing if is_stuck && behind.is_empty() => break,
                Taken::Nothing => {}
                Taken::Frame => {}
                Taken::Request(mut call) => {
                    let payload = call.arguments.take();
                    self.start(call.id, call.head, call.deadline, payload);
                }
                Taken::Reply {
                    token,
                    outcome,
                    payload,
                } => self.end(token, outcome.reply(Payload::copy_from_slice(payload))),
            }
            self.poll_events();
        }
        self.inbox = input.to_vec();
        self.poll_events();
    }

    /// Puts what has arrived of the body of a chunk to where it belongs.
    fn read_body(&mut self, input: &mut &[u8]) {
        if let Some(Body { mut buffer, left }) = self.connection.take_body() {
            let (body, behind) = input.split_at(left.min(input.len()));
            buffer.extend_from_slice(body);
            *input = behind;
            self.placed += body.len();
            self.connection.handle_body(self.now, buffer, body.len());
            self.poll_events();
        }
    }

    /// All frames that were sent since the last time this was asked.
    pub(super) fn said(&mut self) -> Vec<Frame> {
        while !self.transmit().is_empty() {}
        std::mem::take(&mut self.transcript)
    }

    /// The frames that have left on their own, in words.
    pub(super) fn summary_so_far(&mut self) -> Vec<String> {
        std::mem::take(&mut self.transcript)
            .iter()
            .map(summary)
            .collect()
    }

    /// What [`said`](Self::said) returns, in words: the kind of frame and its call.
    pub(super) fn summary(&mut self) -> Vec<String> {
        self.said().iter().map(summary).collect()
    }

    /// Lets `time` pass with nothing heard.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.connection.poll_timeout().filter(|&next| next <= end) {
            self.now = next.max(self.now);
            self.connection.handle_timeout(self.now);
            while !self.transmit().is_empty() {}
        }
        self.now = end;
        self.poll_events();
    }

    // The driver's side.

    pub(super) fn audit(&self) -> Audit {
        self.connection.audit()
    }

    /// Polls events, hands out one round of bytes, and polls the events of that.
    pub(super) fn transmit(&mut self) -> Vec<Bytes> {
        self.poll_events();
        let mut out = Transmit::default();
        if self.writable {
            self.connection.poll_transmit(self.now, &mut out);
        }
        self.poll_events();
        let mut slices = [&[][..]; 64];
        let filled = out.slices(&mut slices);
        let bytes = slices[..filled].concat();
        assert_eq!(bytes.len(), out.len());
        let (decoder, buffer) = &mut self.reader;
        buffer.extend_from_slice(&bytes);
        let mut sent = &buffer[..];
        while let Some(cut) = decoder
            .next(&mut sent)
            .expect("what is sent is well formed")
        {
            self.transcript.push(cut.into_frame());
        }
        *buffer = sent.to_vec();
        match bytes.is_empty() {
            true => Vec::new(),
            false => vec![bytes.into()],
        }
    }

    fn start(&mut self, id: CallId, head: RequestHead, deadline: Instant, payload: Payload) {
        assert!(self.closed.is_none(), "{id:?} after the end");
        assert!(self.ran.insert(id), "{id:?} runs twice");
        let goes_on = self.connection.go_on(id, deadline);
        assert!(goes_on, "{id:?} runs after the end");
        self.requests.push_back(Request {
            id,
            head,
            deadline,
            payload,
        });
    }

    fn end(&mut self, token: usize, reply: Reply) {
        let id = self.tokens[token];
        assert!(self.closed.is_none(), "{id:?} after the end");
        assert!(self.ended.insert(id), "{id:?} ends twice");
        self.replies.insert(id, reply);
    }

    /// Takes the bytes that have arrived, in pieces.
    fn receive(&mut self, piece: usize) -> bool {
        let mut moved = false;
        while self.wire.front().is_some_and(|(at, _)| *at <= self.now) {
            let Some((_, bytes)) = self.wire.pop_front() else {
                break;
            };
            for part in bytes.chunks(piece) {
                moved = true;
                self.hear_bytes(part);
            }
        }
        moved
    }

    pub(super) fn poll_events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            assert!(self.closed.is_none(), "{event:?} after the end");
            match event {
                Event::Established => {
                    let terms = *self.connection.terms().unwrap();
                    assert!(self.terms.replace(terms).is_none(), "established twice");
                }
                Event::Request {
                    id,
                    head,
                    deadline,
                    payload,
                } => {
                    self.start(id, head, deadline, payload);
                }
                Event::Abort(id) => {
                    assert!(self.ran.contains(&id), "{id:?} never ran");
                    assert!(!self.aborts.contains(&id), "{id:?} is aborted twice");
                    self.aborts.push(id);
                }
                Event::Response { token, reply } => self.end(token, reply),
                Event::Draining => self.draining = true,
                Event::Closed(fault) => self.closed = Some(fault),
            }
        }
        let audit = self.audit();
        assert!(audit.is_conserved, "{audit:?}");
    }
}

/// What every test's parameters are where it does not say otherwise.
pub(super) const PARAMETERS: Parameters = Parameters {
    message: 4 << 20,
    calls: 256,
    connection_window: 1 << 20,
    stream_window: 1 << 16,
};

pub(super) fn hello() -> Frame {
    Frame::Hello(Hello {
        versions: VERSIONS,
        parameters: PARAMETERS,
        codecs: [1].into(),
        expected: None,
        credentials: Bytes::new(),
    })
}

pub(super) fn accepted() -> Frame {
    Frame::Answer(Answer::Accepted {
        version: 1,
        codec: 1,
        parameters: PARAMETERS,
        instance: INSTANCE,
    })
}

pub(super) fn request(id: u64, payload: impl Into<Bytes>) -> Frame {
    request_in(id, 10_000, payload)
}

pub(super) fn request_in(id: u64, timeout_ms: u32, payload: impl Into<Bytes>) -> Frame {
    Frame::Request {
        id,
        head: RequestHead {
            method: 1,
            fingerprint: 2,
            timeout_ms,
            metadata: Metadata::new(),
        },
        payload: payload.into().into(),
        more: false,
        stream: false,
    }
}

/// The first frame of a request in chunks.
pub(super) fn request_more(id: u64, payload: impl Into<Bytes>) -> Frame {
    match request(id, payload) {
        Frame::Request {
            id,
            head,
            payload,
            stream,
            ..
        } => Frame::Request {
            id,
            head,
            payload,
            more: true,
            stream,
        },
        other => other,
    }
}

pub(super) fn response(id: u64, payload: impl Into<Bytes>, more: bool) -> Frame {
    Frame::Response {
        id,
        reply: Reply::Value(payload.into().into()),
        more,
    }
}

/// A chunk from the caller.
pub(super) fn chunk(id: u64, payload: impl Into<Bytes>, more: bool) -> Frame {
    Frame::Chunk {
        id,
        payload: payload.into(),
        more,
        callee: false,
    }
}

/// A chunk from the callee.
pub(super) fn reply_chunk(id: u64, payload: impl Into<Bytes>, more: bool) -> Frame {
    Frame::Chunk {
        id,
        payload: payload.into(),
        more,
        callee: true,
    }
}

fn summary(frame: &Frame) -> String {
    match frame {
        Frame::Hello(_) => "HELLO".into(),
        Frame::Answer(Answer::Accepted { .. }) => "ACCEPTED".into(),
        Frame::Answer(Answer::Refused { .. }) => "REFUSED".into(),
        Frame::Ready => "READY".into(),
        Frame::Request { id, .. } => format!("REQUEST {id}"),
        Frame::Response { id, .. } => format!("RESPONSE {id}"),
        Frame::Chunk { id, .. } => format!("CHUNK {id}"),
        Frame::Cancel { id } => format!("CANCEL {id}"),
        Frame::Item { id, .. } => format!("ITEM {id}"),
        Frame::End { id, .. } => format!("END {id}"),
        Frame::Credit { bytes, .. } => format!("CREDIT {bytes}"),
        Frame::Ping(number) => format!("PING {number}"),
        Frame::Pong(number) => format!("PONG {number}"),
        Frame::GoAway { last_id, .. } => format!("GO_AWAY {last_id}"),
    }
}
