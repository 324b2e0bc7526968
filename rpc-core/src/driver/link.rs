//! A handle to an open connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

#[cfg(feature = "udp")]
use super::datagrams::DatagramDriver;
use super::desk::Post;
use super::drive::Drive;
use super::incoming::Handler;
use super::now;
use super::outgoing::Outgoing;
use super::shared::Shared;
use super::task::Driver;
use crate::cancellation::Latch;
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::proto::{Call, Connection, Fault, Opening};
use crate::transport::{Conduit, Peer};
use crate::wire::Reply;

/// What transports tell a connection from noise by.
#[cfg(all(unix, feature = "pipes"))]
const _: () = assert!(crate::wire::MAGIC[0] == crate::transport::FIRST_BYTE);

/// A handle to an open connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    /// What the clones of a handle share beside the connection, if anything.
    tie: Option<Arc<Tie>>,
}

/// What the clones of a handle share beside the connection.
enum Tie {
    /// A client's connection ends with its last handle.
    Owner(Arc<Shared>),
    /// The peer is connected to another process, which passes on over this link what the two say to
    /// each other. Such a handle has no task: calls to the peer go over this link, too.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    Trunk(Link),
}

impl Link {
    /// Takes over, now, an open connection as its client. The returned driver must be spawned; it ends with
    /// the last handle.
    pub(crate) fn client(
        now: Instant,
        conduit: Conduit,
        limits: Arc<Limits>,
        opening: Arc<Opening>,
        handler: Option<Arc<dyn Handler>>,
    ) -> (Self, Drive) {
        let shared = Shared::new(conduit.peer, limits.queued_calls);
        let link = Self {
            shared: Arc::clone(&shared),
            tie: Some(Arc::new(Tie::Owner(Arc::clone(&shared)))),
        };
        #[cfg(feature = "udp")]
        if let Some(datagrams) = conduit.datagrams {
            let driver = DatagramDriver::client(shared, datagrams, limits, opening, handler);
            return (link, Drive::new(driver));
        }
        let events = conduit.has_events;
        let proto = Connection::client(now, Arc::clone(&limits), opening);
        let driver = Driver::new(now, shared, proto, conduit.io, handler, limits, events);
        (link, Drive::new(driver))
    }

    /// Takes over an accepted connection as its server. The returned driver must be spawned.
    pub(crate) fn server(
        conduit: Conduit,
        limits: Arc<Limits>,
        opening: Arc<Opening>,
        handler: Arc<dyn Handler>,
    ) -> (Self, Drive) {
        let shared = Shared::new(conduit.peer.clone(), limits.queued_calls);
        Self::serve(shared, conduit, limits, opening, handler)
    }

    /// As [`server`](Self::server), for a connection that another process has given the
    /// [`id`](Self::id).
    pub(crate) fn server_with_id(
        id: u64,
        conduit: Conduit,
        limits: Arc<Limits>,
        opening: Arc<Opening>,
        handler: Arc<dyn Handler>,
    ) -> (Self, Drive) {
        let shared = Shared::with_id(id, conduit.peer.clone(), limits.queued_calls);
        Self::serve(shared, conduit, limits, opening, handler)
    }

    fn serve(
        shared: Arc<Shared>,
        conduit: Conduit,
        limits: Arc<Limits>,
        opening: Arc<Opening>,
        handler: Arc<dyn Handler>,
    ) -> (Self, Drive) {
        let link = Self::without_owner(Arc::clone(&shared));
        #[cfg(feature = "udp")]
        if let Some(datagrams) = conduit.datagrams {
            let driver = DatagramDriver::server(shared, datagrams, limits, &opening, handler);
            return (link, Drive::new(driver));
        }
        let (now, events) = (now(), conduit.has_events);
        let proto = Connection::server(now, Arc::clone(&limits), opening);
        let driver = Driver::new(
            now,
            shared,
            proto,
            conduit.io,
            Some(handler),
            limits,
            events,
        );
        (link, Drive::new(driver))
    }

    /// A handle that does not keep the connection open.
    pub(super) fn without_owner(shared: Arc<Shared>) -> Self {
        Self { shared, tie: None }
    }

    /// A handle to `peer`, who is connected to the process at the other end of `trunk`. It ends by
    /// [`end`](Self::end).
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(crate) fn beyond(trunk: Self, peer: Peer) -> Self {
        Self {
            shared: Shared::new(peer, 0),
            tie: Some(Arc::new(Tie::Trunk(trunk))),
        }
    }

