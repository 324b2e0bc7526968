//! Servers that start: rivals, and what a killed one leaves behind.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rpc_core::Code;
use rpc_core::transport::{Address, ListenOptions, Listener};
use support::{LIMIT, Process, eventually, fifo};
use tokio::task::JoinSet;

use super::site::{Site, stop};

/// Races for one well-known pipe.
const RACES: usize = 1_000;

/// Servers in each of them.
const RIVALS: usize = 4;

/// Races at a time, each for a pipe of its own: who loses waits for 100 ms first.
const LANES: usize = 20;

/// Servers that have one pipe, one after the other.
const TURNS: usize = 200;

async fn listen(site: &Site) -> Result<Box<dyn Listener>, rpc_core::Error> {
    let address: Address = site.address().parse().unwrap();
    address.listen(&ListenOptions::new()).await
}

fn service(site: &Site) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-service"));
    Process::spawn(command.args(["serve", "--listen", &site.address()]))
}

/// About 6 s.
#[tokio::test(flavor = "multi_thread")]
async fn row_46_of_servers_that_start_at_once_exactly_one_wins() {
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        lanes.spawn(async {
            let site = Arc::new(Site::new());
            for _ in 0..RACES / LANES {
                let mut starts = JoinSet::new();
                for _ in 0..RIVALS {
                    let site = Arc::clone(&site);
                    starts.spawn(async move { listen(&site).await });
                }
                let mut winners = Vec::new();
                for started in starts.join_all().await {
                    match started {
                        Ok(listener) => winners.push(listener),
                        Err(error) => {
                            assert_eq!(error.code(), Code::InUse, "{error}");
                            let holder = format!("process {} serves", std::process::id());
                            assert!(error.to_string().contains(&holder), "{error}");
                        }
                    }
                }
                assert_eq!(winners.len(), 1);
                let metadata = fs::symlink_metadata(site.path()).unwrap();
                assert!(metadata.file_type().is_fifo());
            }
        });
    }
    lanes.join_all().await;
}

