//! A handle to an open connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use super::incoming::Handler;
use super::now;
use super::outgoing::Outgoing;
use super::state::{Shared, Slot};
use super::task::Driver;
use crate::cancellation::Cancellation;
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::proto::{Call, Connection, Fault, Opening, Terms};
use crate::transport::{Conduit, Peer};

/// A handle to an open connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    pub(super) shared: Arc<Shared>,
    /// A client's connection ends with its last handle.
    pub(super) _owner: Option<Arc<Owner>>,
}

impl Link {
    /// Takes over an open connection as its client and starts its driver, which ends with the last
    /// handle. Must run within a tokio runtime.
    pub(crate) fn client(
        conduit: Conduit,
        limits: Limits,
        opening: Opening,
        handler: Option<Arc<dyn Handler>>,
    ) -> Self {
        let proto = Connection::client(now(), limits, opening);
        let shared = Shared::new(proto, conduit.peer, limits.strays);
        tokio::spawn(Driver::new(
            Arc::clone(&shared),
            conduit.io,
            handler,
            limits,
        ));
        Self {
            _owner: Some(Arc::new(Owner(Arc::clone(&shared)))),
            shared,
        }
    }

    /// Takes over an accepted connection as its server. The returned driver must be spawned.
    pub(crate) fn server(
        conduit: Conduit,
        limits: Limits,
        opening: Opening,
        handler: Arc<dyn Handler>,
    ) -> (Self, Driver) {
        let proto = Connection::server(now(), limits, opening);
        let shared = Shared::new(proto, conduit.peer, limits.strays);
        let driver = Driver::new(Arc::clone(&shared), conduit.io, Some(handler), limits);
        (
            Self {
                shared,
                _owner: None,
            },
            driver,
        )
    }

    /// Makes a call; its reply comes out of the returned future, which cancels the call when it is
    /// dropped.
    pub(crate) fn call(&self, call: Call) -> Result<Outgoing, Error> {
        let mut state = self.shared.lock();
        let id = state.proto.call(now(), call)?;
        state.calls.insert(id, Slot::Waiting(None));
        state.wake_driver();
        drop(state);
        Ok(Outgoing {
            link: self.clone(),
            id: Some(id),
        })
    }

    /// Waits until the handshake is over. Cancel safe.
    ///
    /// # Errors
    /// Why it failed, or why the connection has ended since.
    pub(crate) async fn established(&self) -> Result<Terms, Error> {
        std::future::poll_fn(|cx| {
            let mut state = self.shared.lock();
            if let Some(fault) = &state.fault {
                return Poll::Ready(Err(fault.to_error()));
            }
            match state.proto.terms() {
                Some(terms) => Poll::Ready(Ok(*terms)),
                None => {
                    if !state
                        .waiting
                        .iter()
                        .any(|waker| waker.will_wake(cx.waker()))
                    {
                        state.waiting.push(cx.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// What was agreed in the handshake, once it is over.
    pub(crate) fn terms(&self) -> Option<Terms> {
        self.shared.lock().proto.terms().copied()
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// A number that no other connection of this process has or had.
    pub(crate) fn id(&self) -> u64 {
        self.shared.id
    }

    /// Whether a new call has no chance here: the connection is closed, or one side is leaving.
    pub(crate) fn is_draining(&self) -> bool {
        self.shared.lock().proto.is_draining()
    }

    /// Calls of ours that have not ended.
    pub(crate) fn calls_in_flight(&self) -> usize {
        self.shared.lock().proto.calls_in_flight()
    }

    /// Takes no new calls of the peer's, finishes those that are here, and closes.
    pub(crate) fn go_away(&self, code: Code, text: &str) {
        let mut state = self.shared.lock();
        state.proto.go_away(code, text);
        state.wake_driver();
    }

    /// Ends the connection at once; all its calls end.
    pub(crate) fn close(&self) {
        let mut state = self.shared.lock();
        state.proto.close(Fault::Closed);
        state.wake_driver();
    }

    /// Fires when the connection has ended.
    pub(crate) fn closed(&self) -> &Cancellation {
        &self.shared.closed
    }

    /// The peer called a method or with shapes that do not exist; after too many in a row it is cut
    /// off, because it is not looking for anything.
    pub(crate) fn strike(&self) {
        let strikes = self.shared.strikes.fetch_add(1, Ordering::Relaxed);
        if strikes >= self.shared.strikes_max {
            let mut state = self.shared.lock();
            state.proto.close(Fault::Violation(
                "too many calls in a row of unknown methods or shapes",
            ));
            state.wake_driver();
        }
    }

    /// The peer called a method that exists.
    pub(crate) fn forgive(&self) {
        self.shared.strikes.store(0, Ordering::Relaxed);
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

/// Ends a client's connection when the last handle is dropped.
pub(super) struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.proto.close(Fault::Closed);
        state.wake_driver();
    }
}
