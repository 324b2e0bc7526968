//! A service that knows how often each call ran.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rpc_core::{Server, service};

#[service]
pub(crate) trait Ledger {
    /// Notes the number, and returns it.
    async fn note(&self, number: u64) -> u64;
    /// The same after a while.
    async fn note_slowly(&self, number: u64) -> u64;
    /// Notes the number, and never returns.
    async fn hang(&self, number: u64);
    async fn echo(&self, bytes: &[u8]) -> Vec<u8>;
    async fn make(&self, length: u64) -> Vec<u8>;
}

/// How often each number was noted. Cheap to clone; all clones are one, whatever becomes of servers.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<HashMap<u64, u32>>>);

impl Book {
    pub(crate) fn count(&self, number: u64) -> u32 {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        book.get(&number).copied().unwrap_or_default()
    }

    /// Numbers that were noted, and those among them that were noted more than once.
    pub(crate) fn totals(&self) -> (usize, usize) {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (
            book.len(),
            book.values().filter(|count| **count > 1).count(),
        )
    }

    fn write(&self, number: u64) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *book.entry(number).or_default() += 1;
    }

    /// A server that writes into the book.
    pub(crate) async fn serve(&self, address: &str) -> Server {
        Server::builder()
            .service(LedgerServer::new(self.clone()))
            .connections_per_peer_max(2000)
            .listen(address)
            .start()
            .await
            .expect("the server starts")
    }
}

impl Ledger for Book {
    async fn note(&self, number: u64) -> u64 {
        self.write(number);
        number
    }

    async fn note_slowly(&self, number: u64) -> u64 {
        self.write(number);
        tokio::time::sleep(Duration::from_millis(number % 50)).await;
        number
    }

    async fn hang(&self, number: u64) {
        self.write(number);
        std::future::pending().await
    }

    async fn echo(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    async fn make(&self, length: u64) -> Vec<u8> {
        vec![7; usize::try_from(length).unwrap_or_default()]
    }
}
