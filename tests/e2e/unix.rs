//! Unix sockets: who may connect, who must be there, and what a process number is worth.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use matchmaker::{Config, Daemon};
use rpc_core::discovery::MatchmakerClient;
use rpc_core::discovery::matchmaker::{Endpoint, Offer, Registration};
use rpc_core::{Channel, Code, Error, Executed, Server};
use rustix::process::{geteuid, getuid};
use support::work::{Ledger, WorkClient, WorkServer, Worker};
use support::{LIMIT, TempDir, eventually_async, nearly_all_within, within};
use tokio::io::AsyncReadExt as _;

use crate::program::{MATCHMAKER, SERVICE, matchmaker};

/// A user that no process of a test runs as, except where it is told to.
const SOMEBODY: u32 = 54_321;

fn abstract_address(name: &str) -> String {
    format!("unix:@e2e-unix-{name}-{}", std::process::id())
}

/// A server, as soon as the address is free: a child of another test has a copy of the socket of the
/// one before until it has become its program.
async fn serve(address: &str, allowed: Option<&[u32]>, ledger: Option<&Path>) -> Server {
    let start = async || {
        let worker = ledger.map_or(Ok(Worker::default()), Worker::with_ledger);
        let mut builder = Server::builder()
            .service(WorkServer::new(worker.unwrap()))
            .listen(address);
        if let Some(allowed) = allowed {
            builder = builder.allow_uids(allowed.iter().copied());
        }
        match builder.start().await {
            Err(error) if error.code() == Code::InUse => None,
            started => Some(started.unwrap()),
        }
    };
    eventually_async("the address is free", LIMIT, start)
        .await
        .0
}

#[tokio::test]
async fn row_54_who_is_not_on_the_list_is_told_so_and_runs_nothing() {
    let directory = TempDir::new();
    let own = geteuid().as_raw();
    for address in [directory.unix("calc.sock"), abstract_address("list")] {
        let ledger = directory.file("ledger");
        let server = serve(&address, Some(&[SOMEBODY]), Some(&ledger)).await;
        // The call travels along with the hello.
        let client = WorkClient::connect(&address).await.unwrap();
        let error = client.record(1, Duration::ZERO).await.unwrap_err();
        assert_eq!(
            (error.code(), error.executed()),
            (Code::Denied, Executed::No),
            "{error}"
        );
        let text = error.to_string();
        assert!(text.contains("does not let this user connect"), "{text}");
        assert!(text.contains(&address), "{text}");
        assert!(Ledger::count("ran", &[&ledger]).is_empty());
        server.shutdown(Duration::ZERO).await;

        let _server = serve(&address, Some(&[SOMEBODY, own]), None).await;
        let client = WorkClient::connect(&address).await.unwrap();
        assert_eq!(client.echo(7).await.unwrap(), 7);
    }
}

#[tokio::test]
async fn with_a_list_the_file_is_open_and_without_one_it_decides() {
    let directory = TempDir::new();
    let address = directory.unix("calc.sock");
    let mode = || {
        fs::metadata(directory.file("calc.sock"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777
    };
    let server = serve(&address, Some(&[geteuid().as_raw()]), None).await;
    assert_eq!(mode(), 0o666);
    server.shutdown(Duration::ZERO).await;
    let _server = serve(&address, None, None).await;
    assert_eq!(mode() & 0o022, 0, "only its owner may write: {:o}", mode());
}

/// The same with another user, for which the test must be root.
#[tokio::test(flavor = "multi_thread")]
async fn row_54_another_user_is_let_in_by_the_list_alone() {
    if !getuid().is_root() {
        println!("!!! SKIPPED: only root can run a client as another user");
        return;
    }
    if !support::others_may_enter() {
        return;
    }
    let directory = TempDir::new();
    fs::set_permissions(directory.file("."), fs::Permissions::from_mode(0o755)).unwrap();
    let ask = |address: &str| {
        let mut command = Command::new(MATCHMAKER);
        command
            .args(["health", "--matchmaker", address])
            .uid(SOMEBODY)
            .gid(SOMEBODY);
        // The program may stand where another user cannot go.
        let output = command.output().ok()?;
        Some(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // A client that was let in asks for what there is not.
    const LET_IN: &str = "unimplemented";
    for (what, address, allowed, words) in [
        (
            "a file",
            directory.unix("a.sock"),
            None,
            "this user may not connect to the socket",
        ),
        (
            "a file with a list",
            directory.unix("b.sock"),
            Some(&[SOMEBODY][..]),
            LET_IN,
        ),
        (
            "a file with another list",
            directory.unix("c.sock"),
            Some(&[0][..]),
            "does not let this user",
        ),
        (
            "a name",
            abstract_address("d"),
            None,
            "does not let this user connect",
        ),
        (
            "a name with a list",
            abstract_address("e"),
            Some(&[SOMEBODY][..]),
            LET_IN,
        ),
    ] {
        let _server = serve(&address, allowed, None).await;
        let asked = address.clone();
        let said = tokio::task::spawn_blocking(move || (ask(&asked), asked))
            .await
            .unwrap()
            .0;
        let Some(said) = said else {
            println!("!!! SKIPPED: another user cannot run {MATCHMAKER}");
            return;
        };
        assert!(said.contains(words), "{what}: {said}");
    }
}

/// Somebody has taken the name of a service that is away.
#[tokio::test]
async fn row_54_a_squatter_on_an_abstract_name_gets_no_byte() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};

    let address = abstract_address("squatted");
    let name = address.trim_start_matches("unix:@");
    let squatter = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap());
    let squatter = squatter.unwrap();
    squatter.set_nonblocking(true).unwrap();
    let squatter = tokio::net::UnixListener::from_std(squatter).unwrap();

    let lazy = Channel::builder(&address)
        .expect_uid(SOMEBODY)
        .connect_lazy()
        .unwrap();
    let calling = WorkClient::new(lazy).with_deadline(Duration::from_secs(2));
    let seen = async {
        let (mut stream, _) = squatter.accept().await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    let both = async { tokio::join!(calling.echo(1), seen) };
    let (called, bytes) = within("the call ends", LIMIT, both).await;
    let error = called.unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Unauthenticated, Executed::No),
        "{error}"
    );
    let text = error.to_string();
    assert!(
        text.contains(&format!(
            "uid:{SOMEBODY} must be there, and uid {}",
            geteuid().as_raw()
        )),
        "{text}"
    );
    assert_eq!(bytes, b"", "it heard something");
}

