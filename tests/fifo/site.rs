//! A well-known pipe of a test's own.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rpc_core::{Channel, Error, Server, ServerBuilder};
use support::work::{WorkClient, WorkServer, Worker};
use support::{LIMIT, Process, TempDir, eventually, eventually_async, fifo};

/// How soon the death of one side is an error at the other.
pub(crate) const DEATH_MAX: Duration = Duration::from_millis(2500);

/// How soon nothing is left of a peer that died.
pub(crate) const TRACE_MAX: Duration = Duration::from_secs(5);

/// A place for a well-known pipe, and nothing else in it.
pub(crate) struct Site {
    directory: TempDir,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self {
            directory: TempDir::new(),
        }
    }

    /// The path of the well-known pipe.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.file("calc.wkp")
    }

    pub(crate) fn address(&self) -> String {
        self.directory.fifo("calc.wkp")
    }

    /// What a server is built from: one that takes as many clients as the transport does.
    pub(crate) fn builder(&self) -> ServerBuilder {
        Server::builder()
            .service(WorkServer::new(Worker::default()))
            .connections_per_peer_max(10_000)
            .listen(self.address())
    }

    pub(crate) async fn serve(&self) -> Server {
        self.builder().start().await.expect("the server starts")
    }

    pub(crate) async fn connect(&self) -> Result<WorkClient, Error> {
        let channel = Channel::builder(self.address()).connect().await?;
        Ok(WorkClient::new(channel))
    }

    /// Connects and calls, which is when it is known that the server is there.
    pub(crate) async fn call(&self) -> Result<WorkClient, Error> {
        call(self.address()).await
    }

    pub(crate) async fn check(&self) {
        self.call().await.expect("the server is there");
    }

    /// The names that clients have made, and not lost.
    pub(crate) fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(fifo::directory(&self.path())) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.collect()
    }

    /// The pipes of this place that this process has open, with and without names.
    pub(crate) fn open_pipes(&self) -> usize {
        let place = self.directory.as_ref();
        let descriptors = fs::read_dir("/proc/self/fd").expect("Linux tells what is open");
        let open = descriptors.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        open.filter(|path| path.starts_with(place)).count()
    }

    /// Waits until there are no more open pipes here than `pipes`.
    pub(crate) async fn has_closed_all_but(&self, pipes: usize) {
        eventually_async("no pipe is open", LIMIT, async || {
            (self.open_pipes() <= pipes).then_some(())
        })
        .await;
    }
}

/// Connects to a well-known pipe, and calls.
pub(crate) async fn call(address: String) -> Result<WorkClient, Error> {
    let client = WorkClient::new(Channel::builder(address).connect().await?);
    assert_eq!(client.echo(7).await?, 7);
    Ok(client)
}

/// Stops a process, and waits until it has stopped.
pub(crate) fn stop(process: &Process) {
    process.pause();
    let tasks = format!("/proc/{}/task", process.id());
    eventually("all its threads have stopped", LIMIT, || {
        let stopped = fs::read_dir(&tasks).ok()?.all(|task| {
            let status = fs::read_to_string(task.unwrap().path().join("stat"));
            status.is_ok_and(|status| status.contains(") T "))
        });
        stopped.then_some(())
    });
}
