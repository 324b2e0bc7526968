//! What a handler knows of its call, and what travels on.

use std::time::Duration;

use rpc_core::{Context, Metadata, Server};

use super::service::{WorkClient, WorkServer, Worker};
use super::site::{Site, Transport};

/// Two servers, the first of which calls the second.
async fn chain(site: &Site) -> (Server, Server, WorkClient) {
    let far = site.another();
    let (far_server, _) = far.serve().await;
    let (mut worker, _) = Worker::new();
    worker.next = Some(far.client().await);
    let builder = Server::builder().service(WorkServer::new(worker));
    let server = site.start(builder).await;
    let client = site.client().await;
    (server, far_server, client)
}

pub(crate) async fn a_nested_call_inherits_the_time_left(site: Site) {
    let (_server, _far, client) = chain(&site).await;
    let client = client.with_deadline(Duration::from_secs(60));
    let left = client.next_time_left(200).await.unwrap().unwrap();
    // The handler allows its own call 3,000 s and has used 200 ms of its 60 s.
    assert!((30_000..=59_800).contains(&left), "{left} ms");
}

pub(crate) async fn metadata_that_is_marked_travels_on(site: Site) {
    let (_server, _far, client) = chain(&site).await;
    let mut metadata = Metadata::new();
    metadata.insert_travelling("trace", "7f").unwrap();
    metadata.insert("token", "secret").unwrap();
    let context = Context::current().with_metadata(&metadata).unwrap();
    let (near, far, own, secret, none) = context
        .scope(async {
            (
                client.metadata("trace").await.unwrap(),
                client.next_metadata("trace").await.unwrap(),
                client.metadata("token").await.unwrap(),
                client.next_metadata("token").await.unwrap(),
                client.next_metadata("absent").await.unwrap(),
            )
        })
        .await;
    assert_eq!(near.as_deref(), Some(&b"7f"[..]));
    assert_eq!(far.as_deref(), Some(&b"7f"[..]));
    assert_eq!(own.as_deref(), Some(&b"secret"[..]));
    assert_eq!((secret, none), (None, None));
    assert_eq!(
        client.metadata("trace").await.unwrap(),
        None,
        "the scope is over"
    );
}

pub(crate) async fn a_handler_sees_its_peer(site: Site) {
    let (_server, _) = site.serve().await;
    let (address, uid, pid) = site.client().await.peer().await.unwrap().unwrap();
    match site.transport() {
        Transport::Tcp => {
            assert!(address.starts_with("tcp://127.0.0.1:"), "{address}");
            assert_eq!((uid, pid), (None, None));
        }
        Transport::Tls => {
            assert!(address.starts_with("tls://127.0.0.1:"), "{address}");
            assert_eq!((uid, pid), (None, None));
        }
        Transport::Exec => {
            assert!(
                address.starts_with("unix:"),
                "the child is called {address}"
            );
            assert_ne!(pid, Some(std::process::id()), "the child calls");
        }
        Transport::Udp => {
            assert!(address.starts_with("udp://127.0.0.1:"), "{address}");
            assert_eq!((uid, pid), (None, None));
        }
        Transport::Custom | Transport::Pipe => {
            assert_eq!((address.as_str(), uid, pid), ("custom:client", None, None));
        }
        Transport::Fifo => {
            assert_eq!(pid, None, "pipes tell whose they are, and no more");
            assert!(uid.is_some());
        }
        Transport::UnixPath | Transport::UnixAbstract | Transport::Memory => {
            assert_eq!(pid, Some(std::process::id()));
            assert!(uid.is_some());
        }
    }
}

pub(crate) async fn a_spawned_task_keeps_the_context(site: Site) {
    let (_server, _) = site.serve().await;
    assert_eq!(site.client().await.spawned_sees_the_call().await, Ok(true));
}

pub(crate) async fn outside_of_a_call_there_is_no_caller(site: Site) {
    let (_server, _) = site.serve().await;
    let _client = site.client().await;
    let context = Context::current();
    assert!(context.caller().is_none());
    assert!(context.peer().is_none());
    assert!(context.deadline().is_none());
}
