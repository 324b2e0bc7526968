//! Restarts: of the matchmaker, of services under load, of a server that clients know.

use std::time::{Duration, Instant};

use matchmaker::{Config, Daemon};
use rpc_core::discovery::MatchmakerClient;
use rpc_core::{Channel, Code, Executed, Server};
use support::work::{Ledger, WorkClient, WorkServer, Worker};
use support::{LIMIT, Matchmaker, TempDir, eventually_async, free_address, within};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::STAGE;
use crate::program::{MATCHMAKER, Plan, Service, matchmaker};

/// How soon everybody has found a matchmaker that came back, with a pause of the machine in between:
/// before leases are renewed, which would bring it about as well, and every five seconds.
const SOON: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_matchmaker_comes_back_knowing_everybody_and_no_call_notices() {
    let _stage = STAGE.lock().await;
    let mut matchmaker = matchmaker().await;
    let _services = [
        Service::registered(&matchmaker, None),
        Service::registered(&matchmaker, None),
    ];
    let (before, _) = matchmaker.listed("test.Work", 2).await;
    let load = Load::start(client(&matchmaker).await);
    load.calls(200).await;

    matchmaker.process().kill();
    load.calls(200).await;
    // A client of an instance that is known may even be in the middle of a call all the time.
    matchmaker.start_again().await;
    let (after, elapsed) = matchmaker.listed("test.Work", 2).await;
    assert!(elapsed < SOON, "listed again after {elapsed:?}");
    load.calls(200).await;
    load.stop().await;

    let pids = |instances: &[rpc_core::discovery::matchmaker::Instance]| {
        let mut pids: Vec<u32> = instances.iter().map(|instance| instance.pid).collect();
        pids.sort_unstable();
        pids
    };
    assert_eq!(pids(&before), pids(&after), "nobody was restarted");
}

#[tokio::test]
async fn an_instance_that_a_restarted_matchmaker_does_not_know_yet_is_called_as_before() {
    let directory = TempDir::new();
    let socket = directory.unix("matchmaker.sock");
    let address = free_address();
    let both = Matchmaker::start_at_both(MATCHMAKER, &address, Some(&socket));
    let mut matchmaker = both.await;
    // It registers at the socket, which will not come back.
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tcp://127.0.0.1:0")
        .matchmaker(&socket)
        .register()
        .start();
    let _server = server.await.unwrap();
    let work = client(&matchmaker).await;
    matchmaker.process().kill();
    matchmaker.start_again().await;
    let asked = matchmaker.client();
    eventually_async("the client asks the new one", LIMIT, async || {
        (asked.health().await.unwrap().watches == 1).then_some(())
    })
    .await;
    assert_eq!(asked.health().await.unwrap().instances, 0);
    assert_eq!(work.echo(1).await, Ok(1));
}

#[tokio::test]
async fn a_server_that_starts_before_the_matchmaker_is_registered_when_it_comes() {
    let address = free_address();
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tcp://127.0.0.1:0")
        .matchmaker(&address)
        .register()
        .start();
    let _server = within("the server starts", LIMIT, server).await.unwrap();
    let matchmaker = Matchmaker::start_at(MATCHMAKER, &address).await;
    let (_, elapsed) = matchmaker.listed("test.Work", 1).await;
    assert!(elapsed < SOON, "listed after {elapsed:?}");
}

#[tokio::test]
async fn a_client_that_starts_before_the_matchmaker_fails_clearly_and_then_works() {
    let address = free_address();
    let name = format!("{}/test.Work", address.replace("tcp://", "mm://"));
    let work = WorkClient::connect_lazy(name).unwrap();
    // Long enough for the waits between attempts to have grown.
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(4) {
        let call = within("the call ends", LIMIT, work.echo(1)).await;
        let error = call.unwrap_err();
        assert_eq!(
            (error.code(), error.executed()),
            (Code::Refused, Executed::No)
        );
        assert!(error.to_string().contains("matchmaker serve"), "{error}");
    }
    let matchmaker = Matchmaker::start_at(MATCHMAKER, &address).await;
    let _service = Service::registered(&matchmaker, None);
    let what = "the client finds the service";
    let ((), elapsed) =
        eventually_async(what, LIMIT, async || work.echo(1).await.ok().map(drop)).await;
    assert!(elapsed < SOON, "found after {elapsed:?}");
}

