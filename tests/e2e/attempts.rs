//! What a client makes of places that fail: which it tries next, how soon, and what it says of the
//! call in the end; and what a server keeps of a call that was answered.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use matchmaker::registry::{Caller, ConnectionKey, Limits, Principal};
use matchmaker::service::MatchmakerService;
use matchmaker::store::MemoryStore;
use matchmaker::{Config, Daemon};
use rpc_core::discovery::MatchmakerClient;
use rpc_core::discovery::matchmaker::{
    Endpoint, Instance, InstanceId, MatchmakerServer, Query, Registration,
};
use rpc_core::transport::{Conduit, ConnectOptions, Connector, Peer};
use rpc_core::{
    Address, Channel, Code, Context, Descriptor, Error, Executed, Reply, Request, Server, Service,
    service,
};
use serde::{Deserialize, Deserializer, Serialize};
use support::work::{WorkClient, WorkServer, Worker};
use support::{LIMIT, eventually_async, free_address, within};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::STAGE;

/// The first dial leads to the server, and at every later one nobody is there.
struct Once {
    server: Box<dyn Connector>,
    dialled: AtomicBool,
}

#[async_trait]
impl Connector for Once {
    async fn connect(&self) -> Result<Conduit, Error> {
        if self.dialled.swap(true, Ordering::SeqCst) {
            return Err(Error::new(Code::Refused, "nobody is there any more"));
        }
        self.server.connect().await
    }

    fn address(&self) -> &str {
        self.server.address()
    }
}

#[tokio::test]
async fn a_call_that_may_have_run_stays_a_maybe_when_its_retry_reaches_nobody() {
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("memory:attempts-once")
        .start();
    let server = server.await.unwrap();
    let address: Address = "memory:attempts-once".parse().unwrap();
    let channel = Channel::builder_over(Once {
        server: address.connector(&ConnectOptions::new()).unwrap(),
        dialled: AtomicBool::new(false),
    });
    let work = WorkClient::new(channel.connect().await.unwrap());
    // An idempotent call, because no other is tried again after it may have run.
    let call = tokio::spawn(work.pid(LIMIT));
    eventually_async("the call runs", LIMIT, async || {
        (server.calls() == 1).then_some(())
    })
    .await;
    drop(server);
    let call = within("the call ends", LIMIT, call).await.unwrap();
    let error = call.unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Refused, Executed::Maybe),
        "{error}"
    );
}

/// The first dial leads to the server. Every later one takes what is sent for a while, unread, and
/// ends, as it does in the queue of a listener that is closed.
struct Queued {
    server: Box<dyn Connector>,
    dialled: AtomicBool,
}

#[async_trait]
impl Connector for Queued {
    async fn connect(&self) -> Result<Conduit, Error> {
        if !self.dialled.swap(true, Ordering::SeqCst) {
            return self.server.connect().await;
        }
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(far);
        });
        Ok(Conduit::new(near, Peer::new("queue")))
    }

    fn address(&self) -> &str {
        self.server.address()
    }
}

#[tokio::test]
async fn a_call_over_a_connection_made_again_is_not_sent_to_who_has_not_answered() {
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("memory:attempts-queued")
        .start();
    let server = server.await.unwrap();
    let address: Address = "memory:attempts-queued".parse().unwrap();
    let channel = Channel::builder_over(Queued {
        server: address.connector(&ConnectOptions::new()).unwrap(),
        dialled: AtomicBool::new(false),
    });
    let work = WorkClient::new(channel.connect().await.unwrap());
    assert_eq!(work.echo(1).await, Ok(1));
    assert!(server.shutdown(LIMIT).await);
    let error = within("the call ends", LIMIT, work.echo(2)).await;
    let error = error.unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Disconnected, Executed::No),
        "{error}"
    );
}

/// Answers every call with a failure, and notes when.
struct Failing {
    inner: Arc<dyn Service>,
    error: Error,
    asked: Arc<Mutex<Vec<Instant>>>,
}

