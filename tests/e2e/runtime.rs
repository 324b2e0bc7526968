//! Runtimes of every kind, which come and go; and the connections between them.

use std::future::Future as _;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use examples::{Calc, CalculatorClient, CalculatorServer};
use matchmaker::{Config, Daemon};
use rpc_core::{Channel, Code, Executed, Server, ServerBuilder};
use support::work::{Ledger, WorkClient, WorkServer, Worker};
use support::{LIMIT, TempDir, eventually, eventually_async, free_address, within};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

fn runtimes() -> [fn() -> Runtime; 2] {
    [
        || Builder::new_current_thread().enable_all().build().unwrap(),
        || {
            Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap()
        },
    ]
}

#[test]
fn client_and_server_work_on_every_kind_of_runtime() {
    for make_server in runtimes() {
        let serving = Serving::start(make_server());
        for make_client in runtimes() {
            make_client().block_on(async {
                let work = WorkClient::connect(&serving.address).await.unwrap();
                let mut calls = JoinSet::new();
                for value in 0..200 {
                    let call = work.pause(value, Duration::from_millis(value % 3));
                    calls.spawn(async move { assert_eq!(call.await, Ok(value)) });
                }
                within("all calls end", LIMIT, calls.join_all()).await;
            });
        }
        serving.stop();
    }
}

#[test]
fn dropping_the_runtime_of_a_client_ends_its_calls_at_the_server() {
    for make in runtimes() {
        let serving = Serving::start(runtimes()[1]());
        let runtime = make();
        runtime.block_on(async {
            let work = WorkClient::connect(&serving.address).await.unwrap();
            for id in 0..10 {
                tokio::spawn(work.hang(id, Vec::new()));
            }
            eventually_async("the calls run", LIMIT, async || {
                (serving.server.calls() == 10).then_some(())
            })
            .await;
        });
        in_time("the runtime ends", move || drop(runtime));
        eventually("the calls end", LIMIT, || {
            (serving.server.calls() == 0 && serving.server.connections() == 0).then_some(())
        });
        serving.stop();
    }
}

#[test]
fn dropping_the_runtime_of_a_server_ends_the_calls_of_its_clients() {
    for make in runtimes() {
        let serving = Serving::start(make());
        let address = serving.address.clone();
        let client = runtimes()[1]();
        let calls = client.block_on(async {
            let work = WorkClient::connect(&address).await.unwrap();
            let mut calls = JoinSet::new();
            for id in 0..10 {
                calls.spawn(work.hang(id, Vec::new()));
            }
            eventually_async("the calls run", LIMIT, async || {
                (serving.server.calls() == 10).then_some(())
            })
            .await;
            calls
        });
        serving.stop();
        let ended = client.block_on(within("the calls end", LIMIT, calls.join_all()));
        for end in ended {
            let error = end.unwrap_err();
            assert_ne!(error.executed(), Executed::No, "{error}");
        }
    }
}

#[test]
fn a_call_on_a_runtime_that_was_shut_down_fails() {
    let runtime = runtimes()[1]();
    let handle = runtime.handle().clone();
    let work = {
        let _inside = runtime.enter();
        WorkClient::connect_lazy(free_address()).unwrap()
    };
    drop(runtime);
    let error = in_time("the call ends", move || {
        let _inside = handle.enter();
        let call = pin!(work.echo(1));
        match call.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer.unwrap_err(),
            Poll::Pending => panic!("it waits for a runtime that is gone"),
        }
    });
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Cancelled, Executed::No)
    );
}

