//! What the handles of a connection and its task share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::cancellation::Cancellation;
use crate::proto::{ById, CallId, Connection, Fault};
use crate::transport::Peer;
use crate::wire::Reply;

pub(super) struct Shared {
    /// Distinguishes the connections of a process.
    pub(super) id: u64,
    pub(super) state: Mutex<State>,
    pub(super) peer: Peer,
    /// Fires when the connection has ended.
    pub(super) closed: Cancellation,
    /// Calls of unknown methods or shapes since the last of a known one.
    pub(super) strikes: AtomicU32,
    /// [`Limits::strays`](crate::Limits::strays)
    pub(super) strikes_max: u32,
}

pub(super) struct State {
    pub(super) proto: Connection,
    pub(super) calls: ById<Slot>,
    pub(super) running: HashMap<CallId, Cancellation>,
    /// Woken when something changed that the driver must act upon.
    pub(super) driver: Option<Waker>,
    /// Who waits for the handshake.
    pub(super) waiting: Vec<Waker>,
    /// Why the connection ended.
    pub(super) fault: Option<Fault>,
}

/// Where the reply of a call of ours will lie.
pub(super) enum Slot {
    Waiting(Option<Waker>),
    Done(Reply),
}

impl Shared {
    pub(super) fn new(proto: Connection, peer: Peer, strikes_max: u32) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            state: Mutex::new(State {
                proto,
                calls: ById::default(),
                running: HashMap::new(),
                driver: None,
                waiting: Vec::new(),
                fault: None,
            }),
            peer,
            closed: Cancellation::new(),
            strikes: AtomicU32::new(0),
            strikes_max,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug, but no reason for more panics in everyone else.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}
