//! What the pattern promises, without processes.

mod site;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Context;
use crate::codec::CodecId;
use crate::driver::{Link, now};
use crate::error::{CallError, Code, Executed};
use crate::proto::{Call, Opening};
use crate::service::{Method, Service as _};
use crate::transport::Connector as _;
use crate::wire::{Metadata, Payload, Reply};
use site::{Central, CounterClient, CounterServer, OracleServer, Site, Subserver, Wise, reception};

#[tokio::test]
async fn the_state_is_in_one_place() {
    let site = Site::new(3).await;
    let mut clients = JoinSet::new();
    for number in 0..9 {
        let client = site.client(number % 3).await;
        clients.spawn(async move {
            for _ in 0..100 {
                client.add(1).await.unwrap();
            }
        });
    }
    clients.join_all().await;
    assert_eq!(site.state.sum.load(Ordering::SeqCst), 900);
    let empty = |site: &Site| site.reception.connections.len() == 0;
    site.eventually("all clients have left", empty).await;
}

#[tokio::test]
async fn values_arrive_as_they_were_sent() {
    let site = Site::new(1).await;
    let client = site.client(0).await;
    assert_eq!(client.text("four").await, Ok("FOUR".into()));
    assert_eq!(
        client.text("").await,
        Err(CallError::Service("nothing".into()))
    );
    for length in [0, 1, 100, 100_000, 3_000_000] {
        let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
        assert_eq!(
            client.bytes(bytes.clone()).await,
            Ok(bytes),
            "{length} bytes"
        );
    }
}

#[tokio::test]
async fn a_handler_sees_the_client_and_not_the_subserver() {
    let site = Site::new(1).await;
    let [first, second] = [site.client(0).await, site.client(0).await];
    let (one, other) = (first.peer().await.unwrap(), second.peer().await.unwrap());
    assert!(one.as_deref().unwrap().starts_with("client "), "{one:?}");
    assert_ne!(one, other);
    assert_eq!(
        first.peer().await.unwrap(),
        one,
        "the calls of both do not mix"
    );
}

#[tokio::test]
async fn time_and_metadata_travel_on() {
    let site = Site::new(1).await;
    let client = site.client(0).await.with_deadline(Duration::from_secs(100));
    let left = client.time_left().await.unwrap().unwrap();
    assert!((90..=100).contains(&left.as_secs()), "{left:?}");
    let mut metadata = Metadata::new();
    metadata.insert("token", "secret").unwrap();
    let context = Context::current().with_metadata(&metadata).unwrap();
    let seen = context.scope(client.metadata("token")).await;
    // The call was made before the scope.
    assert_eq!(seen, Ok(None));
    let seen = context
        .scope(async { client.metadata("token").await })
        .await;
    assert_eq!(seen, Ok(Some(b"secret".to_vec())));
}

#[tokio::test]
async fn failures_come_back_as_they_are() {
    let site = Site::new(1).await;
    let client = site.client(0).await;
    let error = client.panics().await.unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Internal, Executed::Maybe)
    );
    let error = client.make(5 << 20).await.unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::TooLarge, Executed::Yes)
    );
    assert_eq!(client.add(1).await, Ok(1), "the connection lives on");
}

#[tokio::test]
async fn a_dropped_call_ends_in_the_main_server() {
    let site = Site::new(1).await;
    let client = site.client(0).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.hang().await }
    });
    site.eventually("it runs", |site| {
        site.state.running.load(Ordering::SeqCst) == 1
    })
    .await;
    call.abort();
    site.eventually("it is gone", |site| {
        site.state.running.load(Ordering::SeqCst) == 0
    })
    .await;
    let error = client
        .with_deadline(Duration::from_millis(50))
        .hang()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    site.eventually("it is gone", |site| {
        site.state.running.load(Ordering::SeqCst) == 0
    })
    .await;
}

#[tokio::test]
async fn the_main_server_asks_the_client() {
    let site = Site::new(2).await;
    for subserver in 0..2 {
        let channel = site.channel(subserver).service(OracleServer::new(Wise));
        let client = CounterClient::new(channel.connect().await.unwrap());
        assert_eq!(
            client.ask_back("how many?").await,
            Ok("how many? 42".into())
        );
    }
    let silent = site.client(0).await.ask_back("?").await;
    assert_eq!(silent, Err(CallError::Service("Unimplemented".into())));
}

#[cfg(feature = "postcard")]
#[tokio::test]
async fn a_client_may_speak_another_format() {
    let site = Site::new(1).await;
    let channel = site
        .channel(0)
        .codec(CodecId::POSTCARD)
        .service(OracleServer::new(Wise));
    let client = CounterClient::new(channel.connect().await.unwrap());
    assert_eq!(client.add(300).await, Ok(300));
    assert_eq!(client.text("four").await, Ok("FOUR".into()));
    assert_eq!(
        client.text("").await,
        Err(CallError::Service("nothing".into()))
    );
    assert_eq!(client.bytes(vec![3; 100_000]).await, Ok(vec![3; 100_000]));
    assert_eq!(
        client.ask_back("how many?").await,
        Ok("how many? 42".into())
    );
}