    /// The peer [beyond](Self::beyond) the trunk has gone.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(crate) fn end(&self) {
        self.shared().draining.store(true, Ordering::Relaxed);
        self.closed().cancel();
    }

    /// The link over which a peer [beyond](Self::beyond) it is reached.
    pub(crate) fn trunk(&self) -> Option<&Self> {
        match self.tie.as_deref() {
            #[cfg(all(target_os = "linux", feature = "patterns"))]
            Some(Tie::Trunk(trunk)) => Some(trunk),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Makes a call; its reply comes out of the returned future, which cancels the call when it is
    /// dropped. With `cx` it counts as polled once already, and is pending.
    ///
    /// # Errors
    /// The call does not run: the connection takes no new calls, or too many wait already. The handle
    /// comes back.
    pub(crate) fn call(self, call: Call) -> Result<Outgoing, (Self, Error)> {
        self.call_in(Duration::MAX, None, |place, _, token| {
            *place = Call { token, ..call };
        })
    }

    /// Makes a call that `write` writes in the place of nothing, who is told the time and its token. It
    /// is allowed so much time.
    pub(crate) fn call_in(
        self,
        allowed: Duration,
        cx: Option<&mut Context<'_>>,
        write: impl FnOnce(&mut Call, Instant, usize),
    ) -> Result<Outgoing, (Self, Error)> {
        match self.shared().call(allowed, cx, write) {
            Ok(token) => Ok(Outgoing::new(self, token)),
            Err(error) => Err((self, error)),
        }
    }

    /// Makes a call as [`call_in`](Self::call_in) does, for somebody who keeps the handle anyway: its
    /// reply comes out of [`poll_reply`](Self::poll_reply), or it must be [forgotten](Self::forget).
    #[inline]
    pub(crate) fn leave(
        &self,
        allowed: Duration,
        cx: &mut Context<'_>,
        write: impl FnOnce(&mut Call, Instant, usize),
    ) -> Result<usize, Error> {
        self.shared().call(allowed, Some(cx), write)
    }

    /// The reply of the call that was [left](Self::leave) under this token, once.
    #[inline]
    pub(crate) fn poll_reply(&self, token: usize, cx: &mut Context<'_>) -> Poll<Reply> {
        self.shared().poll_reply(token, cx)
    }

    /// Nobody waits for the call that was [left](Self::leave) under this token: it is cancelled.
    pub(crate) fn forget(&self, token: usize) {
        self.shared().forget(token);
    }

    /// Waits until the handshake is over. Cancel safe.
    ///
    /// # Errors
    /// Why it failed, or why the connection has ended since.
    pub(crate) async fn established(&self) -> Result<(), Error> {
        std::future::poll_fn(|cx| self.shared().poll_established(cx)).await
    }

    /// Whether this side has ended the connection, by its last handle or with its task.
    pub(crate) fn is_closed_here(&self) -> bool {
        matches!(self.shared().fault(), Some(Fault::Closed))
    }

    /// Why the connection has ended, if it has.
    pub(crate) fn fault(&self) -> Option<Error> {
        self.shared().fault().map(Fault::to_error)
    }

    /// Whether the runtime of the connection has several threads.
    pub(crate) fn has_threads(&self) -> bool {
        self.shared().has_threads()
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Peer {
        &self.shared().peer
    }

    /// A number that no other connection of this process has or had.
    pub(crate) fn id(&self) -> u64 {
        self.shared().id
    }

    /// The number of the codec that both sides agreed on, for who answers a call of the peer's with
    /// one of his own; `None` before the first such call.
    pub(crate) fn codec(&self) -> Option<u8> {
        let codec = self.shared().codec.load(Ordering::Relaxed);
        (codec != 0).then_some(codec)
    }

    /// Whether a new call has no chance here: the connection is closed, or one side is leaving.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared().draining.load(Ordering::Relaxed)
    }

    /// Calls of ours whose replies have not been taken.
    pub(crate) fn calls_in_flight(&self) -> usize {
        self.shared().calls_in_flight()
    }

    /// Takes no new calls of the peer's, finishes those that are here, and closes.
    pub(crate) fn go_away(&self, code: Code, text: &str) {
        self.shared().draining.store(true, Ordering::Relaxed);
        self.shared().post(Post::GoAway(code, text.to_owned()));
    }

    /// Ends the connection at once; all its calls end.
    pub(crate) fn close(&self) {
        self.shared().draining.store(true, Ordering::Relaxed);
        self.shared().post(Post::Close(Fault::Closed));
    }

    /// Ends the connection as soon as no call of ours is under way: nobody is going to make one.
    pub(crate) fn close_when_idle(&self) {
        self.shared().close_when_idle();
    }

    /// Ends the connection unless its handshake is over, as it may be before this is read.
    pub(crate) fn evict(&self) {
        self.shared().post(Post::Evict);
    }

    /// Fires when the connection has ended.
    pub(crate) fn closed(&self) -> &Latch {
        &self.shared().closed
    }

    /// Whether both are handles of one connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("peer", self.peer())
            .finish_non_exhaustive()
    }
}

impl Drop for Tie {
    fn drop(&mut self) {
        match self {
            Self::Owner(shared) => shared.post(Post::Close(Fault::Closed)),
            #[cfg(all(target_os = "linux", feature = "patterns"))]
            Self::Trunk(_) => {}
        }
    }
}
