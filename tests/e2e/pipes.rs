//! Pipes that were made by others: `pipe:` in a child, and `Conduit::over_pipes` in its parent.

use std::fs::File;
use std::io;
use std::process::{Command, Stdio};

use async_trait::async_trait;
use rpc_core::transport::{Conduit, Listener, Peer};
use rpc_core::{Client as _, Server};
use support::plugin::{Child, PluginClient, PluginServer};
use support::{LIMIT, Process, within};

fn plugin(role: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-plugin"));
    command.arg(role);
    command
}

/// `pipe:` is an address like any other: a child may listen there, or connect.
#[tokio::test]
async fn either_end_of_a_pair_of_pipes_may_serve() {
    let child = PluginClient::spawn(plugin("listen")).await.unwrap();
    assert_eq!(child.echo(5).await, Ok(5));

    let mut command = plugin("call");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut caller = command.spawn().unwrap();
    let reader = caller.stdout.take().unwrap();
    let writer = caller.stdin.take().unwrap();
    let conduit = Conduit::over_pipes(reader, writer, Peer::new("the child")).unwrap();
    let server = Server::builder()
        .service(PluginServer::new(Child::default()))
        .listen_on(Once(Some(conduit)))
        .start()
        .await
        .unwrap();
    let status = tokio::task::spawn_blocking(move || caller.wait().unwrap());
    assert!(
        within("the caller ends", LIMIT, status)
            .await
            .unwrap()
            .success()
    );
    drop(server);
}

/// A listener with one connection.
struct Once(Option<Conduit>);

#[async_trait]
impl Listener for Once {
    async fn accept(&mut self) -> io::Result<Conduit> {
        match self.0.take() {
            Some(conduit) => Ok(conduit),
            None => std::future::pending().await,
        }
    }

    fn address(&self) -> String {
        "once".to_owned()
    }
}

#[test]
fn without_a_parent_that_speaks_there_is_nobody_to_serve() {
    // Its standard input is no pipe.
    let alone = Process::run(&mut plugin("serve"));
    assert_eq!(alone.code, Some(1), "{alone:?}");
    let what = "are not the pipes of a parent";
    assert!(
        alone.stderr.contains(what) && alone.stderr.contains("exec:"),
        "{alone:?}"
    );
}

#[tokio::test]
async fn what_is_no_pipe_is_refused() {
    let null = || File::open("/dev/null").unwrap();
    let error = Conduit::over_pipes(null(), null(), Peer::new("nobody")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let error = Conduit::over_pipes(writer, reader, Peer::new("nobody")).unwrap_err();
    assert!(error.to_string().contains("the other direction"), "{error}");
}
