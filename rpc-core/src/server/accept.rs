//! Takes connections in, at one address.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::Router;
use super::connections::{Connections, Origin};
use crate::cancellation::Cancellation;
use crate::driver::Link;
use crate::error::Code;
use crate::limits::Limits;
use crate::proto::Opening;
use crate::race::{Either, race};
use crate::transport::{AcceptBackoff, Conduit, Listener};

/// The loop over one listener. It ends when it is aborted, or told to stop and nobody comes any
/// more.
pub(super) struct Acceptor {
    pub(super) listener: Box<dyn Listener>,
    pub(super) stop: Cancellation,
    pub(super) terms: Arc<Terms>,
    pub(super) router: Arc<Router>,
    pub(super) connections: Arc<Connections>,
}

/// What every connection of a server has in common.
pub(super) struct Terms {
    pub(super) limits: Arc<Limits>,
    pub(super) opening: Arc<Opening>,
    pub(super) connections_max: usize,
    pub(super) connections_per_peer_max: usize,
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
        let origin = Origin::of(&conduit.peer);
        let terms = &self.terms;
        let refuse = if self.connections.len() >= terms.connections_max {
            Some("the server has all the connections that it allows")
        } else if self.connections.from(&origin) >= terms.connections_per_peer_max {
            Some("the server has all the connections that it allows to one peer")
        } else {
            None
        };
        let mut opening = Arc::clone(&terms.opening);
        if let Some(text) = refuse {
            Arc::make_mut(&mut opening).refuse = Some((Code::Overloaded, text));
        }
        let router = Arc::clone(&self.router) as _;
        let (link, driver) = Link::server(conduit, Arc::clone(&terms.limits), opening, router);
        self.connections.run(link, driver, origin);
    }
}