impl Service for Failing {
    fn descriptor(&self) -> &'static Descriptor {
        self.inner.descriptor()
    }

    fn call(&self, _: Request) -> Pin<Box<dyn Future<Output = Reply> + Send>> {
        self.asked.lock().unwrap().push(Instant::now());
        let reply = Reply::Failure(self.error.clone());
        Box::pin(async move { reply })
    }
}

#[tokio::test]
async fn a_matchmaker_that_fails_makes_no_maybe_of_a_call_that_was_not_sent() {
    let asked = Arc::default();
    let failing = failing(
        Error::new(Code::Internal, "on purpose").with_executed(Executed::Maybe),
        &asked,
    );
    let caller = || Caller::local(Principal::named("test"), ConnectionKey(0));
    let service = MatchmakerService::open(MemoryStore::new(), Limits::default(), caller);
    let _matchmaker = Server::builder()
        .service(MatchmakerServer::new(service.await.unwrap()))
        .layer(failing)
        .listen("memory:attempts-failing")
        .start()
        .await
        .unwrap();
    let channel = Channel::builder("mm:test.Work").matchmaker("memory:attempts-failing");
    let work = WorkClient::new(channel.connect_lazy().unwrap());
    let error = within("the call ends", LIMIT, work.echo(1))
        .await
        .unwrap_err();
    assert_eq!(error.executed(), Executed::No, "{error}");
    assert!(!asked.lock().unwrap().is_empty(), "the matchmaker failed");
}

#[tokio::test]
async fn an_overloaded_instance_without_others_is_asked_again_only_when_it_wants() {
    const AFTER: Duration = Duration::from_millis(200);
    let _daemon = daemon("memory:attempts-overloaded").await;
    let asked = Arc::default();
    let overloaded = Error::new(Code::Overloaded, "on purpose").with_retry_after(AFTER);
    let _server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .layer(failing(overloaded, &asked))
        .listen("tcp://127.0.0.1:0")
        .matchmaker("memory:attempts-overloaded")
        .register()
        .start()
        .await
        .unwrap();
    let work = client("memory:attempts-overloaded").await;
    let call = within("the call ends", LIMIT, work.echo(1)).await;
    assert_eq!(call.unwrap_err().code(), Code::Overloaded);
    let asked = asked.lock().unwrap();
    assert!(asked.len() > 1, "it was asked again");
    for pair in asked.windows(2) {
        let waited = pair[1] - pair[0];
        assert!(waited >= AFTER, "asked again after {waited:?}");
    }
}

fn failing(
    error: Error,
    asked: &Arc<Mutex<Vec<Instant>>>,
) -> impl Fn(Arc<dyn Service>) -> Arc<dyn Service> + Send + Sync + 'static {
    let asked = Arc::clone(asked);
    move |inner| {
        let (error, asked) = (error.clone(), Arc::clone(&asked));
        Arc::new(Failing {
            inner,
            error,
            asked,
        })
    }
}

#[tokio::test]
async fn a_client_follows_an_instance_to_its_new_addresses() {
    let _daemon = daemon("memory:attempts-moving").await;
    let _server = registered("memory:attempts-moving").await;
    let matchmaker = MatchmakerClient::connect("memory:attempts-moving").await;
    let matchmaker = matchmaker.unwrap();
    let home = only_instance(&matchmaker).await;
    let mut away = registration(home.instance, &home);
    away.endpoints = vec![Endpoint::new(free_address())];
    matchmaker.register(&away).await.unwrap();

    let channel = Channel::builder("mm:test.Work").matchmaker("memory:attempts-moving");
    let work = WorkClient::new(channel.connect_lazy().unwrap());
    let error = within("the call ends", LIMIT, work.echo(1))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Refused, "{error}");

    matchmaker
        .register(&registration(home.instance, &home))
        .await
        .unwrap();
    eventually_async("the client has followed", LIMIT, async || {
        work.echo(1).await.ok()
    })
    .await;
}

