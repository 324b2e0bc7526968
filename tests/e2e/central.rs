//! Servers of the pattern `CentralDispatch`, and what becomes of them when their subservers die.
//!
//! A subserver must be a program that offers the same services, and this one is a test harness: so
//! one of its tests is that program, where it was started for it.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rpc_core::server::CentralDispatch;
use rpc_core::{Code, Error, Executed, Server, ServerBuilder, service};
use rustix::process::{Pid, Signal, kill_process};
use support::{Process, TempDir};
use tokio::task::JoinSet;

/// One number for all clients.
#[service]
trait Tally {
    async fn add(&self, amount: u64) -> u64;
    /// Never returns by itself.
    async fn hang(&self);
}

#[derive(Default)]
struct Shared {
    sum: AtomicU64,
    hanging: AtomicU64,
}

struct Sum(Arc<Shared>);

impl Tally for Sum {
    async fn add(&self, amount: u64) -> u64 {
        self.0.sum.fetch_add(amount, Ordering::SeqCst) + amount
    }
    async fn hang(&self) {
        self.0.hanging.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

/// The program of the subservers. In any other process there is nothing to do.
#[tokio::test]
async fn subserver() {
    // Not by `subserver_init`, which would say that every process of this program may be one.
    if std::env::var_os("RPC_CORE_SUBSERVER").is_none() {
        return;
    }
    assert!(rpc_core::subserver_init());
    let service = TallyServer::new(Sum(Arc::default()));
    let builder = Server::builder()
        .service(service)
        .listen("tcp://127.0.0.1:0");
    let served = builder.pattern(CentralDispatch::new()).start().await;
    panic!("it does not come back: {served:?}");
}

/// A server in this process, and what its subservers are known by among those of other tests.
struct Main {
    server: Server,
    shared: Arc<Shared>,
    mark: String,
}

fn command(mark: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "central::subserver", "--nocapture", mark]);
    command
}

impl Main {
    async fn start(subservers: usize, address: &str) -> Self {
        Self::built(subservers, address, |builder| builder).await
    }

