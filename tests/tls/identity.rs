//! Who is there: clients refuse a server that is not the service, servers know their clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use matchmaker::{Config, Daemon};
use rpc_core::discovery::MatchmakerClient;
use rpc_core::discovery::matchmaker::{Endpoint, Registration, RegistryError};
use rpc_core::transport::ConnectOptions;
use rpc_core::{CallError, Channel, Code, Context, Executed, Server, service};
use support::certs::{Authority, as_it_is};
use support::{LIMIT, Matchmaker, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::pair::{client, server};

/// What only some may do.
#[service(name = "test.Vault")]
trait Vault {
    /// Who asks.
    async fn who(&self) -> Option<String>;
    /// For the treasurer alone.
    async fn open(&self) -> Result<u64, String>;
}

struct Guarded;

const TREASURER: &str = "spiffe://tests/treasurer";

impl Vault for Guarded {
    async fn who(&self) -> Option<String> {
        Context::current().peer()?.identity().name()
    }

    async fn open(&self) -> Result<u64, String> {
        let context = Context::current();
        let peer = context.peer().ok_or("there is no peer")?;
        match peer
            .certificate()
            .and_then(|certificate| certificate.spiffe())
        {
            Some(TREASURER) => Ok(42),
            _ => Err(format!("{} may not", peer.identity())),
        }
    }
}

#[tokio::test]
async fn row_53_a_server_decides_by_identity_what_a_client_may_do() {
    let root = Authority::new("Root");
    let issued = root.workload("spiffe://tests/vault", as_it_is);
    let tls = server(&issued)
        .client_ca(root.pem())
        .unwrap()
        .client_optional()
        .unwrap();
    let builder = Server::builder().service(VaultServer::new(Guarded));
    let vault = builder
        .listen("tls://127.0.0.1:0")
        .tls(tls)
        .start()
        .await
        .unwrap();
    for (id, expected) in [
        (Some(TREASURER), Ok(42)),
        (
            Some("spiffe://tests/clerk"),
            Err("spiffe://tests/clerk (CN=clerk) may not"),
        ),
        (None, Err("nobody that the transport vouches for may not")),
    ] {
        let mut tls = client(&root.pem());
        if let Some(id) = id {
            let own = root.workload(id, as_it_is);
            tls = tls.own(own.chain, own.key).unwrap();
        }
        let channel = Channel::builder(&vault.addresses()[0])
            .tls(tls)
            .expect_identity("spiffe://tests/vault")
            .connect();
        let client = VaultClient::new(channel.await.unwrap());
        assert_eq!(client.who().await.unwrap().as_deref(), id);
        let opened = client.open().await;
        assert_eq!(
            opened,
            expected.map_err(|text| CallError::Service(text.to_owned()))
        );
    }
}

/// Counts what passes from clients to the server behind it, once their handshake is over.
struct Tap {
    address: String,
    passed: Arc<AtomicUsize>,
}

impl Tap {
    async fn before(address: &str) -> Self {
        let behind = address.replace("tls://", "");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("tls://{}", listener.local_addr().unwrap());
        let passed = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&passed);
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(&behind).await.unwrap();
                let (mut from_client, mut to_client) = near.into_split();
                let (mut from_server, mut to_server) = far.into_split();
                tokio::spawn(
                    async move { tokio::io::copy(&mut from_server, &mut to_client).await },
                );
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
                        count.fetch_add(read, Ordering::Relaxed);
                        if to_server.write_all(&buffer[..read]).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, passed }
    }
}

/// The service has moved, and its address belongs to another one, whose certificate is good. What a
/// client sends there is its hello of TLS and the alert with which it hangs up, and no more.
#[tokio::test]
async fn row_53_another_service_at_the_address_gets_no_byte_of_a_call() {
    let matchmaker = Matchmaker::start(env!("CARGO_BIN_EXE_test-matchmaker")).await;
    let root = Authority::new("Root");
    let vault = root.workload("spiffe://tests/vault", as_it_is);
    let mail = root.workload("spiffe://tests/mail", as_it_is);
    let start = |issued| {
        let builder = Server::builder().service(VaultServer::new(Guarded));
        let builder = builder.listen("tls://127.0.0.1:0").tls(server(issued));
        builder.matchmaker(matchmaker.address())
    };
    let find = || {
        let builder = Channel::builder(matchmaker.name("test.Vault"));
        builder.tls(client(&root.pem()))
    };

    // Found by its name and by nothing else: the certificate has no name of a host.
    let honest = start(&vault).register().start().await.unwrap();
    let (listed, _) = matchmaker.listed("test.Vault", 1).await;
    assert_eq!(
        listed[0].endpoints[0].identity.as_deref(),
        Some("spiffe://tests/vault")
    );
    let channel = within("it is found", LIMIT, find().connect())
        .await
        .unwrap();
    assert_eq!(
        VaultClient::new(channel)
            .open()
            .await
            .unwrap_err()
            .executed(),
        Executed::Yes
    );
    drop(honest);
    matchmaker.listed("test.Vault", 0).await;

    // What the registry says counts, and so does what the client says on top of it.
    let impostor = start(&mail).register().start().await.unwrap();
    matchmaker.listed("test.Vault", 1).await;
    let pinned = find().expect_identity("spiffe://tests/vault");
    let refused = within("the dial ends", LIMIT, pinned.connect())
        .await
        .err()
        .unwrap();
    assert_eq!(
        (refused.code(), refused.executed()),
        (Code::Unauthenticated, Executed::No)
    );
    let text = refused.to_string();
    assert!(
        text.contains("spiffe://tests/vault must be there, and spiffe://tests/mail"),
        "{text}"
    );

    // And on the wire: nothing behind the hello but an alert.
    let tap = Tap::before(&impostor.addresses()[0]).await;
    let options = ConnectOptions::new().tls(client(&root.pem()));
    let connect = async |options: ConnectOptions| {
        let address: rpc_core::Address = tap.address.parse().unwrap();
        let before = tap.passed.load(Ordering::Relaxed);
        let connected = address.connector(&options).unwrap().connect().await;
        // The end of the connection has passed the tap when everything before it has.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        (
            connected.map(|_| ()),
            tap.passed.load(Ordering::Relaxed) - before,
        )
    };
    let (connected, whole) = connect(options.clone().expect_identity("spiffe://tests/mail")).await;
    connected.unwrap();
    let (refused, hello) = connect(options.expect_identity("spiffe://tests/vault")).await;
    refused.unwrap_err();
    println!("a refusal sends {hello} bytes, a handshake {whole}");
    assert!(
        hello < whole,
        "the refusal of {hello} bytes holds more than a hello and an alert"
    );
}

