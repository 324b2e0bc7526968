//! What a name leads to: the right version, by the nearest way.

use std::collections::HashSet;
use std::fs;

use rpc_core::{Channel, Code, Error, Server, service};
use support::work::WorkClient;
use support::{LIMIT, Matchmaker, TempDir, eventually_async, within};

use crate::program::{Plan, Service, matchmaker};

/// One service in two versions. The traits stand in modules of their own, as they would in two
/// releases of a crate.
mod first {
    #[rpc_core::service(name = "test.Greeter", version = "1.4.0")]
    pub(crate) trait Greeter {
        async fn greet(&self) -> String;
    }
}

mod second {
    #[rpc_core::service(name = "test.Greeter", version = "2.0.0")]
    pub(crate) trait Greeter {
        async fn greet(&self) -> String;
    }
}

#[derive(Clone)]
struct Polite(&'static str);

impl first::Greeter for Polite {
    async fn greet(&self) -> String {
        self.0.to_owned()
    }
}

impl second::Greeter for Polite {
    async fn greet(&self) -> String {
        self.0.to_owned()
    }
}

#[tokio::test]
async fn what_is_advertised_is_registered_instead_of_where_the_server_listens() {
    let matchmaker = matchmaker().await;
    let server = Server::builder()
        .service(first::GreeterServer::new(Polite("one")))
        .listen("tcp://127.0.0.1:0")
        .matchmaker(matchmaker.address())
        .advertise("tcp://gateway.example:7000")
        .register()
        .start()
        .await
        .unwrap();
    let (listed, _) = matchmaker.listed("test.Greeter", 1).await;
    let addresses: Vec<_> = listed[0].endpoints.iter().map(|e| &e.address).collect();
    assert_eq!(addresses, ["tcp://gateway.example:7000"]);
    assert_ne!(server.addresses(), ["tcp://gateway.example:7000"]);
}

#[tokio::test]
async fn a_version_requirement_leads_only_to_versions_that_meet_it() {
    let matchmaker = matchmaker().await;
    let builder = || {
        let builder = Server::builder().listen("tcp://127.0.0.1:0");
        builder.matchmaker(matchmaker.address()).register()
    };
    let old = first::GreeterServer::new(Polite("one"));
    let _old = builder().service(old).start().await.unwrap();
    let new = second::GreeterServer::new(Polite("two"));
    let _new = builder().service(new).start().await.unwrap();
    matchmaker.listed("test.Greeter", 2).await;

    for (requirement, expected) in [
        ("^1", vec!["one"]),
        (">=1.2, <2", vec!["one"]),
        ("^2", vec!["two"]),
        (">=1", vec!["one", "two"]),
    ] {
        let channel = greeter(&matchmaker, requirement).await.unwrap();
        let client = first::GreeterClient::new(channel);
        let mut heard = HashSet::new();
        for _ in 0..40 {
            heard.insert(client.greet().await.unwrap());
        }
        let expected = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(heard, expected, "{requirement}");
    }
    let nobody = greeter(&matchmaker, "^3").await.unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound, "{nobody}");
    let nonsense = greeter(&matchmaker, "about one").await.unwrap_err();
    assert!(nonsense.to_string().contains("about one"), "{nonsense}");
}

async fn greeter(matchmaker: &Matchmaker, requirement: &str) -> Result<Channel, Error> {
    let channel = Channel::builder("mm:test.Greeter")
        .matchmaker(matchmaker.address())
        .version(requirement);
    within("the answer is there", LIMIT, channel.connect()).await
}

#[tokio::test]
async fn a_unix_socket_is_preferred_on_the_same_host_and_says_who_calls() {
    let directory = TempDir::new();
    let matchmaker = matchmaker().await;
    let socket = directory.unix("work.sock");
    let _service = Service::start(Plan {
        listen: &["tcp://127.0.0.1:0", &socket],
        matchmaker: Some(&matchmaker),
        ledger: None,
    });
    let work = WorkClient::connect(matchmaker.name("test.Work"))
        .await
        .unwrap();
    let who = work.who().await.unwrap();
    assert_eq!(who.peer_pid, Some(std::process::id()));
    assert_eq!(who.peer_uid, Some(rustix::process::getuid().as_raw()));
    assert!(who.peer_address.starts_with("unix:"), "{who:?}");
}

#[tokio::test]
async fn tcp_is_taken_where_there_is_no_unix_socket_or_it_does_not_answer() {
    let directory = TempDir::new();
    let matchmaker = matchmaker().await;
    let socket = directory.unix("work.sock");
    let service = Service::start(Plan {
        listen: &["tcp://127.0.0.1:0", &socket],
        matchmaker: Some(&matchmaker),
        ledger: None,
    });
    fs::remove_file(directory.file("work.sock")).unwrap();
    let work = WorkClient::connect(matchmaker.name("test.Work"))
        .await
        .unwrap();
    let who = work.who().await.unwrap();
    assert_eq!(who.pid, service.process.id());
    assert_eq!((who.peer_pid, who.peer_uid), (None, None));
    assert!(who.peer_address.starts_with("tcp://127.0.0.1:"), "{who:?}");
}

#[tokio::test]
async fn calls_spread_over_all_instances_and_a_new_one_gets_its_share() {
    let matchmaker = matchmaker().await;
    let mut services = vec![
        Service::registered(&matchmaker, None),
        Service::registered(&matchmaker, None),
    ];
    let work = WorkClient::connect(matchmaker.name("test.Work"))
        .await
        .unwrap();
    for _ in 0..2 {
        let all: HashSet<u32> = services.iter().map(|s| s.process.id()).collect();
        let mut heard = HashSet::new();
        eventually_async("all instances answer", LIMIT, async || {
            heard.insert(work.who().await.unwrap().pid);
            (heard == all).then_some(())
        })
        .await;
        services.push(Service::registered(&matchmaker, None));
    }
}

#[tokio::test]
async fn a_client_that_is_dropped_leaves_nothing_at_the_matchmaker() {
    let matchmaker = matchmaker().await;
    let _service = Service::registered(&matchmaker, None);
    let asked = matchmaker.client();
    let watches = async |count: u64, what: &str| {
        eventually_async(what, LIMIT, async || {
            (asked.health().await.unwrap().watches == count).then_some(())
        })
        .await;
    };
    let clients = [(); 10].map(|()| WorkClient::connect_lazy(matchmaker.name("test.Work")));
    for client in &clients {
        client.as_ref().unwrap().echo(1).await.unwrap();
    }
    watches(10, "every client follows the name").await;
    drop(clients);
    watches(0, "nobody follows the name").await;
}

/// A contract of the same name that another program wrote.
#[service(name = "test.Work")]
#[allow(dead_code, reason = "only its client is used")]
trait Leisure {
    async fn rest(&self) -> u64;
}

#[tokio::test]
async fn a_method_that_the_service_does_not_have_is_an_error_that_names_what_it_offers() {
    let service = Service::start(Plan::default());
    let client = LeisureClient::connect(service.address()).await.unwrap();
    let error = client.rest().await.unwrap_err();
    assert_eq!(error.code(), Code::Unimplemented);
    assert_eq!(error.executed(), rpc_core::Executed::No);
    for part in ["test.Work.rest", service.address(), "Calculator, test.Work"] {
        assert!(error.to_string().contains(part), "no {part:?} in {error}");
    }
}
