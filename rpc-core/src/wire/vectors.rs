//! The vectors of PROTOCOL.md: each encodes to exactly these bytes and back.

use bytes::Bytes;

use super::frame::{Frame, RequestHead};
use super::handshake::{Answer, Hello, Parameters};
use super::reply::Reply;
use super::{Cut, Decoder, MAGIC, Metadata, Payload};
use crate::error::{Code, Error, Executed};

const PROTOCOL: &str = include_str!("../../../PROTOCOL.md");

/// The bytes of the block that begins with "```vector NAME": hex pairs, with comments after `#`.
fn vector(name: &str) -> Vec<u8> {
    let fence = format!("```vector {name}\n");
    let start = PROTOCOL
        .find(&fence)
        .unwrap_or_else(|| panic!("PROTOCOL.md has no vector {name}"));
    let block = &PROTOCOL[start + fence.len()..];
    let block = &block[..block.find("```").unwrap()];
    block
        .lines()
        .flat_map(|line| line.split('#').next().unwrap().split_whitespace())
        .flat_map(|group| {
            group
                .as_bytes()
                .chunks(2)
                .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        })
        .collect()
}

fn check(name: &str, frame: Frame) {
    let mut encoded = Vec::new();
    frame.put(&mut encoded);
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let wanted = vector(name);
    assert_eq!(hex(&encoded), hex(&wanted), "encoding {name}");
    let wire = [&MAGIC[..], &wanted].concat();
    let mut input = &wire[..];
    let mut decoder = Decoder::new();
    decoder.accept();
    let cut = decoder.next(&mut input).unwrap();
    assert_eq!(cut.map(Cut::into_frame), Some(frame), "decoding {name}");
    assert!(input.is_empty());
}

const PARAMETERS: Parameters = Parameters {
    message: 4 << 20,
    calls: 256,
    connection_window: 1 << 20,
    stream_window: 1 << 16,
};

#[test]
fn magic() {
    assert_eq!(vector("magic"), MAGIC);
}

#[test]
fn handshake() {
    let instance = std::array::from_fn(|i| i as u8);
    check(
        "hello",
        Frame::Hello(Hello {
            versions: (1, 1),
            parameters: PARAMETERS,
            codecs: [1].into(),
            expected: Some(instance),
            credentials: Bytes::new(),
        }),
    );
    check(
        "accepted",
        Frame::Answer(Answer::Accepted {
            version: 1,
            codec: 1,
            parameters: PARAMETERS,
            instance,
        }),
    );
    check(
        "refused",
        Frame::Answer(Answer::Refused {
            code: Code::Version.to_wire(),
            versions: (1, 1),
            text: "this server speaks version 1".into(),
        }),
    );
    check("ready", Frame::Ready);
}

#[test]
fn calls() {
    let mut metadata = Metadata::new();
    metadata.insert_travelling("trace", "ab").unwrap();
    let head = |metadata| RequestHead {
        method: 0x0102_0304_0506_0708,
        fingerprint: 0x1112_1314_1516_1718,
        timeout_ms: 10_000,
        metadata,
    };
    let payload = Payload::copy_from_slice(&[4, 6]);
    let request = |metadata, more| Frame::Request {
        id: 1,
        head: head(metadata),
        payload: payload.clone(),
        more,
        stream: false,
    };
    check("request", request(Metadata::new(), false));
    check("request-metadata", request(metadata, false));
    check("request-more", request(Metadata::new(), true));
    check(
        "chunk",
        Frame::Chunk {
            id: 1,
            payload: payload.clone().into_bytes(),
            more: false,
            callee: false,
        },
    );
    check(
        "value",
        Frame::Response {
            id: 1,
            reply: Reply::Value(payload.clone()),
            more: false,
        },
    );
    check(
        "service-error",
        Frame::Response {
            id: 1,
            reply: Reply::ServiceError(payload),
            more: false,
        },
    );
    let failure = Error::new(Code::Overloaded, "busy")
        .with_executed(Executed::No)
        .with_hint("try later")
        .with_retry_after(std::time::Duration::from_millis(50));
    check(
        "failure",
        Frame::Response {
            id: 1,
            reply: Reply::Failure(failure),
            more: false,
        },
    );
    check("cancel", Frame::Cancel { id: 1 });
}

#[test]
fn streams_and_credit() {
    let payload = Bytes::from_static(&[10]);
    check(
        "item",
        Frame::Item {
            id: 1,
            payload,
            more: false,
            callee: true,
        },
    );
    let reply = Reply::Value(Payload::default());
    check(
        "end",
        Frame::End {
            id: 1,
            reply,
            callee: true,
        },
    );
    check(
        "credit-connection",
        Frame::Credit {
            id: 0,
            bytes: 1 << 19,
            callee: false,
        },
    );
    check(
        "credit-stream",
        Frame::Credit {
            id: 1,
            bytes: 1 << 15,
            callee: false,
        },
    );
}

#[test]
fn connection() {
    check("ping", Frame::Ping(7));
    check("pong", Frame::Pong(7));
    let text = "the server is shutting down".into();
    check(
        "go-away",
        Frame::GoAway {
            last_id: 9,
            code: Code::Draining.to_wire(),
            text,
        },
    );
}

