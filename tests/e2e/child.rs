//! Children: programs that a client starts and speaks to over their standard input and output, and
//! what becomes of either side when the other ends.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rpc_core::transport::Restart;
use rpc_core::{Channel, Client as _, Code, Executed, Server, service};
use rustix::process::{Pid, Signal, kill_process};
use support::plugin::{Child, PluginClient, PluginServer};
use support::{LIMIT, Process, TempDir, eventually, eventually_async, within};
use tokio::task::JoinSet;

const PROGRAM: &str = env!("CARGO_BIN_EXE_test-plugin");

/// What a parent hears at once, it hears within this, on a machine that is busy or stands still for a
/// moment: before a ping is missed or a deadline is over.
const AT_ONCE: Duration = Duration::from_secs(5);

fn plugin(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    command
}

async fn spawn(arguments: &[&str]) -> PluginClient {
    PluginClient::spawn(plugin(arguments)).await.unwrap()
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.try_into().unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// The letter that the kernel has for what a process is doing; `None` if nothing is left of it.
fn state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Waits until nothing is left of a child of this process, not even a zombie.
async fn is_reaped(pid: u32) {
    let gone = async || state(pid).is_none().then_some(());
    eventually_async(&format!("{pid} is reaped"), LIMIT, gone).await;
}

/// Waits until a process that others started is over. Who adopts orphans may leave a zombie.
#[track_caller]
fn is_over(pid: u32) -> Duration {
    let over = || matches!(state(pid), None | Some('Z')).then_some(());
    eventually(&format!("{pid} is over"), LIMIT, over).1
}

#[tokio::test]
async fn a_child_is_called_like_any_other_server() {
    let child = spawn(&["serve"]).await;
    assert_eq!(child.echo(7).await, Ok(7));
    let bytes = vec![1; 3 << 20];
    assert_eq!(child.length(&bytes).await, Ok(bytes.len()));
    let mut calls = JoinSet::new();
    for i in 0..1000 {
        let child = child.clone();
        calls.spawn(async move { assert_eq!(child.echo(i).await, Ok(i)) });
    }
    calls.join_all().await;
    let pid = child.pid().await.unwrap();
    assert_ne!(pid, std::process::id());
    drop(child);
    is_reaped(pid).await;
}

/// The words of the address arrive as they are, whatever a shell would make of them.
#[tokio::test]
async fn an_address_starts_a_program_without_a_shell() {
    let address = format!(r#"exec:'{PROGRAM}' serve "two words" $HOME *;ls '' a\ b"#);
    let child = PluginClient::connect(address).await.unwrap();
    let arguments = child.arguments().await.unwrap();
    let expected = ["serve", "two words", "$HOME", "*;ls", "", "a b"];
    assert_eq!(arguments, expected);
}

#[tokio::test]
async fn a_program_is_looked_up_in_the_path() {
    let error = PluginClient::connect("exec:there-is-no-such-program-at-all").await;
    let error = error.unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Refused, Executed::No)
    );
    let sentence = error.to_string();
    assert!(
        sentence.contains("exec:there-is-no-such-program-at-all")
            && sentence.contains("there is no such program"),
        "{sentence}"
    );
    let directory = TempDir::new();
    let file = directory.file("file");
    fs::write(&file, "no program").unwrap();
    let error = PluginClient::connect(format!("exec:{}", file.display()))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Denied, "{error}");
    // `true` is found, and has nothing to say.
    let child = PluginClient::connect("exec:true").await.unwrap();
    let error = child.echo(1).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the child `true` exited with code 0"),
        "{error}"
    );
}

#[tokio::test]
async fn row_50_a_killed_child_fails_its_calls_at_once_and_by_name() {
    let child = spawn(&["serve"]).await;
    let pid = child.pid().await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let child = child.clone();
        calls.spawn(async move { child.hang().await.unwrap_err() });
    }
    // All of them have been sent once a later one is answered.
    child.echo(1).await.unwrap();
    let killed = Instant::now();
    signal(pid, Signal::KILL);
    let errors = within("the calls end", LIMIT, calls.join_all()).await;
    assert!(killed.elapsed() < AT_ONCE, "{:?}", killed.elapsed());
    for error in errors {
        assert_eq!(error.code(), Code::Disconnected, "{error}");
        assert_eq!(error.executed(), Executed::Maybe, "{error}");
        let how = format!("the child `{PROGRAM}` was ended by signal 9 (SIGKILL)");
        assert!(error.to_string().contains(&how), "{error}");
    }
    is_reaped(pid).await;
    // It stays dead, and that is said without a wait.
    let error = child.echo(2).await.unwrap_err();
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Disconnected, Executed::No)
    );
    let text = "was ended by signal 9 (SIGKILL); it is not started again";
    assert!(error.to_string().contains(text), "{error}");
    assert!(killed.elapsed() < 2 * AT_ONCE, "{:?}", killed.elapsed());
}

