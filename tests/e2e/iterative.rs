//! One client at a time: who waits, who is refused, and that nothing is lost or done twice.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rpc_core::server::Iterative;
use rpc_core::transport::{Address, Conduit, Listener};
use rpc_core::{Code, Error, Executed, Server};
use support::work::{Ledger, WorkClient, WorkServer, Worker};
use support::{LIMIT, TempDir, eventually_async, within};
use tokio::task::{JoinHandle, JoinSet};

/// Longer than any test lasts.
const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn the_next_client_is_served_when_the_one_before_has_left() {
    let server = start(Iterative::new().wait_max(LONG)).await;
    let first = client(&server).await;
    assert_eq!(first.echo(1).await, Ok(1));
    let mut second = waiting(&server, 2);
    let third = waiting(&server, 3);
    eventually_async("all have come", LIMIT, async || {
        (server.connections() == 3).then_some(())
    })
    .await;
    assert_eq!(first.echo(1).await, Ok(1), "it keeps its turn");
    assert!(!second.is_finished());
    drop(first);
    let second = within("its turn comes", LIMIT, &mut second).await.unwrap();
    assert!(!third.is_finished(), "in the order in which they came");
    let (second, answer) = second;
    assert_eq!(answer, Ok(2));
    drop(second);
    let (_, answer) = within("its turn comes", LIMIT, third).await.unwrap();
    assert_eq!(answer, Ok(3));
}

#[tokio::test]
async fn who_waits_in_vain_is_told_that_its_calls_did_not_run() {
    for address in ["tcp://127.0.0.1:0", "memory:iterative-in-vain"] {
        let wait = Duration::from_millis(200);
        let folder = TempDir::new();
        let ledger = folder.file("ledger");
        let worker = Worker::with_ledger(&ledger).unwrap();
        let server = Server::builder()
            .service(WorkServer::new(worker))
            .listen(address)
            .pattern(Iterative::new().wait_max(wait))
            .start();
        let server = server.await.unwrap();
        let first = client(&server).await;
        assert_eq!(first.echo(1).await, Ok(1));

        let began = Instant::now();
        let second = client(&server).await.with_deadline(LIMIT);
        let error = second.record(7, Duration::ZERO).await.unwrap_err();
        assert_eq!(error.code(), Code::Overloaded, "{error}");
        assert_eq!(error.executed(), Executed::No, "{error}");
        assert!(error.to_string().contains("busy"), "{error}");
        assert!(began.elapsed() >= wait, "it was given its time");
        let records = Ledger::count("ran", &[&ledger]);
        assert!(records.is_empty(), "no attempt of the call ran");

        assert_eq!(first.echo(2).await, Ok(2), "the first client saw nothing");
    }
}

#[tokio::test]
async fn no_more_clients_wait_than_may() {
    let server = start(Iterative::new().waiting_max(2).wait_max(LONG)).await;
    let first = client(&server).await;
    assert_eq!(first.echo(1).await, Ok(1));
    let _waiting = [waiting(&server, 2), waiting(&server, 3)];
    eventually_async("two wait", LIMIT, async || {
        (server.connections() == 3).then_some(())
    })
    .await;
    let error = client(&server).await.echo(4).await.unwrap_err();
    assert_eq!(error.code(), Code::Overloaded, "{error}");
    assert_eq!(error.executed(), Executed::No);
    assert!(error.to_string().contains("no more may wait"), "{error}");
}

/// Clients that are connected for good share the server by turns, and lose no call.
#[tokio::test]
async fn a_turn_that_is_too_long_ends_between_two_calls() {
    let turn = Duration::from_millis(100);
    let server = start(Iterative::new().turn_max(turn).wait_max(LONG)).await;
    let served = Arc::new(AtomicU32::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        let (client, served) = (client(&server).await, Arc::clone(&served));
        clients.spawn(async move {
            let client = client.with_deadline(LIMIT);
            for value in 0..30 {
                let answer = client.pause(value, Duration::from_millis(5)).await;
                assert_eq!(answer, Ok(value));
                served.fetch_add(1, Ordering::Relaxed);
            }
            client
        });
    }
    within("all are served", LIMIT, clients.join_all()).await;
    assert_eq!(served.load(Ordering::Relaxed), 90);
}