#[tokio::test]
async fn the_name_of_the_service_may_stand_in_the_identity() {
    let root = Authority::new("Root");
    let issued = root.workload("spiffe://tests/test.Vault", as_it_is);
    let builder = Server::builder().service(VaultServer::new(Guarded));
    let vault = builder
        .listen("tls://127.0.0.1:0")
        .tls(server(&issued))
        .start()
        .await
        .unwrap();
    let nameless =
        Channel::builder(&vault.addresses()[0]).expect_identity("spiffe://tests/{service}");
    assert_eq!(
        nameless.connect_lazy().unwrap_err().code(),
        Code::InvalidAddress
    );

    let matchmaker = Matchmaker::start(env!("CARGO_BIN_EXE_test-matchmaker")).await;
    let builder = Server::builder().service(VaultServer::new(Guarded));
    let builder = builder.listen("tls://127.0.0.1:0").tls(server(&issued));
    let _found = builder
        .matchmaker(matchmaker.address())
        .register()
        .start()
        .await
        .unwrap();
    matchmaker.listed("test.Vault", 1).await;
    let channel = Channel::builder(matchmaker.name("test.Vault"))
        .tls(client(&root.pem()))
        .expect_identity("spiffe://tests/{service}")
        .connect();
    let channel = within("it is found", LIMIT, channel).await.unwrap();
    VaultClient::new(channel).who().await.unwrap();
}

/// A fleet that trusts no network: the matchmaker is asked over TLS as well, and tells its registrants
/// apart by their certificates.
#[tokio::test]
async fn the_matchmaker_may_be_behind_tls_too() {
    let root = Authority::new("Root");
    let issued = |id: &str| root.workload(id, as_it_is);
    let showing = |id: &str| {
        let own = issued(id);
        client(&root.pem())
            .own(own.chain, own.key)
            .unwrap()
            .server_name("localhost")
            .unwrap()
    };
    let mut config = Config::listening_at(["tls://127.0.0.1:0"]);
    let own = root.server(&["localhost"], as_it_is);
    config.tls = Some(server(&own).client_ca(root.pem()).unwrap());
    let daemon = Daemon::start(config).await.unwrap();
    let start = async |id: &str| {
        let builder = Server::builder().service(VaultServer::new(Guarded));
        let builder = builder.listen("tls://127.0.0.1:0").tls(server(&issued(id)));
        let builder = builder
            .matchmaker(&daemon.addresses()[0])
            .matchmaker_tls(showing(id));
        builder.register().start().await
    };
    let _vault = start("spiffe://tests/vault").await.unwrap();

    let find = |tls| {
        let builder = Channel::builder("mm:test.Vault").matchmaker(&daemon.addresses()[0]);
        builder.tls(tls).connect()
    };
    let found = within("it is found", LIMIT, find(showing("spiffe://tests/guest")))
        .await
        .unwrap();
    VaultClient::new(found).who().await.unwrap();
    let stranger = client(&root.pem()).server_name("localhost").unwrap();
    let error = within("it is refused", LIMIT, find(stranger))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Tls, "{error}");

    // The record belongs to whoever registered it, and not to the next one with a certificate.
    let asking = |id| {
        let builder = Channel::builder(&daemon.addresses()[0]).tls(showing(id));
        async { MatchmakerClient::new(builder.connect().await.unwrap()) }
    };
    let mail = asking("spiffe://tests/mail").await;
    let listed = mail.list(None).await.unwrap().instances;
    let vault = listed
        .iter()
        .find(|listed| listed.offer.name == "test.Vault")
        .unwrap();
    let mut stolen = Registration::new(vault.instance, vault.host.clone(), 1);
    stolen.incarnation = vault.incarnation + 1;
    stolen.services = vec![vault.offer.clone()];
    stolen.endpoints = vec![Endpoint::new("tls://192.0.2.7:7000")];
    let refused = mail.register(&stolen).await.unwrap_err();
    let refused = refused.into_service().expect("the registry refuses it");
    assert!(
        matches!(refused, RegistryError::NotOwner { .. }),
        "{refused}"
    );
    let own = asking("spiffe://tests/vault").await;
    own.register(&stolen).await.unwrap();
}
