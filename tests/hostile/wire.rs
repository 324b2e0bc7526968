//! The attacker's own idea of the protocol: enough of PROTOCOL.md to speak it, and to break it.

use std::io;
use std::time::Duration;

use rpc_core::Address;
use rpc_core::transport::{ConnectOptions, Io};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) const MAGIC: &[u8] = b"\xf8RPC\r\n\x1a\n";

pub(crate) const HELLO: u8 = 0x01;
pub(crate) const ANSWER: u8 = 0x02;
pub(crate) const READY: u8 = 0x03;
pub(crate) const REQUEST: u8 = 0x10;
pub(crate) const RESPONSE: u8 = 0x11;
pub(crate) const CHUNK: u8 = 0x12;
pub(crate) const CANCEL: u8 = 0x13;
pub(crate) const ITEM: u8 = 0x14;
pub(crate) const END: u8 = 0x15;
pub(crate) const CREDIT: u8 = 0x16;
pub(crate) const PING: u8 = 0x20;
pub(crate) const PONG: u8 = 0x21;
pub(crate) const GO_AWAY: u8 = 0x22;

pub(crate) const MORE: u8 = 0x01;
pub(crate) const METADATA: u8 = 0x02;
pub(crate) const CALLEE: u8 = 0x80;

/// Codes of failures.
pub(crate) mod code {
    pub(crate) const DEADLINE_EXCEEDED: u8 = 2;
    pub(crate) const OVERLOADED: u8 = 3;
    pub(crate) const UNIMPLEMENTED: u8 = 6;
    pub(crate) const SKEW: u8 = 7;
    pub(crate) const CODEC: u8 = 9;
    pub(crate) const DRAINING: u8 = 14;
    pub(crate) const PROTOCOL: u8 = 15;
    pub(crate) const INTERNAL: u8 = 19;
}

pub(crate) const EXECUTED_NO: u8 = 0;
pub(crate) const EXECUTED_MAYBE: u8 = 1;

/// A header that declares `length`, whatever follows it.
pub(crate) fn header(length: u32, kind: u8, flags: u8, id: u64) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend([kind, flags, 0, 0]);
    bytes.extend(id.to_le_bytes());
    bytes
}

pub(crate) fn frame(kind: u8, flags: u8, id: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(body.len() as u32, kind, flags, id);
    bytes.extend(body);
    bytes
}

/// Limits that an attacker claims: message, calls, connection window, stream window.
pub(crate) fn parameters(values: [u32; 4]) -> Vec<u8> {
    values.into_iter().flat_map(u32::to_le_bytes).collect()
}

pub(crate) const GENEROUS: [u32; 4] = [4 << 20, 256, 1 << 20, 1 << 16];

/// The frame HELLO, without magic.
pub(crate) fn hello() -> Vec<u8> {
    let mut body = vec![1, 0, 1, 0];
    body.extend(parameters(GENEROUS));
    body.extend([1, 1]);
    frame(HELLO, 0, 0, &body)
}

/// What an honest client begins with.
pub(crate) fn opening() -> Vec<u8> {
    [MAGIC, &hello(), &frame(READY, 0, 0, &[])].concat()
}

/// The frame ANSWER that accepts, without magic.
pub(crate) fn answer(limits: [u32; 4]) -> Vec<u8> {
    let mut body = vec![0, 1, 0, 1];
    body.extend(parameters(limits));
    body.extend([7; 16]);
    frame(ANSWER, 0, 0, &body)
}

/// Number and fingerprint of a method.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) method: u64,
    pub(crate) fingerprint: u64,
}

impl Target {
    pub(crate) const UNKNOWN: Self = Self {
        method: 0xdead_beef,
        fingerprint: 0,
    };

    pub(crate) fn head(self, timeout_ms: u32) -> Vec<u8> {
        let mut body = self.method.to_le_bytes().to_vec();
        body.extend(self.fingerprint.to_le_bytes());
        body.extend(timeout_ms.to_le_bytes());
        body
    }

    pub(crate) fn request(self, id: u64, timeout_ms: u32, payload: &[u8]) -> Vec<u8> {
        let body = [&self.head(timeout_ms), payload].concat();
        frame(REQUEST, 0, id, &body)
    }
}

/// The arguments 2 and 3 of `add`.
pub(crate) const ADD: &[u8] = &[2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];

/// What `add` makes of them.
pub(crate) const FIVE: &[u8] = &[5, 0, 0, 0, 0, 0, 0, 0];

/// A length in a payload.
pub(crate) const fn length(elements: u64) -> [u8; 8] {
    elements.to_le_bytes()
}