#[tokio::test]
async fn an_instance_that_hangs_does_not_attract_calls() {
    let _stage = STAGE.lock().await;
    let _daemon = daemon("memory:attempts-hanging").await;
    let server = registered("memory:attempts-hanging").await;
    let matchmaker = MatchmakerClient::connect("memory:attempts-hanging").await;
    let matchmaker = matchmaker.unwrap();
    let work = client("memory:attempts-hanging").await;
    // The healthy instance is the busier one from now on: the other answers nothing, but has no
    // calls either.
    let _busy = tokio::spawn(work.with_deadline(LIMIT).hang(1, Vec::new()));
    eventually_async("the call runs", LIMIT, async || {
        (server.calls() == 1).then_some(())
    })
    .await;

    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", hanging.local_addr().unwrap());
    let healthy = only_instance(&matchmaker).await;
    let mut other = registration(InstanceId::random(), &healthy);
    other.endpoints = vec![Endpoint::new(address)];
    matchmaker.register(&other).await.unwrap();

    let dialled = tokio::spawn(async move {
        let connection = hanging.accept().await.unwrap();
        (hanging, connection)
    });
    let begin = Instant::now();
    while !dialled.is_finished() {
        assert!(begin.elapsed() < LIMIT, "the other instance is never tried");
        assert_eq!(work.echo(1).await, Ok(1));
    }
    // Long for a hundred calls, and short if each of them first gave the other one a chance.
    within("the calls wait for nobody", LIMIT, async {
        for value in 0..100 {
            assert_eq!(work.echo(value).await, Ok(value));
        }
    })
    .await;
}

#[tokio::test]
async fn a_matchmaker_that_cannot_be_dialled_is_an_error_when_a_server_starts() {
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tcp://127.0.0.1:0")
        .matchmaker("tcp://127.0.0.1:0")
        .register()
        .start();
    let error = within("the answer is there", LIMIT, server).await;
    let error = error.map(drop).unwrap_err();
    assert!(error.to_string().contains("port 0"), "{error}");
}

#[tokio::test]
async fn a_matchmaker_that_cannot_be_dialled_is_an_error_when_a_client_connects() {
    let channel = || Channel::builder("mm:test.Work").matchmaker("tcp://127.0.0.1:0");
    let lazy = channel().connect_lazy().map(drop).unwrap_err();
    let eager = within("the answer is there", LIMIT, channel().connect()).await;
    for error in [lazy, eager.map(drop).unwrap_err()] {
        assert!(error.to_string().contains("port 0"), "{error}");
    }
}

/// Words of one kind only, which a probe does not know.
#[derive(Serialize)]
struct Polite(String);

impl<'de> Deserialize<'de> for Polite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        assert!(text.starts_with("please"), "on purpose: {text:?}");
        Ok(Self(text))
    }
}

#[service(name = "test.Butler")]
#[allow(dead_code, reason = "only its server is used")]
trait Butler {
    async fn ask(&self, words: Polite) -> u64;
    async fn connection(&self) -> u64;
}

/// The same for who has no manners; of its own, so that it is the server that probes the words.
#[service(name = "test.Butler")]
#[allow(dead_code, reason = "only its client is used")]
trait Guest {
    async fn ask(&self, words: String) -> u64;
    async fn connection(&self) -> u64;
}

struct Jeeves;

impl Butler for Jeeves {
    async fn ask(&self, words: Polite) -> u64 {
        words.0.len() as u64
    }

    async fn connection(&self) -> u64 {
        let connection = Context::current().connection_id();
        connection.expect("a call has a connection")
    }
}

