//! A server whose process has run out of descriptors.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rpc_core::transport::{Address, Conduit, ListenOptions, Listener};
use rpc_core::{Channel, Server};

use super::prey::{PreyClient, TCP, assert_no_panic_inside, eventually, prey, watch_for_panics};

/// What the system says when the process, or the machine, has no descriptor left.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// How often the system refuses.
const REFUSALS: usize = 6;

/// A listener that accepts one connection, finds the system exhausted [`REFUSALS`] times, and
/// works again.
struct Starved {
    inner: Box<dyn Listener>,
    accepted: bool,
    refusals: usize,
    /// When each attempt began.
    attempts: Arc<Mutex<Vec<Instant>>>,
}

#[async_trait]
impl Listener for Starved {
    async fn accept(&mut self) -> io::Result<Conduit> {
        self.attempts.lock().unwrap().push(Instant::now());
        if self.accepted && self.refusals < REFUSALS {
            self.refusals += 1;
            let number = [EMFILE, ENFILE][self.refusals % 2];
            return Err(io::Error::from_raw_os_error(number));
        }
        let conduit = self.inner.accept().await?;
        self.accepted = true;
        Ok(conduit)
    }

    fn address(&self) -> String {
        self.inner.address()
    }
}

#[tokio::test]
async fn row_19_a_server_without_descriptors_backs_off_serves_on_and_recovers() {
    watch_for_panics();
    let address: Address = TCP.parse().unwrap();
    let attempts: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let listener = Starved {
        inner: address.listen(&ListenOptions::new()).await.unwrap(),
        accepted: false,
        refusals: 0,
        attempts: Arc::clone(&attempts),
    };
    let (service, _) = prey();
    let builder = Server::builder().service(service).listen_on(listener);
    let server = builder.start().await.unwrap();
    let connect = || Channel::builder(&server.addresses()[0]).connect_lazy();
    let attempted = || attempts.lock().unwrap().len();

    let early = PreyClient::new(connect().unwrap());
    assert_eq!(early.add(1, 1).await, Ok(2));
    let late = PreyClient::new(connect().unwrap());
    let late = tokio::spawn(async move { late.add(2, 3).await });
    while attempted() < 1 + REFUSALS {
        assert_eq!(early.add(1, 1).await, Ok(2), "who is connected is served");
    }
    assert_eq!(
        late.await.unwrap(),
        Ok(5),
        "who waited is served in the end"
    );

    // One attempt for each client, one that waits for the next, and those that were refused.
    eventually("it waits for the next", || attempted() == 3 + REFUSALS).await;
    let attempts = attempts.lock().unwrap().clone();
    let pauses: Vec<_> = attempts.windows(2).map(|two| two[1] - two[0]).collect();
    for (i, pause) in pauses[1..=REFUSALS].iter().enumerate() {
        let least = Duration::from_millis(10 << i);
        assert!(*pause >= least, "{pauses:?}");
    }
    assert_no_panic_inside();
}
