//! What the matchmaker withstands: many clients, no reader of its log; and what it leaves behind.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use matchmaker::registry::{Change, Contents};
use matchmaker::store::{MemoryStore, Store, StoreError};
use matchmaker::{Config, Daemon};
use rpc_core::discovery::MatchmakerClient;
use rpc_core::discovery::matchmaker::{LeaseId, Query};
use rpc_core::{CallError, Channel, Code, Server};
use rustix::process::{Pid, Signal, kill_process};
use support::work::{WorkClient, WorkServer, Worker};
use support::{LIMIT, Process, eventually, eventually_async, free_address, within};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::STAGE;
use crate::program::MATCHMAKER;

/// A store whose end can be waited for.
struct Mortal {
    store: MemoryStore,
    _alive: oneshot::Sender<()>,
}

#[async_trait]
impl Store for Mortal {
    async fn load(&self) -> Result<Contents, StoreError> {
        self.store.load().await
    }

    async fn commit(&self, changes: &[Change]) -> Result<(), StoreError> {
        self.store.commit(changes).await
    }
}

#[tokio::test]
async fn a_store_is_dropped_with_its_daemon() {
    let (alive, ended) = oneshot::channel();
    let store = Mortal {
        store: MemoryStore::new(),
        _alive: alive,
    };
    let config = Config::listening_at(["memory:daemon-mortal"]);
    let daemon = Daemon::start_on(config, store).await.unwrap();
    // Somebody who asks may be remembered.
    let client = MatchmakerClient::connect("memory:daemon-mortal").await;
    client.unwrap().health().await.unwrap();
    drop(daemon);
    let ended = within("the store is dropped", LIMIT, ended).await;
    assert!(ended.is_err(), "nothing is ever sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_do_not_keep_renewals_out() {
    /// More calls than a server answers at a time by default, as many from each as it may make.
    const CLIENTS: u64 = 33;
    const WATCHES: u64 = 255;
    let _stage = STAGE.lock().await;
    let config = Config::listening_at(["memory:daemon-watched"]);
    let daemon = Daemon::start(config).await.unwrap();
    let mut watches = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = MatchmakerClient::connect("memory:daemon-watched").await;
        let client = client.unwrap().with_deadline(LIMIT * 3);
        let query = Query::new("test.Nobody");
        let now = client.watch(&query, None, Duration::ZERO).await.unwrap();
        for _ in 0..WATCHES {
            watches.spawn(client.watch(&query, Some(now.position()), LIMIT));
        }
    }
    let client = MatchmakerClient::connect("memory:daemon-watched").await;
    let client = client.unwrap();
    eventually_async("all watches wait", LIMIT, async || {
        let health = client.health().await.ok()?;
        (health.watches == CLIENTS * WATCHES).then_some(())
    })
    .await;
    // It was looked at, though nobody has such a lease.
    let refused = client.renew(LeaseId(1)).await.unwrap_err();
    assert!(matches!(refused, CallError::Service(_)), "{refused}");
    drop(watches);
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_may_follow_three_hundred_names() {
    let config = Config::listening_at(["memory:daemon-followed"]);
    let daemon = Daemon::start(config).await.unwrap();
    let mut clients = Vec::new();
    for number in 0..300 {
        let name = format!("mm:test.Name{number}");
        let channel = Channel::builder(name.as_str()).matchmaker("memory:daemon-followed");
        let client = WorkClient::new(channel.connect_lazy().unwrap());
        let error = within("the call ends", LIMIT, client.echo(1))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::NotFound, "{error}");
        clients.push(client);
    }
    drop(daemon);
}

/// A process that writes its standard error to a pipe without a reader. When it is dropped it is
/// killed.
struct Unheard(Child);

impl Unheard {
    fn spawn(command: &mut Command) -> Self {
        let (writer, reader) = pipe::pipe().expect("a pipe");
        let writer = writer.into_blocking_fd().expect("the end of a pipe");
        // Before it starts, so that not even its first word is heard.
        drop(reader);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(writer)
            .spawn()
            .expect("the program starts");
        Self(child)
    }

    fn terminate(&self) {
        let id = i32::try_from(self.0.id()).expect("the number of a process");
        let id = Pid::from_raw(id).expect("the number of a process");
        kill_process(id, Signal::TERM).expect("a child can be signalled");
    }

    fn exit_code(&mut self) -> Option<i32> {
        eventually("the daemon ends", LIMIT, || self.0.try_wait().unwrap())
            .0
            .code()
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        // Both fail only for a child that is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_whose_log_nobody_reads_still_registers_lists_and_stops() {
    let address = free_address();
    let mut command = Command::new(MATCHMAKER);
    command.args(["serve", "--listen", &address]);
    let mut daemon = Unheard::spawn(&mut command);
    let channel = Channel::builder(&address).connect_lazy().unwrap();
    let client = MatchmakerClient::new(channel);
    eventually_async("the daemon answers", LIMIT, async || {
        client.health().await.ok()
    })
    .await;
    let mut servers = Vec::new();
    for _ in 0..2 {
        let server = Server::builder()
            .service(WorkServer::new(Worker::default()))
            .listen("tcp://127.0.0.1:0")
            .matchmaker(&address)
            .register()
            .start();
        let server = within("the server starts", LIMIT, server).await;
        servers.push(server.unwrap());
    }
    let list = Process::run(
        Command::new(MATCHMAKER)
            .arg("list")
            .env("MATCHMAKER_ADDR", &address),
    );
    assert_eq!(list.code, Some(0), "{list:?}");
    assert_eq!(list.stdout.matches("test.Work").count(), 2, "{list:?}");
    daemon.terminate();
    assert_eq!(daemon.exit_code(), Some(0));
}

#[tokio::test]
async fn a_command_whose_errors_nobody_reads_still_ends_with_its_code() {
    let mut command = Command::new(MATCHMAKER);
    command.arg("list").env("MATCHMAKER_ADDR", free_address());
    let mut list = Unheard::spawn(&mut command);
    assert_eq!(list.exit_code(), Some(4), "nobody is there");
}
