//! Everybody who sends to a listener: clients, each with a queue, and the rest, of whom nothing is
//! kept.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::ReadBuf;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Accepted, ROOM, Socket, is_loopback};
use crate::transport::{Conduit, Examined, Gate, Peer};

/// Sorts what arrives at the socket of a listener.
pub(super) struct Crowd {
    socket: Weak<Socket>,
    gate: Box<dyn Gate>,
    clients: HashMap<(SocketAddr, u64), Client>,
    incoming: mpsc::Sender<Conduit>,
    room: Vec<u8>,
    answer: Vec<u8>,
    /// When to look for clients that need not be remembered.
    sweep: Instant,
}

struct Client {
    /// Closed once nobody takes from the queue: the client is gone.
    queue: mpsc::Sender<Place>,
    came: Instant,
}

/// A datagram in the queue of a client.
pub(super) struct Place {
    datagram: Bytes,
    socket: Arc<Socket>,
}

impl Crowd {
    /// Datagrams that wait for one client: as many as it may have calls remembered. Those beyond are
    /// lost, and come again.
    const QUEUE: usize = 512;

    /// Bytes that wait for all clients: 16 MiB, so that a server which does not keep up loses
    /// datagrams and no memory.
    const WAITING_MAX: usize = 16 * 1024 * 1024;

    /// Clients that are there or gone a moment ago: 65,536, sixteen times as many as a server has
    /// connections. Those beyond are not let in.
    const CLIENTS_MAX: usize = 65_536;

    /// How often clients that need not be remembered are struck off.
    const SWEEP: Duration = Duration::from_secs(10);

    /// Datagrams in one turn: a flood must not starve the rest of the process.
    const TURN: usize = 64;

    /// How long the system is left alone after an error of its own.
    const PAUSE: Duration = Duration::from_millis(10);

    pub(super) fn new(
        socket: Weak<Socket>,
        gate: Box<dyn Gate>,
        incoming: mpsc::Sender<Conduit>,
    ) -> Self {
        Self {
            socket,
            gate,
            clients: HashMap::new(),
            incoming,
            room: vec![0; ROOM],
            answer: Vec::new(),
            sweep: Instant::now(),
        }
    }

    /// Sorts until the socket is gone. It holds the socket only while it looks at it, so that the
    /// last client or the listener closes it at once.
    pub(super) async fn run(mut self, mut gone: oneshot::Receiver<()>) {
        loop {
            let turn = poll_fn(|cx| {
                if Pin::new(&mut gone).poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                match self.socket.upgrade() {
                    Some(socket) => self.poll_turn(&socket, cx).map(Some),
                    None => Poll::Ready(None),
                }
            });
            match turn.await {
                None => return,
                Some(Ok(())) => tokio::task::yield_now().await,
                Some(Err(error)) => {
                    tracing::debug!(%error, "cannot receive datagrams; trying on");
                    tokio::time::sleep(Self::PAUSE).await;
                }
            }
        }
    }

    /// Takes what there is; ready when there is more, or the system failed.
    fn poll_turn(&mut self, socket: &Arc<Socket>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..Self::TURN {
            let mut buffer = ReadBuf::new(&mut self.room);
            let polled = socket.inner.poll_recv_from(cx, &mut buffer);
            let (length, is_whole) = (buffer.filled().len(), buffer.remaining() > 0);
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(from)) if is_whole => self.sort(socket, from, length),
                Poll::Ready(Ok(_)) => {}
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sees what the first `length` bytes in the room are.
    fn sort(&mut self, socket: &Arc<Socket>, from: SocketAddr, length: usize) {
        let datagram = self.room.get(..length).unwrap_or_default();
        let open = socket.listeners.load(Ordering::Relaxed) > 0 && !self.incoming.is_closed();
        self.answer.clear();
        let examined = self.gate.examine(from, open, datagram, &mut self.answer);
        if let Examined::Client { id, fresh } = examined {
            let datagram = Bytes::copy_from_slice(datagram);
            if self.pass(socket, (from, id), fresh && open, datagram) {
                return;
            }
        }
        // Whatever a gate says, nobody can be made to receive more than was sent in his name.
        if !self.answer.is_empty() && self.answer.len() <= length {
            let _ = socket.inner.try_send_to(&self.answer, from);
        }
    }

    /// Hands a datagram to its client, or makes the client; `false` if there is none.
    fn pass(
        &mut self,
        socket: &Arc<Socket>,
        key: (SocketAddr, u64),
        fresh: bool,
        datagram: Bytes,
    ) -> bool {
        let Some(place) = Place::take_up(socket, datagram) else {
            return true;
        };
        let is_full = self.clients.len() >= Self::CLIENTS_MAX;
        match self.clients.entry(key) {
            Entry::Occupied(entry) => match entry.get().queue.try_send(place) {
                Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => true,
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            },
            Entry::Vacant(_) if !fresh => false,
            Entry::Vacant(_) if is_full => {
                self.strike_off();
                true
            }
            Entry::Vacant(entry) => {
                // Where nobody takes clients in for the moment, this one will come again.
                let Ok(seat) = self.incoming.try_reserve() else {
                    return true;
                };
                let (queue, waiting) = mpsc::channel(Self::QUEUE);
                let _ = queue.try_send(place);
                let now = Instant::now();
                entry.insert(Client { queue, came: now });
                let to = key.0;
                let own = socket.inner.local_addr();
                let is_local = is_loopback(to) || own.is_ok_and(|own| own.ip() == to.ip());
                let accepted = Accepted {
                    socket: Arc::clone(socket),
                    to,
                    queue: waiting,
                };
                seat.send(Conduit::of_datagrams(
                    accepted,
                    Peer::socket("udp", to).with_local(is_local),
                ));
                self.strike_off();
                true
            }
        }
    }

    /// Strikes off clients that are gone and need not be remembered, now and then.
    fn strike_off(&mut self) {
        let now = Instant::now();
        if now < self.sweep {
            return;
        }
        self.sweep = now + Self::SWEEP;
        let memory = self.gate.memory();
        self.clients.retain(|_, client| {
            !client.queue.is_closed() || now.saturating_duration_since(client.came) < memory
        });
    }
}

impl Place {
    /// Room for a datagram, if there is any.
    fn take_up(socket: &Arc<Socket>, datagram: Bytes) -> Option<Self> {
        let bytes = datagram.len();
        let taken = socket
            .waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| {
                waiting
                    .checked_add(bytes)
                    .filter(|sum| *sum <= Crowd::WAITING_MAX)
            });
        taken.ok().map(|_| Self {
            datagram,
            socket: Arc::clone(socket),
        })
    }

    /// Makes the room free.
    pub(super) fn take(mut self) -> Bytes {
        let datagram = std::mem::take(&mut self.datagram);
        self.free(datagram.len());
        datagram
    }

    fn free(&self, bytes: usize) {
        self.socket.waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.free(self.datagram.len());
    }
}
