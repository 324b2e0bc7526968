//! A server that is replaced while a call is under way (row 40).

use std::time::Duration;

use rpc_core::{Code, Executed};

use super::ledger::{Book, LedgerClient};
use super::proxy::Proxy;
use super::rng;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_40_a_call_sent_again_to_a_restarted_server_ends_as_maybe_and_does_not_run() {
    let book = Book::default();
    let server = book.serve("udp://127.0.0.1:0").await;
    let address = server.addresses()[0].clone();
    let proxy = Proxy::start(&address, 0, rng()).await;
    let client = LedgerClient::connect(&proxy.address).await.unwrap();
    assert_eq!(client.note(1).await, Ok(1));
    let call = tokio::spawn({
        let client = client.with_deadline(Duration::from_secs(60));
        async move { client.hang(2).await }
    });
    while book.count(2) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // It dies without a word: nothing of what it says last arrives.
    proxy.blackout(true);
    drop(server);
    let server = loop {
        let builder = rpc_core::Server::builder()
            .service(super::ledger::LedgerServer::new(book.clone()))
            .listen(&address);
        match builder.start().await {
            Ok(server) => break server,
            Err(error) => assert_eq!(error.code(), Code::InUse),
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    proxy.blackout(false);
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Disconnected, "{error}");
    assert_eq!(error.executed(), Executed::Maybe, "{error}");
    assert_eq!(book.count(2), 1, "it ran once, in the first server");
    assert_eq!(server.connections(), 0);
    // The client finds its way back by itself.
    assert_eq!(client.note(3).await, Ok(3));
}
