//! A process for each client: what happens in one does not reach the others, and none is left over.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rpc_core::server::Forking;
use rpc_core::transport::Address;
use rpc_core::{Channel, Code, Executed, Server, ServerBuilder};
use support::perils::{Perilous, PerilsClient, PerilsServer};
use support::{LIMIT, Process, TempDir, eventually_async, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::program::matchmaker;

/// Longer than any test lasts.
const LONG: Duration = Duration::from_secs(3600);

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_test-forking"))
}

fn builder(pattern: Forking) -> ServerBuilder {
    Server::builder()
        .service(PerilsServer::new(Perilous::default()))
        .pattern(pattern)
}

/// A server in this process, whose subservers are another program.
async fn start(pattern: Forking) -> Server {
    let builder = builder(pattern.command(program()));
    builder.listen("tcp://127.0.0.1:0").start().await.unwrap()
}

async fn client(server: &Server) -> PerilsClient {
    PerilsClient::connect(&server.addresses()[0]).await.unwrap()
}

/// Waits until there is no such process, not even one that nobody has asked for its end.
async fn gone(pid: u32) {
    let path = format!("/proc/{pid}");
    eventually_async(&format!("{pid} is gone"), LIMIT, async || {
        (!Path::new(&path).exists()).then_some(())
    })
    .await;
}

/// Waits until a process has computed for longer than a call takes that waits.
async fn computes(pid: u32) {
    // In hundredths of a second, behind the name of the program.
    let used = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').nth(11).unwrap().parse::<u64>().unwrap()
    };
    let before = used();
    eventually_async(&format!("{pid} computes"), LIMIT, async || {
        (used() >= before + 10).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_client_has_a_process_with_a_state_of_its_own() {
    let server = start(Forking::new()).await;
    let (first, second) = (client(&server).await, client(&server).await);
    assert_eq!(first.count().await, Ok(1));
    assert_eq!(first.count().await, Ok(2));
    assert_eq!(second.count().await, Ok(1));
    let (one, two) = (first.about().await.unwrap(), second.about().await.unwrap());
    assert_ne!(one.pid, two.pid);
    assert_ne!(one.pid, std::process::id());
    assert_eq!(one.group, one.pid, "a group of its own");
    assert_eq!(one.stdin, "/dev/null", "its line is not on descriptor 0");
    assert_eq!(server.connections(), 2);
    drop(first);
    gone(one.pid).await;
    assert_eq!(second.count().await, Ok(2));
}

#[tokio::test]
async fn a_subserver_knows_who_its_client_is() {
    let folder = TempDir::new();
    let server = builder(Forking::new().command(program()))
        .listen(folder.unix("socket"))
        .listen("tcp://127.0.0.1:0")
        .start();
    let server = server.await.unwrap();
    let by_file = client(&server).await.about().await.unwrap();
    let user = rustix::process::geteuid().as_raw();
    assert_eq!(by_file.caller, (Some(user), Some(std::process::id())));
    assert_eq!(by_file.peer, server.addresses()[0]);
    let by_port = PerilsClient::connect(&server.addresses()[1]).await.unwrap();
    let by_port = by_port.about().await.unwrap();
    assert!(by_port.peer.starts_with("tcp://127.0.0.1:"), "{by_port:?}");
    assert_eq!(by_port.caller, (None, None));
}

#[tokio::test]
async fn a_crash_ends_the_calls_of_one_client() {
    let server = start(Forking::new()).await;
    let (first, second) = (client(&server).await, client(&server).await);
    let pid = first.about().await.unwrap().pid;
    assert_eq!(second.count().await, Ok(1));
    let error = first.abort().await.unwrap_err();
    assert_eq!(error.code(), Code::Disconnected, "{error}");
    assert_eq!(error.executed(), Executed::Maybe);
    gone(pid).await;
    assert_eq!(second.count().await, Ok(2), "the other saw nothing");
    assert_eq!(first.count().await, Ok(1), "a new process for the client");
}

#[tokio::test]
async fn limits_hold_each_subserver() {
    let pattern = Forking::new()
        .memory_max(256 << 20)
        .cpu_max(Duration::from_secs(1))
        .files_max(99);
    let server = start(pattern).await;
    let (leaks, spins) = (client(&server).await, client(&server).await);
    let about = leaks.about().await.unwrap();
    assert_eq!(about.limits, (Some(256 << 20), Some(1), Some(99)));
    let error = within("the leak ends", LIMIT, leaks.leak())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Disconnected, "{error}");
    // A second of computing is many on a busy machine.
    let spinning = spins.with_deadline(LONG).spin();
    let error = within("the loop ends", LIMIT * 6, spinning)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Disconnected, "{error}");
    assert_eq!(error.executed(), Executed::Maybe);
    assert_eq!(leaks.count().await, Ok(1), "the server goes on");
}