/// Servers that come and go: the lock's file goes with each, and must not let two in.
#[tokio::test(flavor = "multi_thread")]
async fn row_46_there_are_never_two_though_they_come_and_go() {
    let site = Arc::new(Site::new());
    let holders = Arc::new(AtomicUsize::new(0));
    let turns = Arc::new(AtomicUsize::new(0));
    let end = Instant::now() + LIMIT;
    let mut rivals = JoinSet::new();
    for _ in 0..8 {
        let (site, holders, turns) = (Arc::clone(&site), Arc::clone(&holders), Arc::clone(&turns));
        rivals.spawn(async move {
            while turns.load(Ordering::Relaxed) < TURNS && Instant::now() < end {
                let Ok(listener) = listen(&site).await else {
                    continue;
                };
                assert_eq!(
                    holders.fetch_add(1, Ordering::SeqCst),
                    0,
                    "two serve the pipe"
                );
                tokio::task::yield_now().await;
                assert!(site.path().exists());
                holders.fetch_sub(1, Ordering::SeqCst);
                drop(listener);
                turns.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    rivals.join_all().await;
    let turns = turns.load(Ordering::Relaxed);
    println!("{turns} servers, one after the other");
    assert!(turns >= TURNS, "only {turns} servers came");
    assert_eq!(
        fs::read_dir(site.path().parent().unwrap()).unwrap().count(),
        0
    );
}

#[test]
fn row_46_a_rival_process_is_told_who_serves() {
    let site = Site::new();
    let first = service(&site);
    first.line("it is ready", |line| (line == "ready").then_some(()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_test-service"));
    let second = Process::run(command.args(["serve", "--listen", &site.address()]));
    assert_eq!(second.code, Some(1));
    let holder = format!("process {} serves this well-known pipe", first.id());
    assert!(second.stderr.contains(&holder), "{}", second.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn row_47_what_a_killed_server_left_is_taken_over() {
    let site = Site::new();
    let path = site.path();
    let mut first = service(&site);
    first.line("it is ready", |line| (line == "ready").then_some(()));
    site.check().await;
    let stale = fs::symlink_metadata(&path).unwrap();

    // A client that the first server never saw, alive, with its record unread.
    stop(&first);
    let waiting = fifo::client(&path, [9; 16], [9; 16], 6).unwrap();
    assert_eq!(site.names().len(), 2);
    first.kill();
    assert!(path.exists(), "nobody has cleaned up");
    // Without a wait, which would be there each time.
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let begin = Instant::now();
        let error = site.connect().await.err().unwrap();
        assert_eq!(error.code(), Code::Refused, "{error}");
        fastest = fastest.min(begin.elapsed());
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");

    let second = service(&site);
    second.line("it is ready", |line| (line == "ready").then_some(()));
    let fresh = fs::symlink_metadata(&path).unwrap();
    assert_ne!(format!("{stale:?}"), format!("{fresh:?}"), "a new inode");
    assert_eq!(site.names(), [""; 0], "old names are removed at the start");
    site.check().await;
    drop(waiting);

    second.terminate();
    eventually("everything goes with the server", LIMIT, || {
        let left = fs::read_dir(path.parent().unwrap()).unwrap();
        (left.count() == 0).then_some(())
    });
}

#[tokio::test]
async fn row_47_what_is_no_pipe_of_ours_stays() {
    let site = Site::new();
    let path = site.path();
    fs::write(&path, "precious").unwrap();
    let error = listen(&site).await.err().unwrap();
    assert_eq!(error.code(), Code::InUse, "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");

    let site = Site::new();
    std::os::unix::fs::symlink("/nonexistent/target", site.path()).unwrap();
    assert_eq!(listen(&site).await.err().unwrap().code(), Code::InUse);
    assert!(fs::symlink_metadata(site.path()).is_ok());

    // A server that failed to start leaves nothing of its own.
    assert_eq!(
        fs::read_dir(site.path().parent().unwrap()).unwrap().count(),
        1
    );
}

#[tokio::test]
async fn row_47_a_link_in_place_of_lock_or_directory_is_not_followed() {
    for suffix in [".lock", ".d"] {
        let site = Site::new();
        let target = Site::new();
        let precious = target.path();
        fs::create_dir(&precious).unwrap();
        fs::set_permissions(&precious, fs::Permissions::from_mode(0o755)).unwrap();
        let mut link = site.path().into_os_string();
        link.push(suffix);
        std::os::unix::fs::symlink(&precious, link).unwrap();
        let error = listen(&site).await.err().unwrap();
        assert!([Code::Io, Code::Denied].contains(&error.code()), "{error}");
        let mode = fs::symlink_metadata(&precious)
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755);
        assert!(!site.path().exists());
    }
}

#[tokio::test]
async fn errors_say_what_is_wrong_with_a_path() {
    let nowhere: Address = "fifo:/nonexistent/directory/calc.wkp".parse().unwrap();
    let error = nowhere.listen(&ListenOptions::new()).await.err().unwrap();
    assert_eq!(error.code(), Code::Io);
    let text = error.to_string();
    assert!(
        text.starts_with("fifo:/nonexistent/directory/calc.wkp: "),
        "{text}"
    );
    assert!(
        text.contains("the directory of the pipe does not exist"),
        "{text}"
    );

    let site = Site::new();
    let error = site.connect().await.err().unwrap();
    assert_eq!(error.code(), Code::Refused);
    assert!(
        error
            .to_string()
            .contains("no server: there is no such pipe"),
        "{error}"
    );
    fs::write(site.path(), "no pipe").unwrap();
    let error = site.connect().await.err().unwrap();
    assert_eq!(error.code(), Code::Denied);
    assert!(
        error.to_string().contains("something else than a pipe"),
        "{error}"
    );
    fs::remove_file(site.path()).unwrap();
    std::os::unix::fs::symlink("/dev/null", site.path()).unwrap();
    let error = site.connect().await.err().unwrap();
    assert_eq!(error.code(), Code::Denied);
    assert!(error.to_string().contains("symbolic link"), "{error}");
}
