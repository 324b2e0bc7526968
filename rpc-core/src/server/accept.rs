//! Takes connections in, at one address.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::reception::Reception;
use crate::cancellation::Cancellation;
use crate::race::{Either, race};
use crate::transport::{AcceptBackoff, Conduit, Listener};

/// The loop over one listener. It ends when it is aborted, or told to stop and nobody comes any
/// more.
pub(super) struct Acceptor {
    pub(super) listener: Box<dyn Listener>,
    pub(super) stop: Cancellation,
    pub(super) reception: Arc<Reception>,
}

impl Acceptor {
    /// How long nobody must have come before a listener is closed. Who waits in the system's queue
    /// when it closes has sent its first calls already and is never told that they did not run.
    const LAST_CALL: Duration = Duration::from_millis(10);

    pub(super) async fn run(mut self) {
        let mut backoff = AcceptBackoff::new();
        let mut complained = false;
        let stop = self.stop.clone();
        // One wait for all connections: each new one would be noted where it waits and struck off.
        let mut stopped = pin!(stop.cancelled());
        loop {
            let accepting = self.listener.accept();
            let accepted = if stop.is_cancelled() {
                match tokio::time::timeout(Self::LAST_CALL, accepting).await {
                    Ok(accepted) => accepted,
                    Err(_) => return,
                }
            } else {
                match race(accepting, stopped.as_mut()).await {
                    Either::First(accepted) => accepted,
                    Either::Second(()) => continue,
                }
            };
            match accepted {
                Ok(conduit) => {
                    backoff.succeeded();
                    complained = false;
                    self.take_in(conduit);
                }
                Err(error) => {
                    let pause = backoff.pause(&error);
                    // One line for a shortage, not one for each attempt to get over it.
                    if !pause.is_zero() && !std::mem::replace(&mut complained, true) {
                        let address = self.listener.address();
                        tracing::warn!(%address, %error, "cannot accept connections; trying on");
                    }
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    fn take_in(&self, conduit: Conduit) {
        if let Some(guest) = self.reception.admit(conduit) {
            tokio::spawn(guest.serve().1);
        }
    }
}
