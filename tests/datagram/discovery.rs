//! A service that is called by datagrams, found by its name.

use matchmaker::{Config, Daemon};
use rpc_core::{Code, Executed, Server};

use super::ledger::{Book, LedgerClient, LedgerServer};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_by_datagrams_is_found_by_its_name_and_moves() {
    let daemon = Daemon::start(Config::listening_at(["tcp://127.0.0.1:0"]))
        .await
        .unwrap();
    let matchmaker = &daemon.addresses()[0];
    let book = Book::default();
    let serve = || async {
        Server::builder()
            .service(LedgerServer::new(book.clone()))
            .listen("udp://127.0.0.1:0")
            .register()
            .matchmaker(matchmaker)
            .start()
            .await
            .unwrap()
    };
    let first = serve().await;
    let name = format!("{}/Ledger", matchmaker.replace("tcp://", "mm://"));
    let client = LedgerClient::connect(&name).await.unwrap();
    assert_eq!(client.note(1).await, Ok(1));
    // Another takes over: calls go there as soon as the first one leaves.
    let _second = serve().await;
    assert!(first.shutdown(std::time::Duration::from_secs(20)).await);
    for number in 2..100 {
        assert_eq!(client.note(number).await, Ok(number));
    }
    assert_eq!(book.totals(), (99, 0));
    let error = client.echo(&[0; 5000]).await.unwrap_err();
    assert_eq!(error.code(), Code::TooLargeForDatagram);
    assert_eq!(error.executed(), Executed::No);
}
