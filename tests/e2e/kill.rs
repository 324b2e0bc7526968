//! Processes that die without a word.

use std::collections::HashSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rpc_core::discovery::matchmaker::{Endpoint, InstanceId, Registration};
use rpc_core::{Channel, Error, Executed};
use support::work::{Done, Ledger, WorkClient};
use support::{LIMIT, Matchmaker, TempDir, eventually, within};
use tokio::task::JoinSet;

use crate::STAGE;
use crate::program::{Service, matchmaker};

/// How soon after a death every call that it concerns has ended, with a pause of the machine in
/// between: before a handshake is given up, a ping is missed or a deadline is over, which would end
/// them as well.
const AFTERMATH: Duration = Duration::from_secs(4);

/// How long nothing happens where nothing will.
const QUIET: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_ends_truthfully_when_one_of_two_services_is_killed() {
    let _stage = STAGE.lock().await;
    let directory = TempDir::new();
    let matchmaker = matchmaker().await;
    let mut ledgers: Vec<PathBuf> = Vec::new();
    let mut start = |number: u32| {
        let ledger = directory.file(&format!("ledger-{number}"));
        ledgers.push(ledger.clone());
        Service::registered(&matchmaker, Some(ledger))
    };
    let mut services = vec![start(0), start(1)];
    matchmaker.listed("test.Work", 2).await;
    let load = Load::start(client(&matchmaker).await);

    for round in 2..5 {
        let pids: HashSet<u32> = services.iter().map(|s| s.process.id()).collect();
        load.until_all_answer(&pids);
        let mut dead = services.remove(0);
        load.dies();
        dead.process.kill();
        // The other one goes on alone, and a new one joins it.
        let alone: HashSet<u32> = services.iter().map(|s| s.process.id()).collect();
        load.until_all_answer(&alone);
        services.push(start(round));
        matchmaker.listed("test.Work", 2).await;
    }
    let (calls, deaths) = load.stop().await;

    let ran = Ledger::count("ran", &ledgers);
    let twice: Vec<_> = ran.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "ran more than once: {twice:?}");
    for call in &calls {
        let ran = ran.contains_key(&call.id);
        match &call.outcome {
            Ok(done) => {
                assert_eq!(done.id, call.id);
                assert!(ran, "answered without a run: {call:?}");
            }
            Err(error) => match error.executed() {
                Executed::No => assert!(!ran, "it ran: {call:?}"),
                Executed::Yes => assert!(ran, "it did not run: {call:?}"),
                Executed::Maybe => {}
            },
        }
        for at in deaths.iter().filter(|at| call.spans(**at)) {
            let late = call.end.saturating_duration_since(*at);
            assert!(late < AFTERMATH, "ended {late:?} after the death: {call:?}");
        }
        if call.outcome.is_err() {
            let near = |at: &Instant| call.end >= *at && call.end < *at + AFTERMATH;
            assert!(deaths.iter().any(near), "far from a death: {call:?}");
        }
    }
    for at in &deaths {
        let spanning = calls.iter().filter(|call| call.spans(*at)).count();
        assert!(spanning > 0, "no call was under way at a death");
    }
    let failed = calls.iter().filter(|call| call.outcome.is_err()).count();
    assert!(failed > 0, "a death that nobody noticed proves nothing");
    println!("{} calls, {failed} failed, 3 deaths", calls.len());
}

#[tokio::test]
async fn the_death_of_a_local_service_is_seen_at_once() {
    let matchmaker = matchmaker().await;
    let mut services = [
        Service::registered(&matchmaker, None),
        Service::registered(&matchmaker, None),
    ];
    let (listed, _) = matchmaker.listed("test.Work", 2).await;
    let lease = listed
        .iter()
        .map(|instance| instance.expires_in)
        .min()
        .unwrap();
    services[0].process.kill();
    let (left, elapsed) = matchmaker.listed("test.Work", 1).await;
    assert_eq!(left[0].pid, services[1].process.id());
    assert!(elapsed < AFTERMATH, "{elapsed:?}");
    assert!(
        lease > Duration::from_secs(10),
        "a lease of {lease:?} proves nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_caller_of_an_idempotent_method_notices_a_death() {
    let _stage = STAGE.lock().await;
    let matchmaker = matchmaker().await;
    let mut services = [
        Service::registered(&matchmaker, None),
        Service::registered(&matchmaker, None),
    ];
    matchmaker.listed("test.Work", 2).await;
    let work = client(&matchmaker).await;
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let work = work.clone();
        calls.spawn(async move {
            for _ in 0..100 {
                work.pid(Duration::from_millis(5)).await.unwrap();
            }
        });
    }
    let dead = services[0].process.id();
    // Both have some of the callers by now, and none of them more than the budget for retries
    // allows at once.
    let mut answers = 0;
    while answers < 10 {
        let pid = work.pid(Duration::from_millis(5)).await.unwrap();
        answers += u32::from(pid == dead);
    }
    services[0].process.kill();
    while let Some(ended) = within("all calls end", LIMIT, calls.join_next()).await {
        ended.expect("no call fails");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_stands_still_holds_up_only_the_calls_that_it_has() {
    let _stage = STAGE.lock().await;
    let matchmaker = matchmaker().await;
    let services = [
        Service::registered(&matchmaker, None),
        Service::registered(&matchmaker, None),
    ];
    matchmaker.listed("test.Work", 2).await;
    let work = client(&matchmaker).await;
    let pids: HashSet<u32> = services.iter().map(|s| s.process.id()).collect();
    let mut heard = HashSet::new();
    while heard != pids {
        heard.insert(work.who().await.unwrap().pid);
    }

    services[0].process.pause();
    let mut calls = JoinSet::new();
    for _ in 0..16 {
        let work = work.clone();
        calls.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..50 {
                answers.push(work.who().await);
            }
            answers
        });
    }
    // Those who are held up are so for as long as the service stands still.
    for done in 0..8 {
        let ended = within("half of them go on", LIMIT, calls.join_next()).await;
        let answers = ended.unwrap().unwrap();
        assert!(
            answers.iter().all(|answer| answer.is_ok()),
            "{answers:?}, {done} before"
        );
    }
    while let Ok(Some(ended)) = tokio::time::timeout(QUIET, calls.join_next()).await {
        let answers = ended.unwrap();
        assert!(answers.iter().all(|answer| answer.is_ok()), "{answers:?}");
    }
    assert!(!calls.is_empty(), "the service has no calls");
    services[0].process.resume();
    for answers in within("all calls end", LIMIT, calls.join_all()).await {
        assert!(answers.iter().all(|answer| answer.is_ok()), "{answers:?}");
    }
}

