//! `memory:name`: connections within this process, for tests and for services that live beside
//! their clients.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{Conduit, Connector, Listener, Peer};
use crate::error::{Code, Error};

/// How many bytes wait in each direction before a write does: as many as in a pipe of Linux, and
/// one full frame.
const BUFFER: usize = 64 * 1024;

/// How many connections wait to be accepted before `connect` does; the usual backlog of a socket.
const BACKLOG: usize = 128;

/// Who listens, by name. A sender is there exactly as long as its listener lives.
static NAMES: LazyLock<Mutex<HashMap<String, mpsc::Sender<Conduit>>>> =
    LazyLock::new(Mutex::default);

fn names() -> MutexGuard<'static, HashMap<String, mpsc::Sender<Conduit>>> {
    // The map is whole after every statement under the lock, so a panic elsewhere spoils nothing.
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens connections to a name of this process.
pub(super) struct MemoryConnector {
    name: String,
    address: String,
}

impl MemoryConnector {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: format!("memory:{name}"),
        }
    }

    fn refused(&self) -> Error {
        Error::new(
            Code::Refused,
            "nothing in this process listens under the name",
        )
        .with_hint("start the server before the client, or check the name")
        .with_address(self.address.as_str())
    }
}

#[async_trait]
impl Connector for MemoryConnector {
    async fn connect(&self) -> Result<Conduit, Error> {
        let listener = names()
            .get(&self.name)
            .cloned()
            .ok_or_else(|| self.refused())?;
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        let place = listener.reserve().await.map_err(|_| self.refused())?;
        place.send(Conduit::new(theirs, peer(&self.address)));
        Ok(Conduit::new(ours, peer(&self.address)))
    }

    fn address(&self) -> &str {
        &self.address
    }
}

/// Hands out the connections to a name; the name is free again when it is dropped.
pub(super) struct MemoryListener {
    name: String,
    incoming: mpsc::Receiver<Conduit>,
}

impl MemoryListener {
    pub(super) fn bind(name: &str) -> Result<Self, Error> {
        let (sender, incoming) = mpsc::channel(BACKLOG);
        match names().entry(name.to_owned()) {
            Entry::Vacant(entry) => entry.insert(sender),
            Entry::Occupied(_) => {
                return Err(
                    Error::new(Code::InUse, "another server of this process has the name")
                        .with_hint("choose another name, or stop the other server first")
                        .with_address(format!("memory:{name}")),
                );
            }
        };
        Ok(Self {
            name: name.to_owned(),
            incoming,
        })
    }
}

impl Drop for MemoryListener {
    fn drop(&mut self) {
        // Whoever waits in the queue sees the end of file when the queue goes, right after.
        names().remove(&self.name);
    }
}

#[async_trait]
impl Listener for MemoryListener {
    async fn accept(&mut self) -> io::Result<Conduit> {
        // The registry holds a sender while this listener lives, so the queue has no end.
        self.incoming
            .recv()
            .await
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn address(&self) -> String {
        format!("memory:{}", self.name)
    }
}

/// The peer is this process itself.
fn peer(address: &str) -> Peer {
    let peer = Peer::new(address).with_local(true);
    #[cfg(unix)]
    let peer = peer.with_identity(super::Identity::process(
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
        Some(std::process::id()),
    ));
    peer
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn a_name_is_held_by_one_listener_until_it_is_dropped() {
        let listener = MemoryListener::bind("held").unwrap();
        let error = MemoryListener::bind("held").err().unwrap();
        assert_eq!(error.code(), Code::InUse);
        assert!(
            error.to_string().starts_with("memory:held: in use: "),
            "{error}"
        );
        drop(listener);
        MemoryListener::bind("held").unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_in_the_queue_of_a_dropped_listener_sees_the_end() {
        let listener = MemoryListener::bind("dropped").unwrap();
        let connector = MemoryConnector::new("dropped");
        let mut waiting = Vec::new();
        for _ in 0..BACKLOG {
            waiting.push(connector.connect().await.unwrap());
        }
        let one_more = connector.connect();
        tokio::pin!(one_more);
        assert!(
            futures_pending(&mut one_more).await,
            "the backlog has no bound"
        );

        drop(listener);
        assert_eq!(one_more.await.unwrap_err().code(), Code::Refused);
        for mut conduit in waiting {
            assert_eq!(conduit.io.read(&mut [0]).await.unwrap(), 0);
        }
    }

    async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|context| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(context).is_pending())
        })
        .await
    }
}