    async fn built(
        subservers: usize,
        address: &str,
        build: impl FnOnce(ServerBuilder) -> ServerBuilder,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mark = format!(
            "{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let shared = Arc::new(Shared::default());
        let pattern = CentralDispatch::new()
            .subservers(subservers)
            .command(command(&mark));
        let builder = Server::builder()
            .service(TallyServer::new(Sum(Arc::clone(&shared))))
            .listen(address)
            .pattern(pattern);
        let server = build(builder).start().await.unwrap();
        Self {
            server,
            shared,
            mark,
        }
    }

    async fn client(&self) -> TallyClient {
        TallyClient::connect(&self.server.addresses()[0])
            .await
            .unwrap()
    }

    /// The processes of the subservers.
    fn subservers(&self) -> Vec<Pid> {
        marked(&self.mark)
    }
}

/// The processes with this argument.
fn marked(mark: &str) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_marked = line
            .split(|byte| *byte == 0)
            .any(|word| word == mark.as_bytes());
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(pid) = number.filter(|_| is_marked).and_then(Pid::from_raw) {
            found.push(pid);
        }
    }
    found
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "not in 20 s: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_is_in_one_place() {
    let main = Main::start(3, "tcp://127.0.0.1:0").await;
    assert_eq!(main.subservers().len(), 3);
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let client = main.client().await;
        clients.spawn(async move {
            for _ in 0..50 {
                client.add(1).await.unwrap();
            }
        });
    }
    assert_eq!(clients.join_all().await.len(), 20);
    assert_eq!(main.client().await.add(0).await, Ok(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_24_a_killed_subserver_takes_its_own_calls_along_and_no_others() {
    let main = Main::start(2, "tcp://127.0.0.1:0").await;
    let clients = [main.client().await, main.client().await];
    let mut hanging = JoinSet::new();
    for (number, client) in clients.iter().cloned().enumerate() {
        hanging.spawn(async move { (number, client.hang().await.unwrap_err()) });
    }
    eventually("both calls run", || {
        main.shared.hanging.load(Ordering::SeqCst) == 2
    })
    .await;
    let before = main.subservers();

    let killed = Instant::now();
    kill_process(before[0], Signal::KILL).unwrap();
    let (lost, error) = hanging.join_next().await.unwrap().unwrap();
    // Long before a ping is missed or the deadline is over.
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed.elapsed()
    );
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Disconnected, Executed::Maybe),
        "{error}"
    );
    // The other client notices nothing, and the main process has lost nothing.
    assert_eq!(clients[1 - lost].add(1).await, Ok(1));
    assert!(hanging.try_join_next().is_none(), "its call goes on");
    // The one that was cut off connects again.
    assert_eq!(clients[lost].add(1).await, Ok(2));
    eventually("the call that was lost is gone", || {
        main.server.calls() == 1
    })
    .await;
    eventually("there are two subservers again", || {
        let now = main.subservers();
        now.len() == 2 && !now.contains(&before[0]) && now.contains(&before[1])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_well_known_pipe_comes_back_with_its_subserver() {
    let directory = TempDir::new();
    let address = format!("fifo:{}", directory.file("tally.wkp").display());
    let main = Main::start(1, &address).await;
    assert_eq!(main.server.addresses(), [address]);
    let client = main.client().await;
    assert_eq!(client.add(1).await, Ok(1));
    kill_process(main.subservers()[0], Signal::KILL).unwrap();
    let start = Instant::now();
    loop {
        match client.add(1).await {
            Ok(sum) => break assert!(sum > 1, "the state is that of before"),
            Err(error) => assert_ne!(error.executed(), Executed::Yes, "{error}"),
        }
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "nobody reads the pipe"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_when_there_is_no_room_is_told_so() {
    let main = Main::built(1, "tcp://127.0.0.1:0", |builder| builder.connections_max(2)).await;
    let (first, second) = (main.client().await, main.client().await);
    assert_eq!((first.add(0).await, second.add(0).await), (Ok(0), Ok(0)));
    let error = main.client().await.add(0).await.unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Overloaded, Executed::No),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("all the connections that it allows"),
        "{error}"
    );
    drop(first);
    eventually("there is room again", || main.server.connections() == 1).await;
    assert_eq!(main.client().await.add(0).await, Ok(0));
}

async fn error_of(command: Command) -> Error {
    let started = Server::builder()
        .service(TallyServer::new(Sum(Arc::default())))
        .listen("tcp://127.0.0.1:0")
        .pattern(CentralDispatch::new().subservers(2).command(command))
        .start()
        .await;
    started.unwrap_err()
}

#[tokio::test]
async fn a_program_that_is_no_subserver_is_an_error_of_the_start() {
    let error = error_of(Command::new("/bin/false")).await;
    assert!(
        error
            .to_string()
            .contains("exited with code 1 before it served"),
        "{error}"
    );
    let error = error_of(Command::new("/no/such/program")).await;
    assert_eq!(error.code(), Code::Io, "{error}");
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_an_error_of_the_start() {
    let started = Server::builder()
        .service(TallyServer::new(Sum(Arc::default())))
        .listen("memory:central")
        .pattern(CentralDispatch::new().command(command("never")))
        .start()
        .await;
    let error = started.unwrap_err();
    assert_eq!(error.code(), Code::InvalidAddress);
    assert!(error.to_string().contains("memory:"), "{error}");
}

/// The program of a main process that is killed.
#[tokio::test]
async fn main_process() {
    let Ok(mark) = std::env::var(MAIN) else {
        return;
    };
    let pattern = CentralDispatch::new().subservers(2).command(command(&mark));
    let service = TallyServer::new(Sum(Arc::default()));
    let builder = Server::builder()
        .service(service)
        .listen("tcp://127.0.0.1:0");
    let server = builder.pattern(pattern).start().await.unwrap();
    println!("\nlistening {}", server.addresses()[0]);
    std::future::pending().await
}

/// Says that this process is to be such a main process, and how its subservers are marked.
const MAIN: &str = "CENTRAL_MAIN_PROCESS";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subservers_end_with_the_main_process() {
    let mark = format!("orphans-of-{}", std::process::id());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "central::main_process", "--nocapture"]);
    let mut main = Process::spawn(command.env(MAIN, &mark));
    let address = main.line("an address", |line| {
        line.strip_prefix("listening ").map(str::to_owned)
    });
    let client = TallyClient::connect(&address).await.unwrap();
    assert_eq!(client.add(1).await, Ok(1));
    assert_eq!(marked(&mark).len(), 2);
    main.kill();
    eventually("no subserver is left", || marked(&mark).is_empty()).await;
    let error = client.add(1).await.unwrap_err();
    assert_ne!(error.executed(), Executed::Yes, "{error}");
}