#[tokio::test]
async fn who_finds_all_subservers_busy_waits_and_is_refused() {
    let pattern = Forking::new().subservers_max(1);
    let server = start(pattern.wait_max(Duration::from_millis(200))).await;
    let first = client(&server).await;
    assert_eq!(first.count().await, Ok(1));
    let second = client(&server).await;
    let error = second.count().await.unwrap_err();
    assert_eq!(error.code(), Code::Overloaded, "{error}");
    assert_eq!(error.executed(), Executed::No);
    assert!(error.to_string().contains("subservers are busy"), "{error}");
    drop(first);
    let answer = eventually_async("it is its turn", LIMIT, async || second.count().await.ok());
    assert_eq!(answer.await.0, 1);
}

#[tokio::test]
async fn row_18_who_says_nothing_costs_no_process() {
    let builder = builder(Forking::new().command(program()).subservers_max(1))
        .listen("tcp://127.0.0.1:0")
        .handshaking_max(20);
    let server = builder.start().await.unwrap();
    let address: Address = server.addresses()[0].parse().unwrap();
    let port = address.host_port().unwrap().port();
    let mut silent = Vec::new();
    for _ in 0..30 {
        silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    // The one place for a subserver is free, and the oldest of the silent have made room.
    assert_eq!(client(&server).await.count().await, Ok(1));
    for stream in &mut silent[..9] {
        let ended = within("it is shown out", LIMIT, stream.read(&mut [0])).await;
        assert_eq!(ended.unwrap_or(0), 0);
    }
    // Who says something else than hello is shown out by a subserver.
    let last = silent.last_mut().unwrap();
    last.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let ended = within("it is shown out", LIMIT, last.read_to_end(&mut answer)).await;
    assert!(ended.is_ok() || answer.is_empty());
    assert_eq!(client(&server).await.count().await, Ok(1));
}

#[tokio::test]
async fn row_18_the_caps_of_the_server_hold_for_all_subservers_together() {
    let builder = builder(Forking::new().command(program()))
        .listen("tcp://127.0.0.1:0")
        .connections_max(2);
    let server = builder.start().await.unwrap();
    let (first, second) = (client(&server).await, client(&server).await);
    assert_eq!(first.count().await, Ok(1));
    assert_eq!(second.count().await, Ok(1));
    let error = client(&server).await.count().await.unwrap_err();
    assert_eq!(error.code(), Code::Overloaded);
    assert_eq!(error.executed(), Executed::No);
    assert!(error.to_string().contains("all the connections"), "{error}");
}

/// A main process with few descriptors serves whom it can, and all again when some have left.
#[tokio::test]
async fn row_19_a_main_process_without_descriptors_goes_on() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\""]);
    command.arg(env!("CARGO_BIN_EXE_test-forking"));
    let main = Process::spawn(command.args(["--listen", "tcp://127.0.0.1:0"]));
    let address = main.nth_line("listening ", 0);
    main.line("it is ready", |line| (line == "ready").then_some(()));
    let mut clients = JoinSet::new();
    for number in 0..40 {
        let address = address.clone();
        clients.spawn(async move {
            let client = PerilsClient::connect(&address).await.ok()?;
            let client = client.with_deadline(Duration::from_secs(3));
            match client.echo(number).await {
                Ok(_) => Some(client),
                Err(error) => {
                    assert_ne!(error.executed(), Executed::Yes, "{error}");
                    None
                }
            }
        });
    }
    let served: Vec<_> = clients.join_all().await.into_iter().flatten().collect();
    println!(
        "{} of 40 clients are served with 40 descriptors",
        served.len()
    );
    assert!(!served.is_empty() && served.len() < 40);
    for client in &served {
        assert_eq!(client.echo(1).await, Ok(1), "who is served goes on");
    }
    drop(served);
    let began = Instant::now();
    eventually_async("there is room again", LIMIT, async || {
        let client = PerilsClient::connect(&address).await.ok()?;
        client.echo(1).await.ok()
    })
    .await;
    println!("room again after {:?}", began.elapsed());
}