#[tokio::test]
async fn an_instance_that_takes_connections_and_says_nothing_delays_nobody() {
    let _stage = STAGE.lock().await;
    let matchmaker = matchmaker().await;
    let alive = Service::registered(&matchmaker, None);
    let work = client(&matchmaker).await;
    let (listed, _) = matchmaker.listed("test.Work", 1).await;
    // The system takes connections here, as it does for a process that stands still. One that was
    // stopped might have taken this client's before.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", mute.local_addr().unwrap());
    let like = &listed[0];
    let mut other = Registration::new(InstanceId::random(), like.host.clone(), like.pid);
    other.services = vec![like.offer.clone()];
    other.endpoints = vec![Endpoint::new(address)];
    other.ttl = Some(LIMIT * 3);
    let registrant = matchmaker.client();
    registrant.register(&other).await.unwrap();
    matchmaker.listed("test.Work", 2).await;

    let answers = async |work: &WorkClient| {
        let asked = Instant::now();
        let who = work.who().await.unwrap();
        assert_eq!(who.pid, alive.process.id());
        let took = asked.elapsed();
        assert!(took < AFTERMATH, "an answer took {took:?}");
    };
    for _ in 0..200 {
        answers(&work).await;
    }
    // Nor who comes now and has no other connection yet.
    for _ in 0..6 {
        let name = matchmaker.name("test.Work");
        answers(&WorkClient::connect_lazy(name).unwrap()).await;
    }
}

async fn client(matchmaker: &Matchmaker) -> WorkClient {
    let channel = Channel::builder(matchmaker.name("test.Work")).connect();
    WorkClient::new(within("the client connects", LIMIT, channel).await.unwrap())
}

/// Callers that never stop to call, until they are told to.
struct Load {
    callers: JoinSet<Vec<Call>>,
    stop: Arc<AtomicBool>,
    /// When which process answered.
    answers: Arc<Mutex<Vec<(Instant, u32)>>>,
    deaths: Mutex<Vec<Instant>>,
}

/// One call and what became of it.
#[derive(Debug)]
struct Call {
    id: u64,
    begin: Instant,
    end: Instant,
    outcome: Result<Done, Error>,
}

impl Call {
    fn spans(&self, moment: Instant) -> bool {
        self.begin <= moment && self.end >= moment
    }
}

impl Load {
    /// Calls in flight, more than one connection takes at a time would only wait.
    const CALLERS: u64 = 64;

    /// How long a call takes, so that many are running when a process dies.
    const PAUSE: Duration = Duration::from_millis(10);

    fn start(work: WorkClient) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(Mutex::new(Vec::new()));
        let next = Arc::new(AtomicU64::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..Self::CALLERS {
            let (work, stop, next) = (work.clone(), Arc::clone(&stop), Arc::clone(&next));
            let answers = Arc::clone(&answers);
            callers.spawn(async move {
                let mut calls = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let begin = Instant::now();
                    let outcome = work.record(id, Self::PAUSE).await;
                    let end = Instant::now();
                    if let Ok(done) = &outcome {
                        answers.lock().unwrap().push((end, done.pid));
                    }
                    calls.push(Call {
                        id,
                        begin,
                        end,
                        outcome,
                    });
                }
                calls
            });
        }
        Self {
            callers,
            stop,
            answers,
            deaths: Mutex::default(),
        }
    }

    /// Waits until each of `pids`, and nobody else, has answered a hundred times from now on.
    fn until_all_answer(&self, pids: &HashSet<u32>) {
        let begin = Instant::now();
        eventually(&format!("all of {pids:?} answer"), LIMIT, || {
            let answers = self.answers.lock().unwrap();
            let fresh = |pid: &u32| {
                let of = answers.iter().filter(|(at, by)| at > &begin && by == pid);
                of.count() >= 100
            };
            pids.iter().all(fresh).then_some(())
        });
    }

    /// Notes that a process dies now.
    fn dies(&self) {
        self.deaths.lock().unwrap().push(Instant::now());
    }

    async fn stop(self) -> (Vec<Call>, Vec<Instant>) {
        self.stop.store(true, Ordering::Relaxed);
        let calls = within("all callers end", LIMIT, self.callers.join_all()).await;
        let deaths = self.deaths.into_inner().unwrap();
        (calls.into_iter().flatten().collect(), deaths)
    }
}
