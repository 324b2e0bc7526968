//! Other users: who may connect, and who counts for whom. Row 51: an ordinary user with many pipes.
//!
//! Root runs these for real, as users that own nothing. Others run what they can, and say what not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rpc_core::{Channel, Code, Server};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, pipe_with};
use rustix::process::{Resource, Rlimit, geteuid, setrlimit};
use support::work::{WorkClient, WorkServer, Worker};
use support::{Finished, LIMIT, Process, TempDir};

use super::site::Site;

/// A user, and a group, without a name or with that of nobody.
const NOBODY: u32 = 65_534;
const SOMEBODY: u32 = 65_533;

/// Where a client of another user is to connect.
const ADDRESS: &str = "TEST_FIFO_ADDRESS";

/// Whether this process may become other users; it says so where it may not.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        println!("SKIPPED: it takes root to become another user");
    }
    is_root && support::others_may_enter()
}

/// A program where every user may run it.
struct Copy {
    directory: TempDir,
}

impl Copy {
    fn new() -> Self {
        Self::of(std::env::current_exe().unwrap())
    }

    fn of(program: impl AsRef<Path>) -> Self {
        let directory = TempDir::new();
        fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        // By another process: a file that this one has open to write, a child of another test may
        // inherit for a moment, and then nobody can run it.
        let mut copy = Command::new("cp");
        copy.arg(program.as_ref()).arg(directory.file("program"));
        assert_eq!(Process::run(&mut copy).code, Some(0));
        Self { directory }
    }

    /// One test of this program, as another user.
    fn run_as(&self, user: u32, group: u32, test: &str, address: &str) -> Command {
        let mut command = as_user(user, group);
        command
            .arg(self.directory.file("program"))
            .args(["--exact", test, "--nocapture"])
            .env(ADDRESS, address)
            .env_remove("TMPDIR");
        command
    }
}

/// What runs a program as another user.
fn as_user(user: u32, group: u32) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-confined"));
    command.args(["--user", &user.to_string(), &group.to_string()]);
    command
}

fn run_as(user: u32, group: u32, test: &str, address: &str) -> Finished {
    Process::run(&mut Copy::new().run_as(user, group, test, address))
}

/// An ordinary user's first 1,024 pipes hold 64 KiB each, and all others 8 KiB.
#[test]
fn row_51_everything_works_over_small_pipes() {
    if is_root() {
        let run = run_as(
            NOBODY,
            NOBODY,
            "users::row_51_everything_works_over_small_pipes",
            "",
        );
        assert_eq!(run.code, Some(0), "{}\n{}", run.stdout, run.stderr);
        assert!(run.stdout.contains("pipes of 8192 bytes"), "{}", run.stdout);
        return;
    }
    if std::env::var_os(ADDRESS).is_none() {
        // As the user of this machine it would take the pipes that other programs want.
        return;
    }
    let limit = Rlimit {
        current: Some(4096),
        maximum: Some(4096),
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let held: Vec<_> = (0..1_100)
        .map(|_| pipe_with(PipeFlags::CLOEXEC).unwrap())
        .collect();
    let size = fcntl_getpipe_size(&held.last().unwrap().0).unwrap();
    println!("pipes of {size} bytes");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let site = Site::new();
        let _server = site.serve().await;
        let mut clients = Vec::new();
        for _ in 0..50 {
            clients.push(site.connect().await.unwrap());
        }
        for client in &clients {
            assert_eq!(client.echo(1).await, Ok(1));
        }
        let sent: Vec<u8> = (0..3 << 20).map(|n| n as u8).collect();
        let expected: Vec<u8> = sent.iter().rev().copied().collect();
        let (first, second) = tokio::join!(clients[0].reverse(sent), clients[0].echo(2));
        assert!(first.unwrap() == expected, "the bytes differ");
        assert_eq!(second, Ok(2));
    });
}

/// What a client of another user finds; no test of its own.
#[tokio::test]
async fn a_client_of_another_user() {
    let address = std::env::var(ADDRESS).unwrap_or_default();
    if address.is_empty() || geteuid().is_root() {
        return;
    }
    match Channel::builder(address).connect().await {
        Ok(channel) => match WorkClient::new(channel).who().await {
            Ok(who) => println!("served as user {:?}", who.peer_uid),
            Err(error) => println!("{:?}: {error}", error.code()),
        },
        Err(error) => println!("{:?}: {error}", error.code()),
    }
}

