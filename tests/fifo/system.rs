//! The whole system over named pipes: matchmaker, services, clients, and servers of other patterns.

use std::time::{Duration, Instant};

use matchmaker::{Config, Daemon};
use rpc_core::server::Iterative;
use rpc_core::{Channel, Code, Executed};
use support::work::WorkClient;
use support::{LIMIT, TempDir, eventually_async};

use super::site::Site;

/// With `sandbox`, this is discovery where no process may make a socket.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_discovered_over_pipes_alone() {
    let directory = TempDir::new();
    let matchmaker = directory.fifo("matchmaker.wkp");
    let daemon = Daemon::start(Config::listening_at([&matchmaker]))
        .await
        .unwrap();
    let site = Site::new();
    let builder = site.builder().matchmaker(&matchmaker).register();
    let _server = builder.start().await.unwrap();

    let channel = Channel::builder("mm:test.Work").matchmaker(&matchmaker);
    let client = WorkClient::new(channel.connect_lazy().unwrap());
    eventually_async("it is found", LIMIT, async || client.echo(5).await.ok()).await;
    let who = client.who().await.unwrap();
    assert_eq!(who.peer_address, site.address());
    daemon.shutdown(Duration::from_secs(1)).await;
}

/// A server that takes one client at a time: its pipe is away meanwhile, and who comes is told.
#[tokio::test(flavor = "multi_thread")]
async fn an_iterative_server_takes_its_pipe_away() {
    let site = Site::new();
    let server = site
        .builder()
        .pattern(Iterative::new())
        .start()
        .await
        .unwrap();
    let first = site.call().await.unwrap();
    eventually_async("the pipe is away", LIMIT, async || {
        (!site.path().exists()).then_some(())
    })
    .await;
    let begin = Instant::now();
    let error = site.call().await.err().unwrap();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Overloaded, Executed::No)
    );
    assert!(
        error.to_string().contains("busy with another client"),
        "{error}"
    );
    assert!(begin.elapsed().as_secs() >= 2, "{:?}", begin.elapsed());
    assert_eq!(first.echo(1).await, Ok(1));

    // One that still waits when the conversation ends is the next.
    let second = tokio::spawn(super::site::call(site.address()));
    drop(first);
    second.await.unwrap().unwrap();
    drop(server);
    let error = site.call().await.err().unwrap();
    assert_eq!(error.code(), Code::Refused, "{error}");
}
