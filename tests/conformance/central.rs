//! The subservers of servers with the pattern `CentralDispatch`. They know the types of the services;
//! their own are never called.

use std::process::{Command, Stdio};

use rpc_core::server::CentralDispatch;
use rpc_core::{Server, ServerBuilder};

use super::service::{CallerClient, FormsServer, Mirror, WorkServer, Worker};

/// The pattern, in the server and in its subservers.
pub(crate) fn pattern() -> CentralDispatch {
    // A harness that is asked for one test is a program like any other.
    let mut command = Command::new("/proc/self/exe");
    command.args(["central::subserver", "--exact", "--nocapture"]);
    command.stdout(Stdio::null());
    CentralDispatch::new()
        .subservers(2)
        .callbacks::<CallerClient>()
        .command(command)
}

/// The program of a subserver. In any other process there is nothing to do.
#[tokio::test]
async fn subserver() {
    // Not by `subserver_init`, which would say that every process of this program may be one.
    if std::env::var_os("RPC_CORE_SUBSERVER").is_none() {
        return;
    }
    assert!(rpc_core::subserver_init());
    // The suite has servers with either set of services; the one that this process belongs to does
    // not come back.
    let work = || Server::builder().service(WorkServer::new(Worker::new().0));
    let _work = start(work()).await;
    let _both = start(work().service(FormsServer::new(Mirror))).await;
    panic!("there is no such server");
}

async fn start(builder: ServerBuilder) -> Server {
    let builder = builder.pattern(pattern()).listen("tcp://127.0.0.1:0");
    builder.start().await.expect("the server starts")
}
