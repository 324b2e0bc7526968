//! Clear text stays on this host unless somebody says otherwise, whichever way it is asked for.

use std::process::Command;

use rpc_core::transport::{ConnectOptions, ListenOptions};
use rpc_core::{Address, Channel, Code, Error, Executed, Server, serve};
use support::work::{WorkClient, WorkServer, Worker};
use support::{LIMIT, Process, within};

use crate::program::{MATCHMAKER, matchmaker};

/// For documentation (RFC 5737): nobody is there, so whoever dials it waits.
const ELSEWHERE: &str = "tcp://192.0.2.7:7000";

fn is_refused<T>(what: &str, result: Result<T, Error>, address: &str) {
    let error = result.err().unwrap_or_else(|| panic!("{what} is allowed"));
    assert_eq!(error.code(), Code::Insecure, "{what}: {error}");
    assert_eq!(error.executed(), Executed::No, "{what}");
    let text = error.to_string();
    let secure = address.replace("tcp://", "tls://");
    for part in [address, &secure, "`.insecure()`"] {
        assert!(text.contains(part), "{what}: {text}");
    }
}

fn work() -> WorkServer<Worker> {
    WorkServer::new(Worker::default())
}

#[tokio::test]
async fn a_client_does_not_send_clear_text_to_another_host() {
    is_refused("connect", WorkClient::connect(ELSEWHERE).await, ELSEWHERE);
    is_refused(
        "connect_lazy",
        WorkClient::connect_lazy(ELSEWHERE),
        ELSEWHERE,
    );
    let address: Address = ELSEWHERE.parse().unwrap();
    is_refused(
        "connector",
        address.connector(&ConnectOptions::new()),
        ELSEWHERE,
    );
    Channel::builder(ELSEWHERE)
        .insecure()
        .connect_lazy()
        .unwrap();
}

#[tokio::test]
async fn a_server_does_not_take_clear_text_from_other_hosts() {
    for wildcard in ["tcp://0.0.0.0:0", "tcp://[::]:0"] {
        is_refused("serve", serve(wildcard, work()).await, wildcard);
        let builder = Server::builder().service(work()).listen(wildcard);
        is_refused("start", builder.start().await, wildcard);
        let address: Address = wildcard.parse().unwrap();
        is_refused(
            "listen",
            address.listen(&ListenOptions::new()).await,
            wildcard,
        );
    }

    let builder = Server::builder().service(work()).listen("tcp://0.0.0.0:0");
    let server = builder.insecure().start().await.unwrap();
    let here = server.addresses()[0].replace("0.0.0.0", "127.0.0.1");
    let client = WorkClient::connect(here).await.unwrap();
    assert_eq!(client.echo(5).await.unwrap(), 5);
}

#[tokio::test]
async fn an_address_from_the_matchmaker_is_held_to_the_same() {
    let matchmaker = matchmaker().await;
    let _server = Server::builder()
        .service(work())
        .listen("tcp://127.0.0.1:0")
        .matchmaker(matchmaker.address())
        .advertise(ELSEWHERE)
        .register()
        .start()
        .await
        .unwrap();
    matchmaker.listed("test.Work", 1).await;
    let name = matchmaker.name("test.Work");
    let found = within("the name is resolved", LIMIT, WorkClient::connect(&name)).await;
    is_refused("a registered address", found, ELSEWHERE);
}

#[tokio::test]
async fn so_is_the_address_of_the_matchmaker() {
    let builder = Server::builder()
        .service(work())
        .listen("tcp://127.0.0.1:0");
    let started = builder.matchmaker(ELSEWHERE).register().start().await;
    is_refused("register", started, ELSEWHERE);

    let builder = Channel::builder("mm:test.Work").matchmaker(ELSEWHERE);
    is_refused("discover", builder.connect().await, ELSEWHERE);
}

#[tokio::test]
async fn the_matchmaker_is_told_by_flag_or_environment() {
    let run = |line: &[&str], insecure: Option<&str>| {
        let mut command = Command::new(MATCHMAKER);
        command.args(line).env_remove("MATCHMAKER_INSECURE");
        command.envs(insecure.map(|value| ("MATCHMAKER_INSECURE", value)));
        command
    };
    let serve = ["serve", "--listen", "tcp://0.0.0.0:0"];
    for line in [&serve[..], &["list", "--matchmaker", ELSEWHERE]] {
        let refused = Process::run(&mut run(line, None));
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains("--insecure"), "{}", refused.stderr);
        let unclear = Process::run(&mut run(line, Some("perhaps")));
        assert_eq!(unclear.code, Some(2), "{}", unclear.stderr);
    }

    for (line, insecure) in [
        (
            &["--insecure", "serve", "--listen", "tcp://0.0.0.0:0"][..],
            None,
        ),
        (&serve[..], Some("1")),
    ] {
        let daemon = Process::spawn(&mut run(line, insecure));
        let address = daemon.line("the matchmaker listens", |line| {
            let port = line.split_once("tcp://0.0.0.0:")?.1;
            Some(format!("tcp://127.0.0.1:{}", port.trim()))
        });
        let health = Process::run(&mut run(&["health", "--matchmaker", &address], None));
        assert_eq!(health.code, Some(0), "{}", health.stderr);
    }
}
