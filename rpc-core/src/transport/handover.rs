//! A connection that changes hands between processes, before a byte of it was read.

use std::any::Any;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::net::{AddressFamily, getsockname};

use super::duplex::Duplex;
use super::fifo::{Deferred, Letter};
use super::{Conduit, tcp, unix};

/// A connection on its way to another process.
#[derive(Debug)]
pub(crate) enum Passage {
    /// Whoever has the socket has the connection.
    Socket(OwnedFd),
    /// The client of a well-known pipe, whose own pipes nobody has opened.
    Pair(Letter),
}

/// How a connection is handed over.
pub(crate) struct Handover {
    pub(crate) passage: Passage,
    /// To be kept until the connection is over.
    pub(crate) kept: Option<Arc<dyn Any + Send + Sync>>,
}

impl Conduit {
    /// The connection as another process can take it over. `None` if it cannot: it is neither a plain
    /// socket nor of a listener that [defers](super::Listener::defer).
    ///
    /// # Errors
    /// The system's, if no descriptor is left.
    pub(crate) fn hand_over(&self) -> Option<io::Result<Handover>> {
        if let Some(deferred) = self.io.as_any().downcast_ref::<Deferred>() {
            let (letter, claim) = deferred.hand_over();
            return Some(Ok(Handover {
                passage: Passage::Pair(letter),
                kept: Some(claim),
            }));
        }
        let socket = socket(self.io.as_any())?.try_clone_to_owned();
        Some(socket.map(|socket| Handover {
            passage: Passage::Socket(socket),
            kept: None,
        }))
    }

    /// Takes over a connection that another process accepted. Who is at the other end is asked of
    /// the system, as when it was accepted. Must run within a tokio runtime.
    ///
    /// # Errors
    /// The system's, or it is not a connection of a kind that is accepted here.
    pub(crate) fn take_over(passage: Passage) -> io::Result<Self> {
        let socket = match passage {
            Passage::Pair(letter) => return letter.open(),
            Passage::Socket(socket) => socket,
        };
        match getsockname(&socket)?.address_family() {
            AddressFamily::INET | AddressFamily::INET6 => tcp::take_over(socket.into()),
            AddressFamily::UNIX => unix::take_over(socket.into()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// What hangs up when the peer does, if it has a descriptor.
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        let stream = self.io.as_any();
        match stream.downcast_ref::<Duplex>() {
            Some(pipes) => Some(pipes.reader()),
            None => socket(stream),
        }
    }
}

/// The socket that a stream is, if it is one and nothing more.
fn socket(stream: &dyn Any) -> Option<BorrowedFd<'_>> {
    if let Some(stream) = stream.downcast_ref::<tcp::Stream>() {
        return stream.descriptor();
    }
    stream.downcast_ref::<unix::Stream>()?.descriptor()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::transport::Address;
    use crate::transport::tests::TempPath;

    #[tokio::test]
    async fn who_takes_a_connection_over_sees_the_same_peer() {
        let path = TempPath::new();
        let mut addresses = vec![
            "tcp://127.0.0.1:0".to_owned(),
            format!("unix:{}", path.as_str()),
        ];
        if cfg!(target_os = "linux") {
            addresses.push(format!("unix:@handover-{}", std::process::id()));
        }
        for address in addresses {
            let address: Address = address.parse().unwrap();
            let mut listener = address.listen(&Default::default()).await.unwrap();
            let here: Address = listener.address().parse().unwrap();
            let connector = here.connector(&Default::default()).unwrap();
            let speak = async {
                let mut client = connector.connect().await.unwrap();
                client.io.write_all(b"early").await.unwrap();
                client
            };
            let (mut client, accepted) = tokio::join!(speak, listener.accept());
            let accepted = accepted.unwrap();

            let handover = accepted.hand_over().unwrap().unwrap();
            let peer = accepted.peer.clone();
            drop(accepted);
            let mut taken = Conduit::take_over(handover.passage).unwrap();
            assert_eq!(taken.peer, peer);
            assert_eq!(taken.peer.to_string(), peer.to_string());
            let mut early = [0; 5];
            taken.io.read_exact(&mut early).await.unwrap();
            assert_eq!(&early, b"early");
            drop(taken);
            assert_eq!(
                client.io.read(&mut early).await.unwrap(),
                0,
                "nobody else has it"
            );
        }
    }

    #[tokio::test]
    async fn what_is_no_plain_socket_stays() {
        let (ours, _theirs) = tokio::io::duplex(1);
        let conduit = Conduit::new(ours, crate::transport::Peer::new("memory:a"));
        assert!(conduit.hand_over().is_none());
    }
}