#[tokio::test]
async fn a_client_that_leaves_is_seen_to() {
    let site = Site::new(1).await;
    let client = site.client(0).await;
    client.watch_me().await.unwrap();
    assert_eq!(site.reception.connections.len(), 1);
    drop(client);
    let gone = |site: &Site| site.state.clients_gone.load(Ordering::SeqCst) == 1;
    site.eventually("the handler is told", gone).await;
    site.eventually("nobody is there", |site| {
        site.reception.connections.len() == 0
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_subserver_ends_its_calls_alone() {
    let site = Site::new(2).await;
    let (lost, other) = (site.client(0).await, site.client(1).await);
    assert_eq!(other.add(1).await, Ok(1));
    let call = tokio::spawn(async move { lost.hang().await });
    site.eventually("it runs", |site| {
        site.state.running.load(Ordering::SeqCst) == 1
    })
    .await;
    site.subservers[0].kill();
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Disconnected, Executed::Maybe)
    );
    site.eventually("the handler is gone", |site| {
        site.state.running.load(Ordering::SeqCst) == 0
    })
    .await;
    site.eventually("one client is left", |site| {
        site.reception.connections.len() == 1
    })
    .await;
    assert_eq!(other.add(1).await, Ok(2));
}

/// What decodes to more than its budget ends in the subserver. A client that says whose number it
/// has says nothing: the place is the fingerprint's.
#[tokio::test]
async fn bombs_end_in_the_subserver() {
    let site = Site::new(1).await;
    let (link, driver) = Link::client(
        now(),
        site.door(0).connect().await.unwrap(),
        Arc::default(),
        Arc::new(Opening {
            codecs: [CodecId::BINCODE.to_wire()].into(),
            expected: None,
            credentials: bytes::Bytes::new(),
            instance: [0; 16],
            refuse: None,
        }),
        None,
    );
    tokio::spawn(driver);
    let descriptor = CounterServer::new(Central(Arc::default())).descriptor();
    let method = |name| {
        *descriptor
            .methods
            .iter()
            .find(|method| method.name == name)
            .unwrap()
    };
    let call = |name, fingerprint: Option<u64>, payload: &[u8]| {
        let method: &Method = method(name);
        let call = Call {
            method: method.id.0,
            fingerprint: fingerprint.unwrap_or(method.fingerprint()),
            deadline: now() + Duration::from_secs(5),
            metadata: Metadata::new(),
            payload: Payload::copy_from_slice(payload),
            token: 0,
        };
        let outgoing = link.clone().call(call);
        async { outgoing.map_err(|(_, error)| error).unwrap().await }
    };
    let endless = (1_u64 << 60).to_le_bytes();
    for name in ["map", "bytes", "text"] {
        match call(name, None, &endless).await {
            Reply::Failure(error) => {
                let seen = (error.code(), error.executed());
                assert_eq!(seen, (Code::Codec, Executed::No), "{name}: {error}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    for forged in [0, 1, 2, 3, u64::MAX] {
        match call("add", Some(forged), &1_u64.to_le_bytes()).await {
            Reply::Failure(error) => assert_eq!(error.code(), Code::Skew),
            other => panic!("{forged}: {other:?}"),
        }
    }
    assert_eq!(site.state.sum.load(Ordering::SeqCst), 0);
    let added = call("add", None, &1_u64.to_le_bytes()).await;
    assert_eq!(added.payload(), 1_u64.to_le_bytes());
}

#[tokio::test]
async fn a_drain_lets_calls_finish() {
    let site = Site::new(1).await;
    let client = site.client(0).await;
    let call = tokio::spawn({
        let client = client.clone();
        async move {
            client
                .with_deadline(Duration::from_millis(500))
                .hang()
                .await
        }
    });
    site.eventually("it runs", |site| {
        site.state.running.load(Ordering::SeqCst) == 1
    })
    .await;
    site.subservers[0].branch.drain().await;
    site.reception.connections.emptied().await;
    assert_eq!(
        call.await.unwrap().unwrap_err().code(),
        Code::DeadlineExceeded
    );
}

#[tokio::test]
async fn another_program_is_refused() {
    let service = CounterServer::new(Central(Arc::default()));
    let reception = reception(vec![Arc::new(service)]);
    let others = vec![OracleServer::new(Wise).descriptor()];
    let other = Subserver::start(&reception, others, Vec::new());
    let error = other.branch.ready().await.unwrap_err();
    assert_eq!(error.code(), Code::Skew);
    assert!(error.to_string().contains("\"Counter\""), "{error}");
}

/// More calls wait than the client may have in flight, and nobody waits for them.
#[tokio::test]
async fn a_flood_of_one_client_leaves_others_their_turn() {
    let site = Arc::new(Site::new(1).await);
    let flooder = site.client(0).await;
    let stop = Arc::new(Semaphore::new(0));
    let mut flood = JoinSet::new();
    for _ in 0..400 {
        let (client, stop) = (flooder.clone(), Arc::clone(&stop));
        flood.spawn(async move {
            while stop.available_permits() == 0 {
                let _ = client.add(0).await;
            }
        });
    }
    let client = site.client(0).await.with_deadline(Duration::from_secs(5));
    for _ in 0..100 {
        client.time_left().await.unwrap();
    }
    stop.add_permits(1);
    flood.join_all().await;
}