#[test]
fn datagrams() {
    use super::datagram::{ClientBody, Cookie, FromClient, FromServer, Message, ServerBody};

    const CLIENT: u64 = 0x1122_3344_5566_7788;
    let cookie = Cookie(std::array::from_fn(|i| 0xc0 + i as u8));
    let sent = |name: &str, message: Message<'_>| {
        let body = ClientBody::Shown {
            cookie,
            codec: 1,
            message,
        };
        let client = CLIENT;
        let datagram = FromClient { client, body };
        let mut encoded = Vec::new();
        datagram.put(&mut encoded);
        let wanted = vector(name);
        assert_eq!(encoded, wanted, "encoding {name}");
        assert_eq!(FromClient::parse(&wanted), Ok(datagram), "decoding {name}");
    };
    let answered = |name: &str, body: ServerBody| {
        let client = CLIENT;
        let datagram = FromServer { client, body };
        let mut encoded = Vec::new();
        datagram.put(&mut encoded);
        let wanted = vector(name);
        assert_eq!(encoded, wanted, "encoding {name}");
        assert_eq!(FromServer::parse(&wanted), Ok(datagram), "decoding {name}");
    };
    answered(
        "datagram-answer",
        ServerBody::Answer {
            cookie,
            answer: Answer::Accepted {
                version: 1,
                codec: 1,
                parameters: PARAMETERS,
                instance: std::array::from_fn(|i| i as u8),
            },
        },
    );
    sent("datagram-ready", Message::Ready);
    sent(
        "datagram-request",
        Message::Request {
            number: 9,
            floor: 7,
            head: RequestHead {
                method: 0x0102_0304_0506_0708,
                fingerprint: 0x1112_1314_1516_1718,
                timeout_ms: 10_000,
                metadata: Metadata::new(),
            },
            payload: &[4, 6],
        },
    );
    answered(
        "datagram-response",
        ServerBody::Response {
            number: 9,
            reply: Reply::Value(Payload::copy_from_slice(&[4, 6])),
        },
    );
    sent("datagram-cancel", Message::Cancel { number: 9 });
    answered("datagram-underway", ServerBody::Underway { number: 9 });
    answered("datagram-stale", ServerBody::Stale);
    sent("datagram-farewell", Message::GoAway);
    answered(
        "datagram-go-away",
        ServerBody::GoAway {
            code: Code::Draining.to_wire(),
            text: "left".into(),
        },
    );
}

#[test]
fn the_hello_of_datagrams_is_that_of_streams_and_padding() {
    use super::datagram::{ClientBody, DATAGRAM_MAX, FromClient};

    let stream = vector("hello");
    let (_, hello) = stream.split_at(super::HEADER_LEN);
    let body = ClientBody::Hello(Hello {
        versions: (1, 1),
        parameters: PARAMETERS,
        codecs: [1].into(),
        expected: Some(std::array::from_fn(|i| i as u8)),
        credentials: Bytes::new(),
    });
    let datagram = FromClient { client: 1, body };
    let mut encoded = Vec::new();
    datagram.put(&mut encoded);
    assert_eq!(encoded.len(), DATAGRAM_MAX);
    assert_eq!(FromClient::parse(&encoded), Ok(datagram));
    let body = encoded.split_off(24);
    let (same, padding) = body.split_at(hello.len());
    assert_eq!(same, hello);
    let [0, low, high, zeros @ ..] = padding else {
        panic!("no option with tag 0");
    };
    assert_eq!(usize::from(u16::from_le_bytes([*low, *high])), zeros.len());
    assert!(zeros.iter().all(|byte| *byte == 0));
}

#[test]
fn finding_a_matchmaker() {
    use super::lan::{Here, Query};

    let nonce = 0x1122_3344_5566_7788;
    let mut encoded = Vec::new();
    Query { nonce }.put(&mut encoded);
    assert_eq!(encoded[..16], vector("lan-query"));
    assert_eq!(Query::parse(&encoded), Ok(Query { nonce }));
    let here = Here {
        nonce,
        daemon: u128::from_le_bytes(std::array::from_fn(|i| i as u8)),
        addresses: vec!["tcp://0.0.0.0:7111".into()],
    };
    encoded.clear();
    here.put(&mut encoded);
    assert_eq!(encoded, vector("lan-here"));
    assert_eq!(Here::parse(&encoded), Ok(here));
}

#[test]
fn the_table_of_codes_is_the_codes() {
    // What a peer of a later version sends, and this one does not know, counts as internal.
    let known = |wire: &u8| Code::from_wire(*wire).to_wire() == *wire;
    for wire in (0..=u8::MAX).filter(known) {
        let row = format!("| {wire} | {:?} |", Code::from_wire(wire));
        assert!(PROTOCOL.contains(&row), "PROTOCOL.md has no row {row}");
    }
    assert_eq!(Code::from_wire(u8::MAX), Code::Internal);
}

#[test]
fn every_vector_is_tested() {
    let tests = [
        include_str!("vectors.rs"),
        include_str!("../transport/fifo/record/tests.rs"),
    ]
    .concat();
    for name in PROTOCOL.split("```vector ").skip(1) {
        let name = name.split('\n').next().unwrap();
        assert!(
            tests.contains(&format!("\"{name}\"")),
            "no test reads {name}"
        );
    }
}