#[tokio::test]
async fn clients_that_discover_the_server_find_the_instance_that_is_registered() {
    let matchmaker = matchmaker().await;
    let server = builder(Forking::new().command(program()))
        .listen("tcp://127.0.0.1:0")
        .matchmaker(matchmaker.address())
        .register();
    let _server = server.start().await.unwrap();
    let (listed, _) = matchmaker.listed("test.Perils", 1).await;
    assert_eq!(listed.len(), 1);
    let channel = Channel::builder("mm:test.Perils").matchmaker(matchmaker.address());
    let client = PerilsClient::new(channel.connect().await.unwrap());
    assert_eq!(client.count().await, Ok(1));
    let (listed, _) = matchmaker.listed("test.Perils", 1).await;
    assert_eq!(listed.len(), 1, "a subserver does not register");
}

#[tokio::test]
async fn a_shutdown_lets_subservers_finish() {
    let server = start(Forking::new()).await;
    let (busy, idle) = (client(&server).await, client(&server).await);
    let pids = [
        busy.about().await.unwrap().pid,
        idle.about().await.unwrap().pid,
    ];
    let running = tokio::spawn({
        let busy = busy.clone();
        async move { busy.pause(500).await }
    });
    tokio::task::yield_now().await;
    // It has arrived when a later one is answered.
    assert_eq!(busy.echo(1).await, Ok(1));
    assert!(server.shutdown(LIMIT).await, "all finished");
    assert_eq!(running.await.unwrap(), Ok(pids[0]));
    let error = idle.echo(2).await.unwrap_err();
    assert_eq!(error.executed(), Executed::No, "{error}");
    for pid in pids {
        gone(pid).await;
    }
}

#[tokio::test]
async fn a_shutdown_ends_what_does_not_finish_in_time() {
    let server = start(Forking::new()).await;
    let spins = client(&server).await.with_deadline(LONG);
    let pid = spins.about().await.unwrap().pid;
    let spinning = tokio::spawn(async move { spins.spin().await });
    computes(pid).await;
    assert!(!server.shutdown(Duration::from_millis(300)).await);
    let error = within("the call ends", LIMIT, spinning).await.unwrap();
    assert_eq!(error.unwrap_err().executed(), Executed::Maybe);
    gone(pid).await;
}

#[tokio::test]
async fn dropping_the_server_ends_its_subservers() {
    let server = start(Forking::new().spare(1)).await;
    let client = client(&server).await;
    let pid = client.about().await.unwrap().pid;
    drop(server);
    gone(pid).await;
    assert!(client.count().await.is_err());
}

