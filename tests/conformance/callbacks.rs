//! Servers that call whoever called them, over the same connection.

use rpc_core::CallError;
use tokio::task::JoinSet;

use super::service::{Answers, CallerServer, WorkClient};
use super::site::Site;

pub(crate) async fn a_server_calls_its_caller(site: Site) {
    let (server, _) = site.serve().await;
    let channel = site.channel().service(CallerServer::new(Answers("42")));
    let client = WorkClient::new(channel.connect().await.unwrap());
    assert_eq!(
        client.ask_back("how many?").await,
        Ok("how many? 42".into())
    );
    assert_eq!(server.connections(), 1);
}

pub(crate) async fn many_callbacks_cross_many_calls(site: Site) {
    let (_server, _) = site.serve().await;
    let channel = site.channel().service(CallerServer::new(Answers("!")));
    let client = WorkClient::new(channel.connect().await.unwrap());
    let mut calls = JoinSet::new();
    for i in 0..100 {
        let client = client.clone();
        calls.spawn(async move {
            let answer = client.ask_back(&i.to_string()).await;
            answer == Ok(format!("{i} !"))
        });
    }
    assert!(calls.join_all().await.into_iter().all(|right| right));
}

pub(crate) async fn a_caller_without_services_says_so(site: Site) {
    let (_server, _) = site.serve().await;
    let client = site.client().await;
    let error = client.ask_back("?").await.unwrap_err();
    assert_eq!(error, CallError::Service("no answer there".into()));
    assert_eq!(client.add(1, 1).await, Ok(2));
}