/// Where a service was discovered, the client knows whose it must be without being told.
#[tokio::test]
async fn row_54_a_registered_socket_says_whose_it_is() {
    let directory = TempDir::new();
    let matchmaker = matchmaker().await;
    let address = directory.unix("work.sock");
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen(&address)
        .matchmaker(matchmaker.address())
        .register()
        .start()
        .await
        .unwrap();
    let (listed, _) = matchmaker.listed("test.Work", 1).await;
    let identity = listed[0].endpoints[0].identity.clone();
    let plain = fs::read_to_string("/proc/self/uid_map").unwrap();
    if !plain.split_whitespace().eq(["0", "0", "4294967295"]) {
        println!("!!! SKIPPED: users have other numbers here than on the host");
        return;
    }
    assert_eq!(identity, Some(format!("uid:{}", geteuid().as_raw())));
    WorkClient::connect(matchmaker.name("test.Work"))
        .await
        .unwrap()
        .echo(1)
        .await
        .unwrap();

    // The same place, registered for somebody else's.
    let offer = &listed[0].offer;
    let mut forged = Registration::new("00".repeat(16).parse().unwrap(), listed[0].host.clone(), 1);
    forged.services = vec![Offer::new(
        "test.Forged",
        offer.version.clone(),
        offer.fingerprint,
    )];
    let endpoint = Endpoint::on_host(&address, listed[0].host.clone());
    forged.endpoints = vec![endpoint.with_identity(Some(format!("uid:{SOMEBODY}")))];
    let registrant = matchmaker.client();
    registrant.register(&forged).await.unwrap();
    let found = Channel::connect(matchmaker.name("test.Forged"));
    let error: Error = within("the dial ends", LIMIT, found).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("uid:{SOMEBODY} must be there")),
        "{error}"
    );
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Unauthenticated, Executed::No),
        "{error}"
    );
    drop(server);
}

/// The number of a process is free for another once its parent has seen it die. Its connection ends
/// before that, so that as long as there is one, the number names the peer.
#[tokio::test(flavor = "multi_thread")]
async fn row_54_a_connection_ends_before_the_number_of_its_process_is_free() {
    let directory = TempDir::new();
    let address = directory.unix("matchmaker.sock");
    let daemon = Daemon::start(Config::listening_at([address.as_str()]))
        .await
        .unwrap();
    let client = MatchmakerClient::connect(&address).await.unwrap();
    let registered = async |count: usize| {
        let what = format!("{count} are registered");
        eventually_async(&what, LIMIT, async || {
            let found = client.list(None).await.ok()?.instances;
            let found = found
                .iter()
                .filter(|instance| instance.offer.name == "test.Work");
            (found.count() == count).then_some(())
        })
        .await
    };
    let mut times = Vec::new();
    for _ in 0..10 {
        let mut service = Command::new(SERVICE)
            .args([
                "serve",
                "--listen",
                "tcp://127.0.0.1:0",
                "--matchmaker",
                &address,
            ])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        registered(1).await;
        let killed = Instant::now();
        service.kill().unwrap();
        registered(0).await;
        times.push(killed.elapsed());
        // Nobody has waited for it yet, so the number is its own; it may even be about to end.
        assert!(Path::new(&format!("/proc/{}", service.id())).exists());
        service.wait().unwrap();
    }
    println!("from death to the end of the connection: {times:?}");
    assert!(
        nearly_all_within(&mut times, Duration::from_secs(2)),
        "{times:?}"
    );
    drop(daemon);
}