/// The parent looks away until the child is dead, with everything that it said still in the pipe.
#[tokio::test]
async fn row_50_what_a_child_said_before_it_ended_is_heard() {
    const CALLS: u32 = 60;
    let child = spawn(&["serve"]).await;
    let pid = child.pid().await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let child = child.clone();
        calls.spawn(async move { child.last_words(1000, CALLS, 7).await });
    }
    let hanging = tokio::spawn({
        let child = child.clone();
        async move { child.hang().await }
    });
    while calls.len() == CALLS as usize && state(pid) != Some('Z') {
        // One turn of the runtime sends the calls; from then on it stands still.
        tokio::task::yield_now().await;
        std::thread::sleep(Duration::from_millis(1));
        if let Some(done) = calls.try_join_next() {
            assert_eq!(done.unwrap(), Ok(vec![7; 1000]));
            break;
        }
    }
    eventually("the child ends", LIMIT, || {
        (state(pid) == Some('Z')).then_some(())
    });
    while let Some(answered) = calls.join_next().await {
        assert_eq!(answered.unwrap(), Ok(vec![7; 1000]));
    }
    let error = within("the last call ends", LIMIT, hanging)
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.to_string().contains("exited with code 7"), "{error}");
    assert_eq!(error.executed(), Executed::Maybe);
    is_reaped(pid).await;
}

/// No SIGPIPE, and no half of a request that hangs.
#[tokio::test]
async fn row_50_a_request_to_a_child_that_stopped_reading_fails_with_its_end() {
    let child = spawn(&["serve"]).await;
    let pid = child.pid().await.unwrap();
    signal(pid, Signal::STOP);
    let call = tokio::spawn(async move { child.length(&vec![0; 3 << 20]).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    signal(pid, Signal::KILL);
    let error = within("the call ends", LIMIT, call)
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        error.to_string().contains("was ended by signal 9"),
        "{error}"
    );
    is_reaped(pid).await;
}

/// A shell leaves the child's pipes to what it starts beside it: there is no end of file.
#[tokio::test]
async fn an_end_is_heard_of_though_others_have_the_pipe() {
    let directory = TempDir::new();
    let note = directory.file("note");
    let script = format!("sleep 60 & echo $! > \"$0\"; exec '{PROGRAM}' serve");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).arg(&note);
    let child = PluginClient::spawn(shell).await.unwrap();
    let pid = child.pid().await.unwrap();
    let other: u32 = fs::read_to_string(note).unwrap().trim().parse().unwrap();
    let error = child.exit(3).await.unwrap_err();
    let there = !matches!(state(other), None | Some('Z'));
    assert!(there, "the other has left the pipe");
    signal(other, Signal::KILL);
    assert!(
        error
            .to_string()
            .contains("the child `sh` exited with code 3"),
        "{error}"
    );
    is_reaped(pid).await;
}

#[tokio::test]
async fn a_dropped_client_leaves_its_child_time_to_end() {
    let directory = TempDir::new();
    let note = directory.file("note");
    let child = spawn(&["serve", "--note", note.to_str().unwrap()]).await;
    let pid = child.pid().await.unwrap();
    drop(child);
    is_reaped(pid).await;
    assert_eq!(fs::read_to_string(note).unwrap(), "left in peace");
}

#[tokio::test]
async fn a_child_that_does_not_leave_is_killed_when_its_grace_is_over() {
    let grace = Duration::from_millis(300);
    let builder = Channel::builder_for(plugin(&["deaf"])).exit_grace(grace);
    let child = PluginClient::new(builder.connect().await.unwrap());
    let pid = child.pid().await.unwrap();
    let begin = Instant::now();
    drop(child);
    is_reaped(pid).await;
    assert!(begin.elapsed() >= grace, "it has no grace");
}

/// Nor does it need a runtime to the end.
#[test]
fn a_client_that_goes_with_its_runtime_takes_its_child_along() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.unwrap();
    let directory = TempDir::new();
    let note = directory.file("note");
    let (child, pid) = runtime.block_on(async {
        let child = spawn(&["serve", "--note", note.to_str().unwrap()]).await;
        let pid = child.pid().await.unwrap();
        (child, pid)
    });
    drop(runtime);
    eventually("it is reaped", LIMIT, || state(pid).is_none().then_some(()));
    assert_eq!(fs::read_to_string(note).unwrap(), "left in peace");
    drop(child);
}

/// What is printed before the child serves comes to the parent, and what is printed later does not
/// go there at all; both end on the standard error.
#[test]
fn a_stray_line_spoils_nothing() {
    let mut host = plugin(&[
        "host",
        "print",
        PROGRAM,
        "serve",
        "--print",
        "printed before",
    ]);
    let host = Process::run(&mut host);
    assert_eq!(host.code, Some(0), "{host:?}");
    for line in ["printed before", "printed by a handler"] {
        assert!(host.stderr.contains(line), "{host:?}");
    }
    assert!(host.stderr.contains("and half a line"), "{host:?}");
    assert!(!host.stdout.contains("printed"), "{host:?}");
}

#[tokio::test]
async fn a_program_that_prints_for_ever_is_given_up() {
    let child = PluginClient::connect("exec:sh -c 'printf %100000s; exec sleep 9'")
        .await
        .unwrap();
    let error = within("the call ends", LIMIT, child.echo(1))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("does not speak the protocol"),
        "{error}"
    );
}