fn connect_as(user: u32, group: u32, address: &str) -> String {
    let run = run_as(user, group, "users::a_client_of_another_user", address);
    assert_eq!(run.code, Some(0), "{}\n{}", run.stdout, run.stderr);
    run.stdout
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_user_alone_may_connect() {
    let site = Site::new();
    let _server = site.serve().await;
    assert_eq!(mode(&site.path()), 0o600);
    assert_eq!(mode(&support::fifo::directory(&site.path())), 0o700);
    let client = site.connect().await.unwrap();
    let who = client.who().await.unwrap();
    assert_eq!(
        (who.peer_uid, who.peer_pid),
        (Some(geteuid().as_raw()), None)
    );
    if is_root() {
        let found = connect_as(NOBODY, NOBODY, &site.address());
        assert!(found.contains("Denied: "), "{found}");
    }
}

/// As root is no exception: its pipes could not be opened by the server.
#[test]
fn root_is_not_the_servers_user() {
    if !is_root() {
        return;
    }
    let directory = TempDir::new();
    let theirs = directory.file("theirs");
    fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    let path = theirs.join("calc.wkp");
    let copy = Copy::of(env!("CARGO_BIN_EXE_test-service"));
    let mut server = as_user(NOBODY, NOBODY);
    server.arg(copy.directory.file("program"));
    server.args(["serve", "--listen", &format!("fifo:{}", path.display())]);
    let server = Process::spawn(&mut server);
    server.line("it is ready", |line| (line == "ready").then_some(()));
    let error = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let channel = Channel::builder(format!("fifo:{}", path.display()));
        channel.connect().await.unwrap_err()
    });
    assert_eq!(error.code(), Code::Denied);
    assert!(
        error.to_string().contains("the server runs as user 65534"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_allowed_may_connect() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let _server = site.builder().allow_group(NOBODY).start().await.unwrap();
    assert_eq!(mode(&site.path()), 0o620);
    assert_eq!(mode(&support::fifo::directory(&site.path())), 0o3730);
    let member = connect_as(SOMEBODY, NOBODY, &site.address());
    assert!(member.contains("served as user Some(65533)"), "{member}");
    let stranger = connect_as(NOBODY, SOMEBODY, &site.address());
    assert!(stranger.contains("Denied: "), "{stranger}");
    // The server's own user, too.
    site.check().await;
    assert_eq!(site.names(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_group_only_those_on_a_list_may_connect() {
    if !is_root() {
        return;
    }
    let site = Site::new();
    let builder = site.builder().allow_group(NOBODY).allow_uids([NOBODY]);
    let _server = builder.start().await.unwrap();
    let listed = connect_as(NOBODY, NOBODY, &site.address());
    assert!(listed.contains("served as user Some(65534)"), "{listed}");
    let member = connect_as(SOMEBODY, NOBODY, &site.address());
    assert!(member.contains("Denied: "), "{member}");
    assert!(
        member.contains("does not let this user connect"),
        "{member}"
    );
}

/// A well-known pipe of another user is trusted where that user or root alone can have put it.
#[test]
fn a_pipe_in_a_public_place_is_not_trusted() {
    if !is_root() {
        return;
    }
    let directory = TempDir::new();
    for (name, owner, mode, is_trusted) in [
        ("public", 0, 0o1777, false),
        ("theirs", NOBODY, 0o755, true),
        ("shared", NOBODY, 0o775, false),
    ] {
        let place = directory.file(name);
        fs::create_dir(&place).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&place, Some(owner), None).unwrap();
        let address = format!("fifo:{}", place.join("calc.wkp").display());
        let copy = Copy::new();
        let mut server = copy.run_as(NOBODY, NOBODY, "users::a_server_of_another_user", &address);
        let server = Process::spawn(&mut server);
        server.line("it serves", |line| (line == "serving").then_some(()));
        let connected = tokio::runtime::Runtime::new()
            .unwrap()
            .block_on(async { Channel::builder(&address).connect().await.map(drop) });
        if is_trusted {
            connected.unwrap();
        } else {
            let error = connected.unwrap_err();
            assert_eq!(error.code(), Code::Denied, "{name}: {error}");
            assert!(
                error
                    .to_string()
                    .contains("anybody could have put it there"),
                "{error}"
            );
        }
    }
}

/// Serves until it is killed; no test of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_user() {
    let address = std::env::var(ADDRESS).unwrap_or_default();
    if address.is_empty() || geteuid().is_root() {
        return;
    }
    let builder = Server::builder().service(WorkServer::new(Worker::default()));
    let builder = builder.listen(address).allow_group(NOBODY);
    let _server = builder.start().await.unwrap();
    // On one processor the harness has begun a line with the name of the test.
    println!("\nserving");
    tokio::time::sleep(LIMIT).await;
}