#[tokio::test]
async fn an_entry_that_is_removed_by_hand_comes_back() {
    let mut config = Config::listening_at(["tcp://127.0.0.1:0"]);
    config.limits.ttl_default = Duration::from_secs(2);
    let daemon = Daemon::start(config).await.unwrap();
    let address = &daemon.addresses()[0];
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tcp://127.0.0.1:0")
        .matchmaker(address)
        .register()
        .start();
    let _server = server.await.unwrap();
    let asked = MatchmakerClient::connect(address).await.unwrap();
    let listed = asked.list(None).await.unwrap().instances;
    assert!(daemon.service().evict(listed[0].instance));
    assert!(asked.list(None).await.unwrap().instances.is_empty());
    // It is noticed with the next renewal, at about a third of the lease.
    let (again, elapsed) = eventually_async("the entry is back", LIMIT, async || {
        asked.list(None).await.unwrap().instances.pop()
    })
    .await;
    assert_eq!(again.instance, listed[0].instance);
    assert!(elapsed < SOON, "{elapsed:?}");
}

#[tokio::test]
async fn a_service_that_slept_past_its_lease_comes_back() {
    let mut config = Config::listening_at(["tcp://127.0.0.1:0"]);
    config.limits.ttl_default = Duration::from_secs(2);
    let daemon = Daemon::start(config).await.unwrap();
    let address = daemon.addresses()[0].clone();
    let plan = ["--listen", "tcp://127.0.0.1:0", "--matchmaker", &address];
    let service = support::Process::spawn(
        std::process::Command::new(crate::program::SERVICE)
            .arg("serve")
            .args(plan),
    );
    let asked = MatchmakerClient::connect(&address).await.unwrap();
    // The process offers two services.
    let listed = async |count: usize, what: &str| {
        eventually_async(what, LIMIT, async || {
            let instances = asked.list(None).await.unwrap().instances;
            (instances.len() == count).then_some(())
        })
        .await;
    };
    listed(2, "it is listed").await;
    service.pause();
    listed(0, "its lease ends").await;
    service.resume();
    listed(2, "it is back").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_under_load_fails_no_call() {
    let _stage = STAGE.lock().await;
    let matchmaker = matchmaker().await;
    let mut services = vec![
        Service::registered(&matchmaker, None),
        Service::registered(&matchmaker, None),
    ];
    matchmaker.listed("test.Work", 2).await;
    let load = Load::start(client(&matchmaker).await);
    for _ in 0..4 {
        load.calls(300).await;
        services.push(Service::registered(&matchmaker, None));
        matchmaker.listed("test.Work", 3).await;
        let mut old = services.remove(0);
        old.process.terminate();
        assert_eq!(old.process.wait(LIMIT).code(), Some(0));
        matchmaker.listed("test.Work", 2).await;
    }
    load.calls(300).await;
    load.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_finishes_what_runs_and_sends_a_crowd_elsewhere() {
    let _stage = STAGE.lock().await;
    let matchmaker = matchmaker().await;
    let mut old = Service::registered(&matchmaker, None);
    let work = client(&matchmaker).await;
    // Many more than the server runs at a time, so that most of them wait when it drains.
    let pause = Duration::from_millis(200);
    let mut calls = JoinSet::new();
    for value in 0..2_000 {
        let call = work.with_deadline(LIMIT).pause(value, pause);
        calls.spawn(async move { (value, call.await) });
    }
    within("the first calls end", LIMIT, calls.join_next()).await;
    let _new = Service::registered(&matchmaker, None);
    matchmaker.listed("test.Work", 2).await;
    old.process.terminate();
    assert_eq!(old.process.wait(LIMIT).code(), Some(0));
    for (value, answer) in within("all calls end", LIMIT, calls.join_all()).await {
        assert_eq!(answer, Ok(value));
    }
}

#[tokio::test]
async fn a_service_drains_although_its_matchmaker_is_gone_or_stands_still() {
    for kill in [true, false] {
        let mut matchmaker = matchmaker().await;
        let mut service = Service::registered(&matchmaker, None);
        matchmaker.listed("test.Work", 1).await;
        if kill {
            matchmaker.process().kill();
        } else {
            matchmaker.process().pause();
        }
        service.process.terminate();
        let status = service.process.wait(LIMIT / 2);
        assert_eq!(status.code(), Some(0));
    }
}

#[tokio::test]
async fn a_second_signal_stops_a_service_that_still_works() {
    let directory = TempDir::new();
    let mut service = Service::start(Plan {
        ledger: Some(directory.file("ledger")),
        ..Plan::default()
    });
    let work = WorkClient::connect(service.address()).await.unwrap();
    let call = tokio::spawn(work.with_deadline(LIMIT).hang(1, Vec::new()));
    eventually_async("the call runs", LIMIT, async || {
        Ledger::time(service.ledger(), "begun", 1)
    })
    .await;
    service.process.terminate();
    let what = "the service takes no new calls";
    eventually_async(what, LIMIT, async || work.echo(2).await.err()).await;
    assert!(!call.is_finished(), "the drain waits for it");
    service.process.terminate();
    assert_eq!(service.process.wait(LIMIT / 2).code(), Some(0));
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
async fn a_matchmaker_that_stands_still_stops_no_calls_and_is_named_by_who_needs_it() {
    let mut matchmaker = matchmaker().await;
    let _service = Service::registered(&matchmaker, None);
    let known = client(&matchmaker).await;
    assert_eq!(known.echo(1).await, Ok(1));
    matchmaker.process().pause();
    let unknown = WorkClient::connect(matchmaker.name("test.Work"));
    let unknown = tokio::spawn(within("the attempt ends", LIMIT, unknown));
    while !unknown.is_finished() {
        assert_eq!(known.echo(1).await, Ok(1));
        tokio::task::yield_now().await;
    }
    let error = unknown.await.unwrap().unwrap_err();
    assert_eq!(error.address(), Some(matchmaker.address()));
    assert!(std::error::Error::source(&error).is_some());
    assert!(
        error
            .to_string()
            .contains("the matchmaker cannot be reached"),
        "{error}"
    );
    matchmaker.process().resume();
    client(&matchmaker).await.echo(1).await.unwrap();
}

#[tokio::test]
async fn a_client_comes_back_to_a_server_that_restarts_at_its_address() {
    let directory = TempDir::new();
    for address in [free_address(), directory.unix("work.sock")] {
        come_back(&address).await;
    }
}

async fn come_back(address: &str) {
    let listen = [address];
    let start = || {
        Service::start(Plan {
            listen: &listen,
            ..Plan::default()
        })
    };
    let mut service = start();
    let work = WorkClient::connect(address).await.unwrap();
    let first = work.who().await.unwrap().pid;
    service.process.kill();
    let what = "the loss is noticed";
    eventually_async(what, LIMIT, async || work.echo(1).await.err()).await;
    let _service = start();
    let what = "the client is back";
    let (second, _) = eventually_async(what, LIMIT, async || work.who().await.ok()).await;
    assert_ne!(first, second.pid);
}

async fn client(matchmaker: &Matchmaker) -> WorkClient {
    let channel = Channel::builder(matchmaker.name("test.Work")).connect();
    WorkClient::new(within("the client connects", LIMIT, channel).await.unwrap())
}

/// Callers none of whose calls may fail.
struct Load {
    callers: JoinSet<()>,
    stop: watch::Sender<bool>,
    answered: watch::Receiver<u64>,
}

impl Load {
    const CALLERS: u64 = 32;

    fn start(work: WorkClient) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (count, answered) = watch::channel(0);
        let mut callers = JoinSet::new();
        for caller in 0..Self::CALLERS {
            let (work, stopped, count) = (work.clone(), stopped.clone(), count.clone());
            callers.spawn(async move {
                let mut value = caller;
                while !*stopped.borrow() {
                    // Some short, some long, none idempotent.
                    let pause = Duration::from_millis(value % 7);
                    let answer = work.pause(value, pause).await;
                    assert_eq!(answer, Ok(value));
                    value += Self::CALLERS;
                    count.send_modify(|count| *count += 1);
                }
            });
        }
        Self {
            callers,
            stop,
            answered,
        }
    }

    /// Waits until `more` calls have been answered from now on.
    async fn calls(&self, more: u64) {
        let mut answered = self.answered.clone();
        let goal = *answered.borrow() + more;
        let reached = answered.wait_for(|count| *count >= goal);
        within("calls are answered", LIMIT, reached)
            .await
            .expect("a call failed");
    }

    /// Ends the callers and sees that none of them failed.
    async fn stop(self) {
        self.stop.send_replace(true);
        within("all callers end", LIMIT, self.callers.join_all()).await;
    }
}
