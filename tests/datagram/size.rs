//! What fits a datagram, and what becomes of the rest (row 41).

use rpc_core::{Code, Executed};

use super::ledger::{Book, LedgerClient};

/// Bytes that a list takes beside its own.
const LENGTH: usize = 8;

#[tokio::test]
async fn row_41_a_request_has_1132_bytes_and_a_value_1175() {
    let book = Book::default();
    let server = book.serve("udp://127.0.0.1:0").await;
    let client = LedgerClient::connect(&server.addresses()[0]).await.unwrap();
    let fits = vec![1; 1132 - LENGTH];
    assert_eq!(client.echo(&fits).await, Ok(fits.clone()));
    let over = vec![1; 1133 - LENGTH];
    let error = client.echo(&over).await.unwrap_err();
    assert_eq!(error.code(), Code::TooLargeForDatagram, "{error}");
    assert_eq!(error.executed(), Executed::No);

    let fits = 1175 - LENGTH as u64;
    assert_eq!(client.make(fits).await.map(|made| made.len()), Ok(1167));
    let error = client.make(fits + 1).await.unwrap_err();
    assert_eq!(error.code(), Code::TooLargeForDatagram, "{error}");
    assert_eq!(error.executed(), Executed::Yes);
    assert!(error.to_string().contains("use tcp://"), "{error}");
    assert_eq!(client.note(1).await, Ok(1), "the rest goes on");
}
