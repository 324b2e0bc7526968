//! One client at a time: the basic server.

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::queue::{Denied, Place, Queue};
use super::{Host, Strategy};
use crate::cancellation::Cancellation;
use crate::driver::spawn;
use crate::error::{Code, Error};
use crate::race::{Either, race};
use crate::server::connections::SHUTTING_DOWN;
use crate::server::reception::{Guest, Reception};
use crate::service::BoxFuture;

/// One client at a time, at all addresses of the server together: the basic, or iterative, server.
///
/// **For** something that only one may use at a time, such as a device or a file that is written in
/// several calls: what a client does in one conversation is never mixed with what another does.
/// Calls of the *one* client still run side by side, as its connection allows.
///
/// **Costs** nothing beyond a connection. **Cannot** serve a second client while the first keeps its
/// connection open, busy or not: clients should connect, do their work, and drop their stub.
///
/// Further clients wait, unread, in a queue ([`waiting_max`](Self::waiting_max)) for at most
/// [`wait_max`](Self::wait_max). Who waits in vain is told [`Code::Overloaded`], and that none of
/// its calls ran ([`Executed::No`](crate::Executed::No)); the call of a client tries up to three times,
/// as its deadline allows. A well-known pipe is away during a conversation, so that its clients wait
/// outside. A conversation that lasts longer than
/// [`turn_max`](Self::turn_max) is ended in order: the client finishes its calls and comes again
/// by itself. A client that connects and says nothing keeps its turn for
/// [`Limits::handshake`](crate::Limits::handshake).
#[derive(Clone, Copy, Debug)]
pub struct Iterative {
    waiting_max: usize,
    wait_max: Duration,
    turn_max: Duration,
}

impl Iterative {
    /// Clients that wait for their turn: 128, the usual backlog of a socket.
    pub const WAITING_MAX: usize = 128;

    /// How long each of them does: 3 s, less than the 5 s that a client gives its handshake, so that
    /// it is told why it waited.
    pub const WAIT_MAX: Duration = Duration::from_secs(3);

    /// How long a client may keep its turn: 60 s, so that one that is connected for good does not
    /// keep out all others for good.
    pub const TURN_MAX: Duration = Duration::from_secs(60);

    /// One client at a time, with the defaults.
    pub fn new() -> Self {
        Self {
            waiting_max: Self::WAITING_MAX,
            wait_max: Self::WAIT_MAX,
            turn_max: Self::TURN_MAX,
        }
    }

    /// The most clients that wait for their turn; one more is refused at once. The default is
    /// [`WAITING_MAX`](Self::WAITING_MAX).
    #[must_use]
    pub fn waiting_max(mut self, clients: usize) -> Self {
        self.waiting_max = clients;
        self
    }

    /// How long a client waits for its turn before it is refused. The default is
    /// [`WAIT_MAX`](Self::WAIT_MAX).
    #[must_use]
    pub fn wait_max(mut self, wait: Duration) -> Self {
        self.wait_max = wait;
        self
    }

    /// How long a client keeps its turn before it is asked to leave. Its running calls finish, and
    /// it connects again for the next ones. The default is [`TURN_MAX`](Self::TURN_MAX).
    #[must_use]
    pub fn turn_max(mut self, turn: Duration) -> Self {
        self.turn_max = turn;
        self
    }
}

impl Default for Iterative {
    fn default() -> Self {
        Self::new()
    }
}

impl Strategy for Iterative {
    fn host(
        self: Box<Self>,
        reception: Arc<Reception>,
        _: Vec<String>,
    ) -> BoxFuture<Result<Arc<dyn Host>, Error>> {
        let turns = Turns {
            queue: Arc::new(Queue::new(1, self.waiting_max, self.wait_max)),
            turn_max: self.turn_max,
            leaving: reception.connections.leaving().clone(),
            closed: reception.connections.closed().clone(),
        };
        Box::pin(ready(Ok(Arc::new(turns) as Arc<dyn Host>)))
    }
}

/// Whose turn it is.
struct Turns {
    queue: Arc<Queue>,
    turn_max: Duration,
    /// The server begins to stop, and has stopped.
    leaving: Cancellation,
    closed: Cancellation,
}

impl Host for Turns {
    fn receive(&self, guest: Guest) {
        if let Some(turn) = self.queue.try_place() {
            spawn(converse(guest, turn, self.turn_max));
            return;
        }
        let (queue, turn_max) = (Arc::clone(&self.queue), self.turn_max);
        let (leaving, closed) = (self.leaving.clone(), self.closed.clone());
        spawn(async move {
            match race(leaving.cancelled(), queue.wait()).await {
                Either::First(()) if closed.is_cancelled() => {}
                Either::First(()) => guest.refuse(Code::Draining, SHUTTING_DOWN),
                Either::Second(Ok(turn)) => converse(guest, turn, turn_max).await,
                Either::Second(Err(Denied::Full)) => guest.refuse(Code::Overloaded, FULL),
                Either::Second(Err(Denied::Late)) => guest.refuse(Code::Overloaded, BUSY),
            }
        });
    }

    fn door(&self) -> Option<watch::Receiver<bool>> {
        Some(self.queue.free())
    }
}

const BUSY: &str = "the server is busy with another client";
const FULL: &str = "the server is busy with another client, and no more may wait for it";

/// Serves one client until it leaves, or has to make room for others.
async fn converse(guest: Guest, _turn: Place, turn_max: Duration) {
    let (link, seat) = guest.serve();
    let mut seat = std::pin::pin!(seat);
    if let Either::Second(()) = race(seat.as_mut(), tokio::time::sleep(turn_max)).await {
        link.go_away(Code::Draining, "it is the turn of other clients");
        seat.await;
    }
}
