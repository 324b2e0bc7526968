//! Calls that fail, each with its own code and the truth about whether it ran.

use rpc_core::{Code, Executed, Limits, Server};
use tokio::task::JoinSet;

use super::service::{
    AbsentClient, FormsServer, GATES, Mirror, OtherWorkClient, WorkClient, WorkServer, Worker,
    pattern,
};
use super::site::{Site, eventually};

pub(crate) async fn a_panic_ends_one_call(site: Site) {
    let (server, _) = site.serve().await;
    let client = site.client().await;
    let (panicked, sum) = tokio::join!(client.panics(), client.add(1, 2));
    let error = panicked.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    assert_eq!(error.executed(), Executed::Maybe);
    assert!(!format!("{error} {error:?}").contains("tulip"), "{error:?}");
    assert_eq!(sum, Ok(3));
    assert_eq!(client.add(3, 4).await, Ok(7));
    assert_eq!(server.connections(), 1, "the connection lives on");
}

pub(crate) async fn an_unknown_method(site: Site) {
    let (_server, _) = site.serve().await;
    let channel = site.channel().connect().await.unwrap();
    let error = OtherWorkClient::new(channel.clone())
        .subtract(3, 2)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert_eq!(error.executed(), Executed::No);
    assert_eq!(error.method(), Some("subtract"));
    assert_eq!(WorkClient::new(channel).add(3, 2).await, Ok(5));
}

pub(crate) async fn an_unknown_service(site: Site) {
    let (_server, _) = site.serve().await;
    let channel = site.channel().connect().await.unwrap();
    let error = AbsentClient::new(channel).anything().await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert_eq!(error.executed(), Executed::No);
    assert!(error.message().contains("offered: Work, Forms"), "{error}");
}

pub(crate) async fn another_type_of_an_argument(site: Site) {
    let (_server, _) = site.serve().await;
    let channel = site.channel().connect().await.unwrap();
    let error = OtherWorkClient::new(channel).add(3, 2).await.unwrap_err();
    assert_eq!(error.code(), Code::Skew);
    assert_eq!(error.executed(), Executed::No);
    let text = error.to_string();
    for part in ["Work.add", "argument 1 `a`", "i32", "i64"] {
        assert!(text.contains(part), "no {part} in: {text}");
    }
}

pub(crate) async fn a_request_over_the_servers_limit(site: Site) {
    let (_server, _) = site.serve().await;
    let client = site.client().await;
    // The limit is known from the first answer on.
    assert_eq!(client.add(1, 1).await, Ok(2));
    let error = client.length(&pattern(5 << 20)).await.unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
    assert_eq!(error.executed(), Executed::No);
    let just_fits = (4 << 20) - 16;
    let length = client.length(&pattern(just_fits)).await;
    assert_eq!(length, Ok(just_fits as u64));
}

pub(crate) async fn a_reply_over_the_clients_limit(site: Site) {
    let (_server, _) = site.serve().await;
    let client = site.client().await;
    let error = client.make(5 << 20).await.unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
    assert_eq!(error.executed(), Executed::Yes);
    assert_eq!(client.make(10).await.unwrap(), pattern(10));
}

pub(crate) async fn a_request_over_a_limit_below_one_frame(site: Site) {
    let mut limits = Limits::default();
    limits.message = 1000;
    let builder = Server::builder().limits(limits);
    let builder = builder.service(FormsServer::new(Mirror));
    let (worker, _) = Worker::new();
    let _server = site.start(builder.service(WorkServer::new(worker))).await;
    let client = site.client().await;
    assert_eq!(client.length(&pattern(900)).await, Ok(900));
    let error = client.length(&pattern(1100)).await.unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::TooLarge, Executed::No)
    );
}

pub(crate) async fn more_calls_than_the_server_runs(site: Site) {
    let (worker, log) = Worker::new();
    let builder = Server::builder().calls_max(4);
    let server = site.start(builder.service(WorkServer::new(worker))).await;
    let client = site.client().await;
    let mut running = JoinSet::new();
    for gate in 0..4 {
        let client = client.clone();
        running.spawn(async move { client.pass_gate(gate % GATES).await });
    }
    eventually("four handlers run", || log.begun() == 4).await;
    let error = client.add(1, 1).await.unwrap_err();
    assert_eq!(error.code(), Code::Overloaded);
    assert_eq!(error.executed(), Executed::No);
    assert!(error.retry_after().is_some());
    for gate in 0..4 {
        log.open(gate);
    }
    assert_eq!(running.join_all().await.len(), 4);
    eventually("the places are free", || server.calls() == 0).await;
    assert_eq!(client.add(1, 1).await, Ok(2));
}
