//! Servers that attack their clients.

use std::future::Future;
use std::time::{Duration, Instant};

use rpc_core::{Channel, Code, Error, Executed, Limits};
use tokio::net::TcpListener;

use super::prey::{PreyClient, assert_no_panic_inside, eventually, watch_for_panics};
use super::wire::*;

/// A server that does `evil` to each connection; its address.
async fn evil<F>(evil: impl Fn(Raw) -> F + Send + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    watch_for_panics();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(evil(Raw::new(stream)));
        }
    });
    address
}

/// A server that takes the hello and sends `bytes`.
async fn says(bytes: Vec<u8>) -> String {
    evil(move |mut raw| {
        let bytes = bytes.clone();
        async move {
            let _hello = raw.next().await;
            raw.send(&bytes).await;
            raw.drain().await;
        }
    })
    .await
}

/// A server that accepts, waits for a call and sends `bytes`.
async fn says_after_a_call(bytes: Vec<u8>) -> String {
    evil(move |mut raw| {
        let bytes = bytes.clone();
        async move {
            raw.accept(GENEROUS).await;
            let _call = raw.request().await;
            raw.send(&bytes).await;
            raw.drain().await;
        }
    })
    .await
}

async fn call(address: &str) -> Result<i64, Error> {
    let channel = Channel::builder(address).deadline(Duration::from_secs(10));
    let client = PreyClient::new(channel.connect_lazy().unwrap());
    client.add(2, 3).await
}

async fn fails(address: &str, code: Code) -> Error {
    let error = call(address).await.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert_no_panic_inside();
    error
}

#[tokio::test]
async fn row_56_garbage_instead_of_an_answer() {
    let garbage = (0..5000_u32).map(|i| (i * 7 % 256) as u8).collect();
    fails(&says(garbage).await, Code::Protocol).await;
    let almost = b"\xf8RPC\r\n\x1a\rxxxxxxxxxxxxxxxx".to_vec();
    fails(&says(almost).await, Code::Protocol).await;
}

#[tokio::test]
async fn row_56_another_protocol_is_quoted() {
    let reply = b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n".to_vec();
    let error = fails(&says(reply).await, Code::Protocol).await;
    let text = error.to_string();
    assert!(text.contains(r"HTTP/1.1 400 Bad Request\r\n"), "{text}");
    let ssh = b"SSH-2.0-\x1b[31mOpenSSH\r\n".to_vec();
    let error = fails(&says(ssh).await, Code::Protocol).await;
    assert!(!error.to_string().contains('\x1b'), "{error}");
}

#[tokio::test]
async fn row_56_frames_before_the_answer() {
    for bytes in [
        frame(RESPONSE, 0, 1, &value(FIVE)),
        Target::UNKNOWN.request(1, 1000, &[]),
        frame(PING, 0, 0, &[0; 8]),
        frame(READY, 0, 0, &[]),
        hello(),
    ] {
        fails(&says([MAGIC, &bytes].concat()).await, Code::Protocol).await;
    }
}

#[tokio::test]
async fn row_56_an_answer_that_was_not_asked_for() {
    let mut version = answer(GENEROUS);
    version[17] = 9;
    fails(&says([MAGIC, &version].concat()).await, Code::Protocol).await;
    let mut codec = answer(GENEROUS);
    codec[19] = 200;
    fails(&says([MAGIC, &codec].concat()).await, Code::Protocol).await;
    let twice = [MAGIC, &answer(GENEROUS), &answer(GENEROUS)].concat();
    fails(&says(twice).await, Code::Protocol).await;
}

#[tokio::test]
async fn row_56_a_refusal_did_not_run_the_call() {
    let mut body = vec![3, 1, 0, 1, 0, 4, 0];
    body.extend(b"full");
    let refusal = [MAGIC, &frame(ANSWER, 0, 0, &body)].concat();
    let error = fails(&says(refusal).await, Code::Overloaded).await;
    assert_eq!(error.executed(), Executed::No);
    assert!(error.to_string().contains("full"), "{error}");
}

#[tokio::test]
async fn row_56_replies_to_calls_that_were_never_made() {
    let stray = |n: u64| -> Vec<u8> {
        (1000..1000 + n)
            .flat_map(|id| frame(RESPONSE, 0, id, &value(FIVE)))
            .collect()
    };
    let few = [stray(90), frame(RESPONSE, 0, 1, &value(FIVE))].concat();
    assert_eq!(call(&says_after_a_call(few).await).await, Ok(5));
    fails(&says_after_a_call(stray(200)).await, Code::Protocol).await;
}

