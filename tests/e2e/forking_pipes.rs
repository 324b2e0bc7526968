//! A process for each client of a well-known pipe: the subserver opens the client's own pipes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rpc_core::server::Forking;
use rpc_core::{Code, Executed, Server};
use support::perils::{Perilous, PerilsClient, PerilsServer};
use support::{LIMIT, Process, TempDir, eventually_async, within};

const PROGRAM: &str = env!("CARGO_BIN_EXE_test-forking");

/// How soon the end of a subserver is noticed, with a pause of the machine in between: before the
/// handshake would be given up.
const NOTICED_MAX: Duration = Duration::from_millis(4500);

async fn start(folder: &TempDir, pattern: Forking) -> Server {
    let server = Server::builder()
        .service(PerilsServer::new(Perilous::default()))
        .listen(folder.fifo("wkp"))
        .pattern(pattern)
        .start();
    server.await.unwrap()
}

/// Waits until the clients have left nothing behind.
async fn no_names(folder: &TempDir) {
    let directory = folder.file("wkp.d");
    eventually_async("no pipe is left", LIMIT, async || {
        let names = fs::read_dir(&directory).unwrap();
        (names.count() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn row_50_a_subserver_that_dies_is_the_end_of_one_clients_pipes() {
    let folder = TempDir::new();
    let server = start(&folder, Forking::new().command(Command::new(PROGRAM))).await;
    let address = &server.addresses()[0];
    let (first, second) = (
        PerilsClient::connect(address).await.unwrap(),
        PerilsClient::connect(address).await.unwrap(),
    );
    let about = first.about().await.unwrap();
    let user = rustix::process::geteuid().as_raw();
    assert_eq!(about.caller, (Some(user), None));
    assert_eq!(about.peer, *address);
    assert_eq!(second.count().await, Ok(1));
    no_names(&folder).await;

    let began = Instant::now();
    let error = first.abort().await.unwrap_err();
    assert_eq!(error.code(), Code::Disconnected, "{error}");
    assert_eq!(error.executed(), Executed::Maybe);
    assert!(began.elapsed() < NOTICED_MAX, "{:?}", began.elapsed());
    assert_eq!(second.count().await, Ok(2), "the other saw nothing");
    assert_eq!(first.count().await, Ok(1), "a new process for the client");
    no_names(&folder).await;
}

#[tokio::test]
async fn row_50_a_subserver_that_never_opens_the_pipes_is_noticed() {
    let folder = TempDir::new();
    let server = start(&folder, Forking::new().command(Command::new("/bin/false"))).await;
    let client = PerilsClient::connect(&server.addresses()[0]).await.unwrap();
    let began = Instant::now();
    let error = client.count().await.unwrap_err();
    let took = began.elapsed();
    assert!(took < NOTICED_MAX, "{took:?}: {error}");
    no_names(&folder).await;
}

#[tokio::test]
async fn who_finds_all_subservers_busy_is_refused_over_its_pipes() {
    let folder = TempDir::new();
    let pattern = Forking::new()
        .command(Command::new(PROGRAM))
        .subservers_max(1);
    let server = start(&folder, pattern.wait_max(Duration::from_millis(100))).await;
    let first = PerilsClient::connect(&server.addresses()[0]).await.unwrap();
    assert_eq!(first.count().await, Ok(1));
    let second = PerilsClient::connect(&server.addresses()[0]).await.unwrap();
    let error = second.count().await.unwrap_err();
    assert_eq!(error.code(), Code::Overloaded, "{error}");
    assert_eq!(error.executed(), Executed::No);
    no_names(&folder).await;
}

/// The whole program, in a sandbox that refuses sockets and pairs of sockets.
#[tokio::test]
async fn it_works_where_sockets_are_refused() {
    let folder = TempDir::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-confined"));
    command.arg("--without-sockets").arg(PROGRAM);
    command.args(["--listen", &folder.fifo("wkp"), "--spare", "1"]);
    let mut main = Process::spawn(&mut command);
    main.line("it is ready", |line| (line == "ready").then_some(()));
    let client = PerilsClient::connect(folder.fifo("wkp")).await.unwrap();
    let about = client.about().await.unwrap();
    assert_ne!(about.pid, main.id());
    client.abort().await.unwrap_err();
    assert_eq!(client.count().await, Ok(1));
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.pause(500).await }
    });
    tokio::task::yield_now().await;
    // It has arrived when a later one is answered.
    client.count().await.unwrap();
    main.terminate();
    let finished = within("the call ends", LIMIT, running).await.unwrap();
    let pid = finished.expect("a drain lets it finish");
    assert!(main.wait(LIMIT).success());
    eventually_async("the subserver is gone", LIMIT, async || {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    })
    .await;
}