#[tokio::test]
async fn a_loop_for_nobody_ends() {
    let server = start(Forking::new()).await;
    let spins = client(&server).await;
    let pid = spins.about().await.unwrap().pid;
    let spinning = tokio::spawn(async move { spins.spin().await });
    computes(pid).await;
    spinning.abort();
    let began = Instant::now();
    gone(pid).await;
    assert!(began.elapsed() > Duration::from_secs(4), "it had its time");
    eventually_async("its place is free", LIMIT, async || {
        (server.connections() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn spare_subservers_are_there_before_their_clients() {
    let server = start(Forking::new().spare(2)).await;
    let mut pids = Vec::new();
    for _ in 0..5 {
        let client = client(&server).await;
        pids.push(client.about().await.unwrap().pid);
        assert_eq!(client.count().await, Ok(1), "nobody had it before");
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 5);
}

#[tokio::test]
async fn a_grandchild_is_no_subserver() {
    let server = start(Forking::new()).await;
    let client = client(&server).await;
    let role = client.start(vec!["role".into()]).await;
    assert_eq!(role.as_deref(), Ok("main"));
    assert_eq!(
        client.count().await,
        Ok(1),
        "and it took nothing from its parent"
    );
}

/// The whole program: it starts itself again, and is killed.
#[tokio::test]
async fn subservers_end_with_the_main_process() {
    let mut main =
        Process::spawn(program().args(["--listen", "tcp://127.0.0.1:0", "--spare", "1"]));
    let address = main.nth_line("listening ", 0);
    let client = PerilsClient::connect(&address).await.unwrap();
    let about = client.about().await.unwrap();
    assert_ne!(about.pid, main.id());
    let sleeper = client.start_sleeper().await.unwrap();
    let spinning = tokio::spawn(async move { client.with_deadline(LONG).spin().await });
    computes(about.pid).await;
    main.kill();
    within("the call ends", LIMIT, spinning)
        .await
        .unwrap()
        .unwrap_err();
    gone(about.pid).await;
    // What a subserver has started ends with it.
    gone(sleeper).await;
}

#[tokio::test]
async fn a_program_that_is_told_to_stop_lets_its_subservers_finish() {
    let mut main = Process::spawn(program().args(["--listen", "tcp://127.0.0.1:0"]));
    let address = main.nth_line("listening ", 0);
    main.line("it is ready", |line| (line == "ready").then_some(()));
    let client = PerilsClient::connect(&address).await.unwrap();
    let pid = client.about().await.unwrap().pid;
    let running = tokio::spawn({
        let client = client.clone();
        async move { client.pause(500).await }
    });
    tokio::task::yield_now().await;
    // It has arrived when a later one is answered.
    assert_eq!(client.echo(1).await, Ok(1));
    main.terminate();
    assert_eq!(
        within("the call ends", LIMIT, running).await.unwrap(),
        Ok(pid)
    );
    assert!(main.wait(LIMIT).success());
    gone(pid).await;
}

#[tokio::test]
async fn what_cannot_be_done_is_said_when_the_server_starts() {
    let alone = builder(Forking::new()).listen("tcp://127.0.0.1:0").start();
    let error = alone.await.unwrap_err().to_string();
    assert!(error.contains("subserver_init()"), "{error}");
    assert!(error.contains(".command("), "{error}");

    let pattern = || builder(Forking::new().command(program()));
    let error = pattern()
        .listen("memory:forking")
        .start()
        .await
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("memory: address cannot be passed to a subserver"),
        "{error}"
    );

    let address: Address = "tcp://127.0.0.1:0".parse().unwrap();
    let listener = address.listen(&Default::default()).await.unwrap();
    let error = pattern()
        .listen_on(Listener(listener))
        .start()
        .await
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("a listener of your own cannot be passed"),
        "{error}"
    );
}

/// A program may have several servers, of which those without subservers are the main process's alone.
#[tokio::test]
async fn a_server_beside_it_listens_in_the_main_process_alone() {
    let dir = TempDir::new();
    let beside = format!("unix:{}", dir.file("beside").display());
    let mut command = program();
    command.args(["--listen", "tcp://127.0.0.1:0", "--beside", &beside]);
    let main = Process::spawn(&mut command);
    let address = main.nth_line("listening ", 0);
    // In a subserver that one would find its address in use, and nobody would be served.
    let served = PerilsClient::connect(&address).await.unwrap();
    assert_eq!(served.count().await.unwrap(), 1);
    let alone = PerilsClient::connect(&beside).await.unwrap();
    assert_eq!(alone.about().await.unwrap().pid, main.id());
    assert_ne!(served.about().await.unwrap().pid, main.id());
}

/// What a program does before it knows that it is a subserver, it would do once more.
#[tokio::test]
async fn a_subserver_that_begins_with_another_server_is_told_what_to_do() {
    let dir = TempDir::new();
    let (socket, log) = (dir.file("beside"), dir.file("log"));
    let mut command = program();
    command.args(["--unprepared", "yes", "--beside"]);
    command.arg(format!("unix:{}", socket.display()));
    command.stderr(std::fs::File::create(&log).unwrap());
    let server = builder(Forking::new().command(command))
        .listen("tcp://127.0.0.1:0")
        .start();
    let server = server.await.unwrap();
    let error = client(&server).await.count().await.unwrap_err();
    assert_eq!(error.code(), Code::Disconnected, "{error}");
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("begins with another server"), "{said}");
    assert!(said.contains("`rpc_core::subserver_init()`"), "{said}");
    assert!(!socket.exists(), "it has not listened");
}

/// A listener that is not of the crate.
struct Listener(Box<dyn rpc_core::transport::Listener>);

#[async_trait::async_trait]
impl rpc_core::transport::Listener for Listener {
    async fn accept(&mut self) -> std::io::Result<rpc_core::transport::Conduit> {
        self.0.accept().await
    }

    fn address(&self) -> String {
        self.0.address()
    }
}

/// A program that ends before it has a server costs its clients their connections, and nothing else.
#[tokio::test]
async fn a_subserver_that_never_serves_ends_the_connection() {
    let pattern = Forking::new().command(Command::new("/bin/false"));
    let server = builder(pattern.spare(1))
        .listen("tcp://127.0.0.1:0")
        .start();
    let server = server.await.unwrap();
    let error = client(&server).await.count().await.unwrap_err();
    // It may have ended before it could be given the client.
    let codes = [Code::Disconnected, Code::Overloaded];
    assert!(codes.contains(&error.code()), "{error}");
    let pattern = Forking::new().command(Command::new("/no/such/program"));
    let server = builder(pattern).listen("tcp://127.0.0.1:0").start();
    let server = server.await.unwrap();
    let error = client(&server).await.count().await.unwrap_err();
    assert_eq!(error.code(), Code::Overloaded, "{error}");
    assert_eq!(error.executed(), Executed::No);
}