#[tokio::test]
async fn row_56_a_reply_twice() {
    let reply = frame(RESPONSE, 0, 1, &value(FIVE));
    let address = says_after_a_call([reply.clone(), reply].concat()).await;
    assert_eq!(call(&address).await, Ok(5));
    assert_no_panic_inside();
}

#[tokio::test]
async fn row_56_lengths_and_frames_that_break_the_rules() {
    for bytes in [
        header(u32::MAX, RESPONSE, 0, 1),
        header(64 * 1024 + 1, RESPONSE, 0, 1),
        frame(RESPONSE, 0, 1, &[]),
        frame(RESPONSE, 0, 1, &[9]),
        frame(RESPONSE, 0, 1, &[2, 1, 7]),
        frame(RESPONSE, METADATA, 1, &value(FIVE)),
        frame(CREDIT, 0, 0, &[0; 4]),
        [
            frame(CREDIT, 0, 0, &[0xff; 4]),
            frame(CREDIT, 0, 0, &[0xff; 4]),
        ]
        .concat(),
        frame(0xee, 0, 0, &[]),
        frame(PONG, 0, 0, &[]),
    ] {
        let error = fails(&says_after_a_call(bytes).await, Code::Protocol).await;
        assert_eq!(error.executed(), Executed::Maybe, "{error}");
    }
}

#[tokio::test]
async fn row_56_more_chunks_than_were_granted() {
    let first = frame(RESPONSE, MORE, 1, &value(&[0; 1000]));
    let chunk = frame(CHUNK, MORE | CALLEE, 1, &[0; 10_001]);
    let address = says_after_a_call([first, chunk].concat()).await;
    let mut limits = Limits::default();
    limits.connection_window = 10_000;
    let channel = Channel::builder(address).limits(limits);
    let client = PreyClient::new(channel.connect().await.unwrap());
    let error = client.give_blob().await.unwrap_err();
    assert_eq!(error.code(), Code::Protocol, "{error}");
    assert_eq!(
        error.executed(),
        Executed::Yes,
        "a part of the reply was here"
    );
    assert_no_panic_inside();
}

#[tokio::test]
async fn row_56_a_reply_without_an_end_is_cut_at_the_limit() {
    let address = evil(|mut raw| async move {
        raw.accept(GENEROUS).await;
        let Some(id) = raw.request().await else {
            return;
        };
        raw.send(&frame(RESPONSE, MORE, id, &value(&[0; 1000])))
            .await;
        // The client cancels when it has had enough, and grants credit until then.
        let chunk = frame(CHUNK, MORE | CALLEE, id, &[0; 60 * 1024]);
        let mut credit = 1 << 20;
        loop {
            while credit >= 60 * 1024 {
                raw.send(&chunk).await;
                credit -= 60 * 1024;
            }
            match raw.next().await {
                Some(seen) if seen.kind == CREDIT => {
                    let bytes = seen.body[..4].try_into().unwrap();
                    credit += u32::from_le_bytes(bytes);
                }
                Some(seen) if seen.kind != CANCEL => {}
                _ => return,
            }
        }
    })
    .await;
    let client = PreyClient::new(Channel::connect(address).await.unwrap());
    let error = client.give_blob().await.unwrap_err();
    assert_eq!(error.code(), Code::TooLarge, "{error}");
    assert_eq!(error.executed(), Executed::Yes);
    assert_no_panic_inside();
}

#[tokio::test]
async fn row_56_a_flood_of_go_away() {
    let flood = go_away(u64::MAX, 14, &"bye ".repeat(250)).repeat(20_000);
    let reply = frame(RESPONSE, 0, 1, &value(FIVE));
    let address = says_after_a_call([flood, reply].concat()).await;
    assert_eq!(call(&address).await, Ok(5));
    let contradictory: Vec<u8> = (0..5000)
        .rev()
        .flat_map(|last| go_away(last, 15, "no"))
        .collect();
    let address = says_after_a_call(contradictory).await;
    let error = call(&address).await.unwrap_err();
    assert_eq!(
        error.executed(),
        Executed::No,
        "above the last call: {error}"
    );
    assert_no_panic_inside();
}

#[tokio::test]
async fn row_56_a_flood_of_pings_and_of_calls() {
    let pings = frame(PING, 0, 0, &[7; 8]).repeat(50_000);
    let reply = frame(RESPONSE, 0, 1, &value(FIVE));
    let address = says_after_a_call([pings, reply.clone()].concat()).await;
    assert_eq!(call(&address).await, Ok(5));
    let calls: Vec<u8> = (1..5000)
        .flat_map(|id| Target::UNKNOWN.request(id, 1000, &[]))
        .collect();
    let address = says_after_a_call([calls, reply].concat()).await;
    fails(&address, Code::Protocol).await;
}