#[tokio::test]
async fn a_client_moves_from_one_runtime_to_the_next() {
    let server = server("tcp://127.0.0.1:0").await;
    let address = server.addresses()[0].clone();
    tokio::task::spawn_blocking(move || {
        let first = runtimes()[0]();
        let work = first.block_on(WorkClient::connect(address)).unwrap();
        assert_eq!(first.block_on(work.echo(1)), Ok(1));
        in_time("the runtime ends", move || drop(first));
        let second = runtimes()[0]();
        let call = within("the call ends", LIMIT, work.echo(2));
        assert_eq!(second.block_on(call), Ok(2));
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn one_connection_carries_many_services() {
    let server = Server::builder()
        .service(CalculatorServer::new(Calc))
        .service(WorkServer::new(Worker::default()))
        .listen("tcp://127.0.0.1:0")
        .start();
    let server = server.await.unwrap();
    let channel = Channel::connect(&server.addresses()[0]).await.unwrap();
    let calculator = CalculatorClient::new(channel.clone());
    let work = WorkClient::new(channel);
    assert_eq!(calculator.add(2, 3).await, Ok(5));
    assert_eq!(work.echo(7).await, Ok(7));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn one_server_answers_at_several_addresses() {
    let directory = TempDir::new();
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tcp://127.0.0.1:0")
        .listen("tcp://127.0.0.1:0")
        .listen(directory.unix("work.sock"))
        .listen("memory:several-addresses")
        .start();
    let server = server.await.unwrap();
    assert_eq!(server.addresses().len(), 4);
    let mut connections = Vec::new();
    for address in server.addresses() {
        let work = WorkClient::connect(address).await.unwrap();
        connections.push(work.who().await.unwrap().connection);
    }
    connections.sort_unstable();
    connections.dedup();
    assert_eq!(connections.len(), 4);
}

#[tokio::test]
async fn a_lazy_client_may_exist_before_its_server() {
    let address = free_address();
    let work = WorkClient::connect_lazy(&address).unwrap();
    let error = work.echo(1).await.unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Refused, Executed::No)
    );
    assert_eq!(error.address(), Some(&*address));
    let _server = server(&address).await;
    let call = within("the call ends", LIMIT, work.echo(1)).await;
    assert_eq!(call, Ok(1));
}

#[tokio::test]
async fn a_hundred_callers_wait_for_one_dial() {
    let server = server("tcp://127.0.0.1:0").await;
    let work = WorkClient::connect_lazy(&server.addresses()[0]).unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        calls.spawn(work.who());
    }
    let answers = within("all calls end", LIMIT, calls.join_all()).await;
    let first = answers[0].clone().unwrap().connection;
    for answer in answers {
        assert_eq!(answer.unwrap().connection, first);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn the_last_clone_of_a_client_closes_its_connection() {
    let server = server("tcp://127.0.0.1:0").await;
    let work = WorkClient::connect(&server.addresses()[0]).await.unwrap();
    let clone = work.with_deadline(LIMIT);
    drop(work);
    assert_eq!(clone.echo(1).await, Ok(1));
    drop(clone);
    eventually_async("the connection is closed", LIMIT, async || {
        (server.connections() == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_discovers_itself_can_stop() {
    let directory = TempDir::new();
    for round in 0..10 {
        let daemon = Daemon::start(Config::listening_at(["tcp://127.0.0.1:0"]));
        let daemon = daemon.await.unwrap();
        let matchmaker = &daemon.addresses()[0];
        let server = Server::builder()
            .service(CalculatorServer::new(Calc))
            .listen("tcp://127.0.0.1:0")
            .listen(directory.unix(&format!("{round}.sock")))
            .matchmaker(matchmaker)
            .register()
            .start();
        let server = within("the server starts", LIMIT, server).await.unwrap();
        let name = format!("{}/Calculator", matchmaker.replace("tcp://", "mm://"));
        let calculator = within("it is found", LIMIT, CalculatorClient::connect(name));
        let calculator = calculator.await.unwrap();
        assert_eq!(calculator.add(2, 3).await, Ok(5));

        let stopped = server.shutdown(Duration::from_secs(2));
        assert!(
            within("the server stops", LIMIT, stopped).await,
            "in its grace time"
        );
        let call = within("the call ends", LIMIT, calculator.add(2, 3)).await;
        let error = call.unwrap_err();
        assert_eq!(error.executed(), Executed::No, "{error}");
        eventually_async("nobody is found", LIMIT, async || {
            let error = calculator.add(2, 3).await.unwrap_err();
            (error.code() == Code::NotFound).then_some(())
        })
        .await;
        let stopped = daemon.shutdown(Duration::from_secs(2));
        assert!(
            within("the daemon stops", LIMIT, stopped).await,
            "in its grace time"
        );
    }
}

#[tokio::test]
async fn who_connects_while_the_server_drains_is_refused_and_nothing_runs() {
    let server = server("tcp://127.0.0.1:0").await;
    let address = server.addresses()[0].clone();
    let busy = WorkClient::connect(&address).await.unwrap();
    let running = tokio::spawn(busy.pause(1, Duration::from_millis(300)));
    eventually_async("the call runs", LIMIT, async || {
        (server.calls() == 1).then_some(())
    })
    .await;
    let stopped = tokio::spawn(server.shutdown(LIMIT));
    eventually_async("the listener is closed", LIMIT, async || {
        WorkClient::connect(&address).await.err()
    })
    .await;
    let late = busy.echo(2).await.unwrap_err();
    assert_eq!(late.executed(), Executed::No, "{late}");
    assert_eq!(
        within("the call ends", LIMIT, running).await.unwrap(),
        Ok(1)
    );
    assert!(within("the server stops", LIMIT, stopped).await.unwrap());
}

#[tokio::test]
async fn dropping_a_server_drops_its_handlers_and_ends_the_calls_of_its_clients() {
    let directory = TempDir::new();
    let ledger = directory.file("ledger");
    let server = Server::builder()
        .service(WorkServer::new(Worker::with_ledger(&ledger).unwrap()))
        .listen("tcp://127.0.0.1:0")
        .start();
    let server = server.await.unwrap();
    let work = WorkClient::connect(&server.addresses()[0]).await.unwrap();
    let call = tokio::spawn(work.hang(1, Vec::new()));
    let noted = async |what: &str| {
        eventually_async(what, LIMIT, async || Ledger::time(&ledger, what, 1)).await
    };
    noted("begun").await;
    drop(server);
    noted("dropped").await;
    let error = within("the call ends", LIMIT, call)
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Disconnected, Executed::Maybe)
    );
}

#[tokio::test]
async fn who_comes_when_all_connections_are_taken_is_refused_with_a_reason() {
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tcp://127.0.0.1:0")
        .connections_max(1)
        .start();
    let server = server.await.unwrap();
    let first = WorkClient::connect(&server.addresses()[0]).await.unwrap();
    assert_eq!(first.echo(1).await, Ok(1));
    let second = WorkClient::connect_lazy(&server.addresses()[0]).unwrap();
    let error = within("the call ends", LIMIT, second.echo(2))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Overloaded, Executed::No)
    );
    assert!(error.to_string().contains("all the connections"), "{error}");
    // There is room again when the first one goes.
    drop(first);
    eventually_async("the second one is let in", LIMIT, async || {
        second.echo(2).await.ok()
    })
    .await;
}

/// A whole fleet may come within the second in which clients have not said that they are ready, and
/// that is more than may be silent.
#[tokio::test]
async fn all_who_come_at_once_may_stay() {
    const CLIENTS: u64 = 2 * ServerBuilder::HANDSHAKING_MAX as u64;
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tcp://127.0.0.1:0")
        .connections_per_peer_max(usize::MAX)
        .start();
    let server = server.await.unwrap();
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let client = WorkClient::connect(&server.addresses()[0]).await.unwrap();
        assert_eq!(client.echo(number).await, Ok(number));
        clients.push(client);
    }
    assert_eq!(server.connections() as u64, CLIENTS);
    // Each call goes over the connection that was made for the one before.
    for client in &clients {
        assert_eq!(client.echo(1).await, Ok(1));
    }
    assert_eq!(server.connections() as u64, CLIENTS);
}

#[tokio::test]
async fn a_server_calls_its_caller_back_over_the_same_connection() {
    let server = server("tcp://127.0.0.1:0").await;
    let offering = Channel::builder(&server.addresses()[0])
        .service(WorkServer::new(Worker::default()))
        .connect();
    let work = WorkClient::new(offering.await.unwrap());
    let mut calls = JoinSet::new();
    for value in 0..100 {
        let call = work.ask_back(value);
        calls.spawn(async move { assert_eq!(call.await, Ok(value)) });
    }
    within("all calls end", LIMIT, calls.join_all()).await;
    assert_eq!(server.connections(), 1);

    // Who offers nothing is told so, and is not hurt.
    let work = WorkClient::connect(&server.addresses()[0]).await.unwrap();
    let answer = within("the call ends", LIMIT, work.ask_back(1)).await;
    let error = answer.unwrap_err().into_service().unwrap();
    assert!(error.contains("this side offers no services"), "{error}");
}

async fn server(address: &str) -> Server {
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen(address)
        .start();
    server.await.unwrap()
}

/// A server on a runtime of its own, which runs in a thread of its own.
struct Serving {
    server: std::sync::Arc<Server>,
    address: String,
    stop: tokio::sync::oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Serving {
    fn start(runtime: Runtime) -> Self {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (sender, receiver) = mpsc::sync_channel(1);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let server = std::sync::Arc::new(server("tcp://127.0.0.1:0").await);
                sender.send(server).unwrap();
                let _ = stopped.await;
            });
            drop(runtime);
        });
        let server = receiver.recv_timeout(LIMIT).expect("the server starts");
        let address = server.addresses()[0].clone();
        Self {
            server,
            address,
            stop,
            thread,
        }
    }

    /// Drops the runtime under the server.
    fn stop(self) {
        let Self { stop, thread, .. } = self;
        let _ = stop.send(());
        in_time("the runtime of the server ends", move || {
            thread.join().unwrap()
        });
    }
}

/// What `work` returns, if it does so in time: a thread that hangs cannot be asked why.
#[track_caller]
fn in_time<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || sender.send(work()));
    receiver
        .recv_timeout(LIMIT)
        .unwrap_or_else(|error| panic!("not within {LIMIT:?}: {what} ({error})"))
}
