//! What a side is given for itself: text that is no certificate is refused when it is given, with
//! what is wrong and where.

use std::fs;

use rpc_core::{Channel, ClientTls, Code, Error, Server, ServerTls};
use support::TempDir;
use support::certs::{Authority, as_it_is};
use support::work::{WorkServer, Worker};

use crate::pair::{client, server};

#[test]
fn row_52_what_is_no_certificate_is_refused_when_it_is_given() {
    let root = Authority::new("Root");
    let good = root.server(&["localhost"], as_it_is);
    let foreign = root.server(&["localhost"], as_it_is).key;
    let locked =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let half = &good.chain[..good.chain.len() / 2];
    let spoilt = good.chain.replacen("MI", "!!", 1);
    let noise = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let mut sentences = Vec::new();
    for (chain, key, words) in [
        (
            "",
            &good.key[..],
            "the certificate of this server: the PEM text is empty",
        ),
        (
            &good.chain,
            "\n \n",
            "the key of this server: the PEM text is empty",
        ),
        (
            half,
            &good.key,
            "the certificate of this server: a part of the PEM text has no end",
        ),
        (
            &spoilt,
            &good.key,
            "the certificate of this server: a part of the PEM text is not base64",
        ),
        (
            noise,
            &good.key,
            "the certificate of this server: it is not a certificate that can be read",
        ),
        (
            &good.key,
            &good.chain,
            "has no CERTIFICATE, but a PRIVATE KEY; check that certificate and key are not swapped",
        ),
        (
            &good.chain,
            &good.chain,
            "has no PRIVATE KEY, but a CERTIFICATE",
        ),
        ("good morning", &good.key, "-----BEGIN CERTIFICATE-----"),
        (
            &good.chain,
            &foreign,
            "it does not belong to the certificate dns:localhost (CN=localhost)",
        ),
        (
            &good.chain,
            locked,
            "the key of this server: the private key is encrypted; decrypt it with",
        ),
    ] {
        let error = ServerTls::from_pem(chain, key).unwrap_err();
        assert_eq!(error.code(), Code::Tls, "{error}");
        let text = error.to_string();
        assert!(text.contains(words), "{words}: {text}");
        assert!(!sentences.contains(&text), "{text}");
        sentences.push(text);
        // The same text is as little use to a client.
        assert!(ClientTls::new().own(chain, key).is_err(), "{words}");
    }
    for error in [
        client(&root.pem()).revoked(root.pem()).unwrap_err(),
        ClientTls::new()
            .revoked(root.revocations(&[], 2999))
            .unwrap_err(),
        ClientTls::new().ca(noise).unwrap_err(),
        ClientTls::new().server_name("no name").unwrap_err(),
        server(&good).client_ca("").unwrap_err(),
        server(&good).client_optional().unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::Tls, "{error}");
        assert!(!sentences.contains(&error.to_string()), "{error}");
        sentences.push(error.to_string());
    }
}

#[test]
fn a_file_is_named_with_what_is_wrong() {
    let directory = TempDir::new();
    let good = Authority::new("Root").server(&["localhost"], as_it_is);
    let (chain, key) = (directory.file("chain.pem"), directory.file("key.pem"));
    let missing = ServerTls::from_files(&chain, &key).unwrap_err().to_string();
    assert!(
        missing.contains(&format!("in {}: cannot be read", chain.display())),
        "{missing}"
    );
    fs::write(&chain, &good.chain).unwrap();
    fs::write(&key, "").unwrap();
    let empty = ServerTls::from_files(&chain, &key).unwrap_err().to_string();
    assert!(
        empty.contains(&format!("in {}: the PEM text is empty", key.display())),
        "{empty}"
    );
    fs::write(&key, &good.key).unwrap();
    ServerTls::from_files(&chain, &key).unwrap();
}

#[test]
fn keys_are_not_shown() {
    let good = Authority::new("Root").server(&["localhost"], as_it_is);
    let shown = format!("{:?}", server(&good));
    assert!(
        shown.contains("localhost") && !shown.contains("PRIVATE"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_server_needs_a_certificate() {
    let builder = Server::builder().service(WorkServer::new(Worker::default()));
    let error: Error = builder
        .listen("tls://127.0.0.1:0")
        .start()
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::Tls);
    let text = error.to_string();
    assert!(
        text.contains("needs a certificate; add `.tls(ServerTls::from_files("),
        "{text}"
    );
}

/// Without a line about whom to believe, it is the authorities of the system, in the files that its
/// environment names. Each part runs in a process of its own, because an environment is one.
#[tokio::test(flavor = "multi_thread")]
async fn the_authorities_of_the_system_are_the_default() {
    const CHILD: &str = "TLS_TEST_ADDRESS";
    if let Ok(address) = std::env::var(CHILD) {
        match Channel::connect(address).await {
            Ok(_) => println!("connected"),
            Err(error) => println!("refused: {error}"),
        }
        return;
    }
    let (root, directory) = (Authority::new("Root"), TempDir::new());
    let started = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tls://127.0.0.1:0")
        .tls(server(&root.server(&["127.0.0.1"], as_it_is)))
        .start();
    let started = started.await.unwrap();
    let address = started.addresses()[0].clone();
    let (right, wrong) = (directory.file("right.pem"), directory.file("wrong.pem"));
    fs::write(&right, root.pem()).unwrap();
    fs::write(&wrong, Authority::new("Other").pem()).unwrap();
    let nothing = directory.file("nothing.pem");
    for (file, words) in [
        (&right, "connected"),
        (
            &wrong,
            "comes from `CN=Root`, of whom neither this side trusts",
        ),
        (
            &nothing,
            "no certificate authorities to trust; name one with `ClientTls::ca_file`, set SSL_CERT_FILE",
        ),
    ] {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command
            .args([
                "--exact",
                "material::the_authorities_of_the_system_are_the_default",
                "--nocapture",
            ])
            .env(CHILD, &address)
            .env("SSL_CERT_FILE", file)
            .env_remove("SSL_CERT_DIR");
        let said = support::Process::run(&mut command).stdout;
        assert!(said.contains(words), "{words}: {said}");
    }
}