/// The number of an enum's variant in a payload.
pub(crate) const fn variant(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

/// The body of a RESPONSE that carries `payload`.
pub(crate) fn value(payload: &[u8]) -> Vec<u8> {
    [&[0], payload].concat()
}

pub(crate) fn go_away(last: u64, code: u8, text: &str) -> Vec<u8> {
    let mut body = last.to_le_bytes().to_vec();
    body.push(code);
    body.extend((text.len() as u16).to_le_bytes());
    body.extend(text.as_bytes());
    frame(GO_AWAY, 0, 0, &body)
}

/// A frame as the attacker sees it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) kind: u8,
    pub(crate) id: u64,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// Code and `executed` of a RESPONSE that is a failure.
    pub(crate) fn failure(&self) -> Option<(u8, u8)> {
        match (self.kind, &self.body[..]) {
            (RESPONSE, [2, code, executed, ..]) => Some((*code, *executed)),
            _ => None,
        }
    }

    /// The code of a GO_AWAY.
    pub(crate) fn farewell(&self) -> Option<u8> {
        (self.kind == GO_AWAY).then(|| self.body[8])
    }
}

/// One end of a connection, byte by byte.
pub(crate) struct Raw {
    io: Box<dyn Io>,
    magic_seen: bool,
}

impl Raw {
    pub(crate) fn new(io: impl Io) -> Self {
        Self {
            io: Box::new(io),
            magic_seen: false,
        }
    }

    pub(crate) async fn connect(address: &str) -> Self {
        let address: Address = address.parse().unwrap();
        let conduit = address
            .connector(&ConnectOptions::new())
            .unwrap()
            .connect()
            .await
            .unwrap();
        Self::new(conduit.io)
    }

    /// Connects and shakes hands.
    pub(crate) async fn open(address: &str) -> Self {
        let mut raw = Self::connect(address).await;
        raw.send(&opening()).await;
        let answer = raw.next().await.expect("an answer");
        assert_eq!((answer.kind, answer.body[0]), (ANSWER, 0), "{answer:?}");
        raw
    }

    /// Takes the hello of a client and accepts it with `limits`.
    pub(crate) async fn accept(&mut self, limits: [u32; 4]) {
        let hello = self.next().await.expect("a hello");
        assert_eq!(hello.kind, HELLO);
        self.send(&[MAGIC, &answer(limits)].concat()).await;
    }

    /// Waits for the next call of a client; what else it says is passed over.
    pub(crate) async fn request(&mut self) -> Option<u64> {
        loop {
            let seen = self.next().await?;
            if seen.kind == REQUEST {
                return Some(seen.id);
            }
        }
    }

    /// Writes; a peer that has gone already is no failure of the test.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.io.write_all(bytes).await;
        let _ = self.io.flush().await;
    }

    /// As [`send`](Self::send), and says whether it was written.
    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.io.write_all(bytes).await
    }

    /// Sends nothing more.
    pub(crate) async fn finish(&mut self) {
        let _ = self.io.shutdown().await;
    }

    /// The next frame; `None` at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Seen> {
        const PATIENCE: Duration = Duration::from_secs(20);
        let read = async {
            if !self.magic_seen {
                let mut magic = [0; 8];
                self.io.read_exact(&mut magic).await?;
                assert_eq!(magic, MAGIC);
                self.magic_seen = true;
            }
            let mut head = [0; 16];
            self.io.read_exact(&mut head).await?;
            let [l0, l1, l2, l3, kind, _, _, _, id @ ..] = head;
            let length = u32::from_le_bytes([l0, l1, l2, l3]);
            let mut body = vec![0; length as usize];
            self.io.read_exact(&mut body).await?;
            let id = u64::from_le_bytes(id);
            io::Result::Ok(Seen { kind, id, body })
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("the peer neither spoke nor went in 20 s")
            .ok()
    }

    /// The reply to the call `id`; whatever comes before it is passed over.
    pub(crate) async fn reply(&mut self, id: u64) -> Option<Seen> {
        loop {
            let seen = self.next().await?;
            if seen.kind == RESPONSE && seen.id == id {
                return Some(seen);
            }
        }
    }

    /// Reads to the end; the code of the GO_AWAY on the way there, if there was one.
    pub(crate) async fn farewell(&mut self) -> Option<u8> {
        let mut code = None;
        while let Some(seen) = self.next().await {
            code = seen.farewell().or(code);
        }
        code
    }

    /// Reads to the end and throws it away.
    pub(crate) async fn drain(&mut self) {
        let mut sink = [0; 4096];
        let read = async { while matches!(self.io.read(&mut sink).await, Ok(1..)) {} };
        let patience = Duration::from_secs(20);
        let ended = tokio::time::timeout(patience, read).await;
        ended.expect("the connection does not end");
    }
}