#[tokio::test]
async fn row_56_limits_of_nothing_and_of_everything() {
    for limits in [[0; 4], [u32::MAX; 4], [0, u32::MAX, 0, 0], [100, 0, 0, 0]] {
        let address = evil(move |mut raw| async move {
            raw.accept(limits).await;
            while let Some(id) = raw.request().await {
                raw.send(&frame(RESPONSE, 0, id, &value(FIVE))).await;
            }
        })
        .await;
        let client = PreyClient::new(Channel::connect(address).await.unwrap());
        let patient = client.with_deadline(Duration::from_secs(20));
        // The first call may go out before the limits are known; no later one is over them.
        let _ = patient.add(2, 3).await;
        match patient.add(2, 3).await {
            Ok(sum) => assert!(sum == 5 && limits[0] >= 2),
            Err(error) => assert_eq!(error.code(), Code::TooLarge, "{error}"),
        }
        let large = vec![0; 200_000];
        if limits[0] < 200_000 {
            let error = patient.blob(large).await.unwrap_err();
            assert_eq!(error.code(), Code::TooLarge);
        } else if limits[2] == 0 {
            let hasty = client.with_deadline(Duration::from_millis(500));
            let error = hasty.blob(large).await.unwrap_err();
            assert_eq!(error.code(), Code::DeadlineExceeded);
        } else {
            let _ = patient.blob(large).await;
        }
    }
    assert_no_panic_inside();
}

#[tokio::test]
async fn row_56_a_server_that_never_answers() {
    let address = evil(|mut raw| async move { raw.drain().await }).await;
    let mut limits = Limits::default();
    limits.handshake = Duration::from_millis(300);
    let start = Instant::now();
    let channel = Channel::builder(&address).limits(limits);
    let client = PreyClient::new(channel.connect_lazy().unwrap());
    let error = client.add(1, 1).await.unwrap_err();
    assert_eq!(error.code(), Code::Unreachable, "{error}");
    assert_eq!(
        error.executed(),
        Executed::Maybe,
        "it went out with the hello"
    );
    assert!(start.elapsed() < Duration::from_secs(20), "{error}");
    // The call's own deadline may be the shorter one.
    let channel = Channel::builder(&address).deadline(Duration::from_millis(100));
    let client = PreyClient::new(channel.connect_lazy().unwrap());
    let error = client.add(1, 1).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    assert_no_panic_inside();
}

#[tokio::test]
async fn row_56_a_server_that_shuts_the_door() {
    let address = evil(|raw| async move { drop(raw) }).await;
    let error = call(&address).await.unwrap_err();
    assert!(
        matches!(error.code(), Code::Disconnected | Code::Io),
        "{error}"
    );
    let address = evil(|mut raw| async move {
        raw.accept(GENEROUS).await;
        raw.request().await;
    })
    .await;
    let error = fails(&address, Code::Disconnected).await;
    assert_eq!(error.executed(), Executed::Maybe);
}

#[tokio::test]
async fn row_56_a_server_that_stops_reading_and_goes_on_speaking() {
    // Half closed the wrong way round: what the client writes meets a reset or a full buffer.
    let address = evil(|mut raw| async move {
        raw.accept(GENEROUS).await;
        raw.finish().await;
        std::future::pending::<()>().await;
    })
    .await;
    let client = PreyClient::new(Channel::connect(address).await.unwrap());
    let error = client.add(1, 1).await.unwrap_err();
    assert_eq!(error.code(), Code::Disconnected, "{error}");
    assert_no_panic_inside();
}

#[tokio::test]
async fn row_56_text_from_the_server_is_bounded() {
    let text = "x\x1b[31m".repeat(2000);
    let mut body = vec![2, 19, 1, 0, 0, 0, 0];
    body.extend((text.len() as u16).to_le_bytes());
    body.extend(text.as_bytes());
    body.extend([0, 0]);
    let address = says_after_a_call(frame(RESPONSE, 0, 1, &body)).await;
    let error = call(&address).await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert_no_panic_inside();
}

#[tokio::test]
async fn row_56_connections_to_evil_servers_do_not_stay() {
    static OPEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    use std::sync::atomic::Ordering::SeqCst;
    let address = evil(|mut raw| async move {
        OPEN.fetch_add(1, SeqCst);
        raw.accept(GENEROUS).await;
        raw.request().await;
        raw.send(&header(u32::MAX, RESPONSE, 0, 1)).await;
        raw.drain().await;
        OPEN.fetch_sub(1, SeqCst);
    })
    .await;
    for _ in 0..20 {
        fails(&address, Code::Protocol).await;
    }
    eventually("all are closed", || OPEN.load(SeqCst) == 0).await;
}