#[test]
fn row_50_a_child_that_spins_ends_with_its_parent() {
    for (method, role) in [("spin", "serve"), ("hang", "serve"), ("hang", "listen")] {
        let mut host = Process::spawn(&mut plugin(&["host", method, PROGRAM, role]));
        let pid: u32 = host.nth_line("child ", 0).parse().unwrap();
        if method == "spin" {
            // It computes when it has used more than a tick of the clock.
            eventually("the child spins", LIMIT, || {
                (state(pid) == Some('R')).then_some(())
            });
        }
        host.kill();
        let took = is_over(pid);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

/// The child ended by itself and well, which is no failure.
async fn has_ended_well(child: &PluginClient) {
    let error = child.echo(1).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("exited with code 0; it is not started"),
        "{error}"
    );
}

#[tokio::test]
async fn a_child_is_started_again_if_that_is_wished() {
    let builder = Channel::builder_for(plugin(&["serve"])).restart(Restart::on_failure());
    let child = PluginClient::new(builder.connect().await.unwrap());
    let mut pids = vec![child.pid().await.unwrap()];
    for code in [3, 4] {
        let error = child.exit(code).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("exited with code {code}")),
            "{error}"
        );
        assert_eq!(
            error.executed(),
            Executed::Maybe,
            "it is not repeated by this"
        );
        pids.push(child.pid().await.unwrap());
    }
    signal(pids[2], Signal::KILL);
    // The next life begins with a call that finds the last one over.
    let next = eventually_async("another life", LIMIT, async || child.pid().await.ok());
    pids.push(next.await.0);
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 4, "each life has a number of its own");
    child.exit(0).await.unwrap_err();
    has_ended_well(&child).await;
}

#[tokio::test]
async fn a_child_that_is_told_to_end_has_not_failed() {
    let builder = Channel::builder_for(plugin(&["serve"])).restart(Restart::on_failure());
    let child = PluginClient::new(builder.connect().await.unwrap());
    let pid = child.pid().await.unwrap();
    signal(pid, Signal::TERM);
    is_reaped(pid).await;
    has_ended_well(&child).await;
}

#[tokio::test]
async fn a_child_that_fails_again_and_again_is_given_up() {
    let policy = Restart::always().attempts(2);
    let builder = Channel::builder("exec:sh -c 'exit 9'").restart(policy);
    let child = PluginClient::new(builder.connect().await.unwrap());
    let last = eventually_async("it is given up", LIMIT, async || {
        let error = child.echo(1).await.unwrap_err();
        let sentence = error.to_string();
        assert!(
            sentence.contains("the child `sh` exited with code 9"),
            "{sentence}"
        );
        sentence
            .contains("short lives in a row it is given up")
            .then_some(error)
    });
    let (error, _) = last.await;
    assert_eq!(
        (error.code(), error.executed()),
        (Code::Disconnected, Executed::No)
    );
    assert!(error.to_string().contains("after 3 short lives"), "{error}");
}

#[tokio::test]
async fn a_child_heeds_sigterm_and_leaves_sigint_to_its_parent() {
    let child = spawn(&["serve"]).await;
    let pid = child.pid().await.unwrap();
    let running = tokio::spawn({
        let child = child.clone();
        async move { child.pause(5, Duration::from_millis(300)).await }
    });
    child.echo(1).await.unwrap();
    signal(pid, Signal::INT);
    child.echo(2).await.unwrap();
    signal(pid, Signal::TERM);
    assert_eq!(
        within("the call ends", LIMIT, running).await.unwrap(),
        Ok(5)
    );
    is_reaped(pid).await;
    let error = child.echo(3).await.unwrap_err();
    assert_eq!(error.executed(), Executed::No, "{error}");
}

/// The names of [`Client`](rpc_core::Client) are not taken from the methods of a service.
#[service]
trait Nursery {
    async fn spawn(&self, children: u32) -> u32;
    async fn over(&self) -> bool;
}

struct Tree;

impl Nursery for Tree {
    async fn spawn(&self, children: u32) -> u32 {
        children + 1
    }

    async fn over(&self) -> bool {
        false
    }
}

#[tokio::test]
async fn a_method_may_be_called_spawn() {
    let address = format!("memory:nursery-{}", std::process::id());
    let builder = Server::builder().service(NurseryServer::new(Tree));
    let _server = builder.listen(&address).start().await.unwrap();
    let nursery = NurseryClient::connect(&address).await.unwrap();
    assert_eq!(nursery.spawn(2).await, Ok(3));
    assert_eq!(nursery.over().await, Ok(false));
    // What all clients have is there all the same, by its full name.
    let child = <NurseryClient as rpc_core::Client>::spawn(plugin(&["serve"])).await;
    let error = child.unwrap().over().await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented, "{error}");
}

#[tokio::test]
async fn a_child_calls_its_parent_back() {
    let builder =
        Channel::builder_for(plugin(&["serve"])).service(PluginServer::new(Child::default()));
    let child = PluginClient::new(builder.connect().await.unwrap());
    assert_eq!(child.ask_back(11).await, Ok(Some(11)));
}
