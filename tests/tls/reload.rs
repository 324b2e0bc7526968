//! Certificates that are renewed while the server runs.

use std::fs;

use rpc_core::{Channel, ClientTls, Code, Error, Server, ServerTls};
use support::certs::{Authority, Issued, as_it_is};
use support::work::{WorkClient, WorkServer, Worker};
use support::{LIMIT, TempDir, within};

use crate::pair::client;

#[tokio::test]
async fn new_connections_use_the_new_certificate_and_old_ones_go_on() {
    let directory = TempDir::new();
    let (chain, key) = (directory.file("chain.pem"), directory.file("key.pem"));
    let write = |issued: &Issued| {
        fs::write(&chain, &issued.chain).unwrap();
        fs::write(&key, &issued.key).unwrap();
    };
    let (old, new) = (Authority::new("Old"), Authority::new("New"));
    write(&old.server(&["127.0.0.1"], as_it_is));
    let tls = ServerTls::from_files(&chain, &key).unwrap();
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tls://127.0.0.1:0")
        .tls(tls.clone())
        .start()
        .await
        .unwrap();
    let connect = async |tls: ClientTls| -> Result<WorkClient, Error> {
        let connecting = Channel::builder(&server.addresses()[0]).tls(tls).connect();
        Ok(WorkClient::new(
            within("connecting ends", LIMIT, connecting).await?,
        ))
    };
    let (knows_old, knows_new) = (client(&old.pem()), client(&new.pem()));
    let first = connect(knows_old.clone()).await.unwrap();

    // The new certificate is there and its key is not yet: nothing changes.
    let renewed = new.server(&["127.0.0.1"], as_it_is);
    fs::write(&chain, &renewed.chain).unwrap();
    let half = tls.reload().unwrap_err().to_string();
    assert!(
        half.contains("it does not belong to the certificate"),
        "{half}"
    );
    assert_eq!(
        connect(knows_old.clone())
            .await
            .unwrap()
            .echo(1)
            .await
            .unwrap(),
        1
    );

    write(&renewed);
    tls.reload().unwrap();
    assert_eq!(
        first.echo(2).await.unwrap(),
        2,
        "the old connection goes on"
    );
    assert_eq!(
        connect(knows_new.clone())
            .await
            .unwrap()
            .echo(3)
            .await
            .unwrap(),
        3
    );
    let error = connect(knows_old.clone()).await.err().unwrap();
    assert_eq!(error.code(), Code::Tls, "{error}");

    // What is not in files is replaced as a whole, on either side.
    let issued = old.server(&["127.0.0.1"], as_it_is);
    tls.replace(&ServerTls::from_pem(issued.chain, issued.key).unwrap());
    assert_eq!(
        connect(knows_old.clone())
            .await
            .unwrap()
            .echo(4)
            .await
            .unwrap(),
        4
    );
    knows_new.replace(&knows_old);
    assert_eq!(connect(knows_new).await.unwrap().echo(5).await.unwrap(), 5);
}

#[tokio::test]
async fn a_revocation_counts_from_the_next_connection_on() {
    let directory = TempDir::new();
    let (root, list) = (Authority::new("Root"), directory.file("revoked.pem"));
    fs::write(&list, root.revocations(&[], 2999)).unwrap();
    let issued = root.server(&["127.0.0.1"], as_it_is);
    let own = root.workload("spiffe://tests/client", |params| {
        params.serial_number = Some(7.into())
    });
    let tls = ServerTls::from_pem(issued.chain, issued.key).unwrap();
    let tls = tls
        .client_ca(root.pem())
        .unwrap()
        .revoked_file(&list)
        .unwrap();
    let server = Server::builder()
        .service(WorkServer::new(Worker::default()))
        .listen("tls://127.0.0.1:0")
        .tls(tls.clone())
        .start()
        .await
        .unwrap();
    let showing = client(&root.pem()).own(own.chain, own.key).unwrap();
    let connect = || {
        Channel::builder(&server.addresses()[0])
            .tls(showing.clone())
            .connect()
    };
    let before = WorkClient::new(connect().await.unwrap());

    fs::write(&list, root.revocations(&[7], 2999)).unwrap();
    tls.reload().unwrap();
    assert_eq!(before.echo(1).await.unwrap(), 1);
    // The same client, which TLS could have let come back by a ticket.
    let error = connect().await.unwrap_err();
    assert!(error.to_string().contains("was revoked"), "{error}");
}