#[tokio::test]
async fn who_waits_when_the_server_stops_is_told_so() {
    let server = start(Iterative::new().wait_max(LONG)).await;
    let first = client(&server).await;
    assert_eq!(first.echo(1).await, Ok(1));
    let running = tokio::spawn(async move { first.pause(1, Duration::from_millis(300)).await });
    let second = waiting(&server, 2);
    eventually_async("both have come", LIMIT, async || {
        (server.connections() == 2 && server.calls() == 1).then_some(())
    })
    .await;
    assert!(server.shutdown(LIMIT).await);
    assert_eq!(running.await.unwrap(), Ok(1), "what ran was finished");
    let error = second.await.unwrap().1.unwrap_err();
    assert_eq!(error.executed(), Executed::No, "{error}");
}

#[tokio::test]
async fn dropping_the_server_ends_those_who_wait() {
    let server = start(Iterative::new().wait_max(LONG)).await;
    let first = client(&server).await;
    assert_eq!(first.echo(1).await, Ok(1));
    let second = waiting(&server, 2);
    eventually_async("both have come", LIMIT, async || {
        (server.connections() == 2).then_some(())
    })
    .await;
    drop(server);
    let waited = within("it ends", LIMIT, second).await.unwrap();
    assert!(waited.1.is_err());
}

/// A listener whose clients can wait outside is away during a conversation, whichever address the
/// conversation came in by.
#[tokio::test]
async fn a_listener_that_can_be_suspended_is_during_a_conversation() {
    let address: Address = "memory:iterative-door".parse().unwrap();
    let is_open = Arc::new(AtomicBool::new(true));
    let door = Door {
        inner: address.listen(&Default::default()).await.unwrap(),
        is_open: Arc::clone(&is_open),
    };
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("memory:iterative-other")
        .listen_on(door)
        .pattern(Iterative::new())
        .start();
    let server = server.await.unwrap();
    let stands = async |open: bool| {
        eventually_async("the door moves", LIMIT, async || {
            (is_open.load(Ordering::Relaxed) == open).then_some(())
        })
        .await;
    };
    for address in ["memory:iterative-other", "memory:iterative-door"] {
        let client = WorkClient::connect(address).await.unwrap();
        assert_eq!(client.echo(1).await, Ok(1));
        stands(false).await;
        drop(client);
        stands(true).await;
    }
    assert!(server.shutdown(LIMIT).await);
}

struct Door {
    inner: Box<dyn Listener>,
    is_open: Arc<AtomicBool>,
}

#[async_trait]
impl Listener for Door {
    async fn accept(&mut self) -> io::Result<Conduit> {
        assert!(self.is_open.load(Ordering::Relaxed), "nobody is taken in");
        self.inner.accept().await
    }

    fn suspend(&mut self) -> bool {
        self.is_open.store(false, Ordering::Relaxed);
        true
    }

    async fn resume(&mut self) -> io::Result<()> {
        self.is_open.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn address(&self) -> String {
        self.inner.address()
    }
}

/// A well-known pipe is away during a conversation: who finds it gone waits outside, then is told.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_well_known_pipe_is_away_during_a_conversation() {
    let folder = TempDir::new();
    let pipe = folder.file("wkp");
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen(folder.fifo("wkp"))
        .pattern(Iterative::new())
        .start();
    let server = server.await.unwrap();
    let stands = async |there: bool| {
        eventually_async("the pipe comes and goes", LIMIT, async || {
            (pipe.exists() == there).then_some(())
        })
        .await;
    };
    assert!(pipe.exists());
    let first = client(&server).await;
    assert_eq!(first.echo(1).await, Ok(1));
    stands(false).await;

    let began = Instant::now();
    let error = WorkClient::connect(&server.addresses()[0])
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Overloaded, "{error}");
    assert_eq!(error.executed(), Executed::No, "{error}");
    assert!(began.elapsed() > Duration::from_secs(1), "it waited");

    let mut second = waiting(&server, 2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!second.is_finished());
    drop(first);
    let (second, answer) = within("its turn comes", LIMIT, &mut second).await.unwrap();
    assert_eq!(answer, Ok(2));
    stands(false).await;
    drop(second);
    stands(true).await;
    assert!(server.shutdown(LIMIT).await);
    assert!(!pipe.exists());
}

async fn start(pattern: Iterative) -> Server {
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tcp://127.0.0.1:0")
        .pattern(pattern)
        .start();
    server.await.unwrap()
}

async fn client(server: &Server) -> WorkClient {
    WorkClient::connect(&server.addresses()[0]).await.unwrap()
}

/// A client that asks at once, and what it was answered in the end.
fn waiting(server: &Server, value: u64) -> JoinHandle<(WorkClient, Result<u64, Error>)> {
    let address = server.addresses()[0].clone();
    tokio::spawn(async move {
        let client = WorkClient::connect(address).await.unwrap();
        let answer = client.with_deadline(LIMIT).echo(value).await;
        (client, answer)
    })
}
