//! Clients that connect and do not get on with it: half a hello of TLS, a byte a second, nothing.

use std::sync::Arc;
use std::time::Duration;

use rpc_core::{Channel, Limits, Server};
use support::certs::{Authority, as_it_is};
use support::work::{WorkClient, WorkServer, Worker};
use support::{LIMIT, nearly_all_within, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::pair::{client, server};

/// What a hello of TLS begins with: a record of 512 bytes, of which little follows.
const HALF_A_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

/// How long a client may take for its hello.
const HANDSHAKE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_10_half_a_tls_hello_holds_nobody_up() {
    const DRIPPERS: usize = 1000;
    let root = Authority::new("Root");
    let mut limits = Limits::default();
    limits.handshake = HANDSHAKE;
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tls://127.0.0.1:0")
        .tls(server(&root.server(&["127.0.0.1"], as_it_is)))
        .limits(limits)
        .connections_per_peer_max(DRIPPERS + 100)
        .start()
        .await
        .unwrap();
    let at = server.addresses()[0].replace("tls://", "");
    let connected = Arc::new(Semaphore::new(0));
    let drippers = (0..DRIPPERS).map(|number| {
        let at = at.clone();
        let connected = Arc::clone(&connected);
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(at).await.unwrap();
            connected.add_permits(1);
            // A third says nothing, a third half a hello, a third a byte at a time.
            let dripping = async {
                if number % 3 == 1 {
                    stream.write_all(HALF_A_HELLO).await.unwrap();
                }
                let mut sent = 0;
                loop {
                    let mut scrap = [0; 64];
                    let pause = Duration::from_millis(200);
                    match tokio::time::timeout(pause, stream.read(&mut scrap)).await {
                        Ok(Ok(0) | Err(_)) => return,
                        Ok(Ok(_)) => {}
                        Err(_) if number % 3 == 2 && sent < HALF_A_HELLO.len() => {
                            if stream.write_all(&HALF_A_HELLO[sent..=sent]).await.is_err() {
                                return;
                            }
                            sent += 1;
                        }
                        Err(_) => {}
                    }
                }
            };
            dripping.await;
        })
    });
    let drippers: Vec<_> = drippers.collect();

    // Who comes before so many others is the oldest in its handshake, and may have to make room.
    let all = connected.acquire_many(DRIPPERS as u32);
    within("they connect", LIMIT, all).await.unwrap().forget();

    // Meanwhile an honest client connects and calls, again and again.
    let mut times = Vec::new();
    for number in 0..20 {
        let asked = Instant::now();
        let connecting = Channel::builder(&server.addresses()[0])
            .tls(client(&root.pem()))
            .connect();
        let channel = within("it connects", LIMIT, connecting).await.unwrap();
        assert_eq!(WorkClient::new(channel).echo(number).await.unwrap(), number);
        times.push(asked.elapsed());
    }
    println!("honest connections with a call took {times:?}");
    // Not after the others, whose time would have to be over.
    assert!(nearly_all_within(&mut times, HANDSHAKE), "{times:?}");

    // None of them would ever leave by itself.
    for dripper in drippers {
        within("it is hung up on", LIMIT, dripper).await.unwrap();
    }
}