#[tokio::test]
async fn a_type_that_panics_when_it_is_probed_ends_no_connection() {
    let server = Server::builder()
        .service(ButlerServer::new(Jeeves))
        .listen("memory:attempts-probed")
        .start();
    let _server = server.await.unwrap();
    let guest = GuestClient::connect("memory:attempts-probed").await;
    let guest = guest.unwrap();
    let before = guest.connection().await.unwrap();
    let asked = within("the call ends", LIMIT, guest.ask("please".to_owned())).await;
    assert_eq!(asked.unwrap_err().code(), Code::Skew);
    assert_eq!(guest.connection().await, Ok(before));
}

/// Leaves a task behind that never ends by itself.
#[service(name = "test.Spawner")]
trait Spawner {
    async fn spawn(&self);
}

/// Every task holds a receiver.
struct Tasks(watch::Sender<()>);

impl Spawner for Arc<Tasks> {
    async fn spawn(&self) {
        let running = self.0.subscribe();
        Context::current().spawn(async move {
            let _running = running;
            std::future::pending::<()>().await;
        });
    }
}

#[tokio::test]
async fn a_task_of_a_call_that_was_answered_ends_at_the_deadline() {
    const ALLOWED: Duration = Duration::from_millis(300);
    let tasks = Arc::new(Tasks(watch::Sender::new(())));
    let _server = spawner("memory:attempts-late", &tasks).await;
    let spawner = SpawnerClient::connect("memory:attempts-late").await;
    let spawner = spawner.unwrap().with_deadline(ALLOWED);
    let begin = Instant::now();
    spawner.spawn().await.unwrap();
    within("the task ends", LIMIT, tasks.0.closed()).await;
    // The time allowed travels in whole units, and may lose one on its way.
    let lasted = begin.elapsed() + Duration::from_millis(10);
    assert!(lasted >= ALLOWED, "the task ended after {lasted:?}");
}

#[tokio::test]
async fn a_task_of_a_call_that_was_answered_ends_when_its_caller_disconnects() {
    let tasks = Arc::new(Tasks(watch::Sender::new(())));
    let _server = spawner("memory:attempts-left", &tasks).await;
    let spawner = SpawnerClient::connect("memory:attempts-left").await;
    let spawner = spawner.unwrap().with_deadline(LIMIT * 3);
    spawner.spawn().await.unwrap();
    assert_eq!(tasks.0.receiver_count(), 1, "the task outlives its call");
    drop(spawner);
    within("the task ends", LIMIT, tasks.0.closed()).await;
}

async fn spawner(address: &str, tasks: &Arc<Tasks>) -> Server {
    let server = Server::builder()
        .service(SpawnerServer::new(Arc::clone(tasks)))
        .listen(address)
        .start();
    server.await.unwrap()
}

async fn daemon(address: &str) -> Daemon {
    Daemon::start(Config::listening_at([address]))
        .await
        .unwrap()
}

/// A server that the matchmaker at an address lists.
async fn registered(matchmaker: &str) -> Server {
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tcp://127.0.0.1:0")
        .matchmaker(matchmaker)
        .register()
        .start();
    server.await.unwrap()
}

async fn client(matchmaker: &str) -> WorkClient {
    let channel = Channel::builder("mm:test.Work").matchmaker(matchmaker);
    let channel = within("the client connects", LIMIT, channel.connect()).await;
    WorkClient::new(channel.unwrap())
}

async fn only_instance(matchmaker: &MatchmakerClient) -> Instance {
    let found = matchmaker.lookup(&Query::new("test.Work")).await;
    let mut instances = found.unwrap().instances;
    assert_eq!(instances.len(), 1, "{instances:?}");
    instances.remove(0)
}

/// What `like` has registered, in the name of `instance`.
fn registration(instance: InstanceId, like: &Instance) -> Registration {
    let mut registration = Registration::new(instance, like.host.clone(), like.pid);
    registration.services = vec![like.offer.clone()];
    registration.endpoints = like.endpoints.clone();
    registration.ttl = Some(LIMIT * 3);
    registration
}
