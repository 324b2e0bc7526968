//! Takes connections in, at one address.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "patterns")]
use tokio::sync::watch;

use super::pattern::Host;
use super::reception::Reception;
use crate::cancellation::Cancellation;
use crate::race::{Either, race};
use crate::transport::{AcceptBackoff, AcceptFault, Listener};

/// The loop over one listener. It ends when it is aborted, or told to stop and nobody comes any
/// more, or if the listener will never bring anybody again.
pub(super) struct Acceptor {
    pub(super) listener: Box<dyn Listener>,
    pub(super) stop: Cancellation,
    pub(super) reception: Arc<Reception>,
    /// Who speaks with those that are let in.
    pub(super) host: Arc<dyn Host>,
}

impl Acceptor {
    /// How long nobody must have come before a listener is closed. Who waits in the system's queue
    /// when it closes has sent its first calls already and is never told that they did not run.
    const LAST_CALL: Duration = Duration::from_millis(10);

    pub(super) async fn run(mut self) {
        let mut trouble = Trouble::new(self.listener.address());
        // What the door is for, only such a server does.
        #[cfg(feature = "patterns")]
        let mut door = self.host.door();
        let stop = self.stop.clone();
        // One wait for all connections: each new one would be noted where it waits and struck off.
        let mut stopped = pin!(stop.cancelled());
        loop {
            let accepting = self.listener.accept();
            let accepted = if stop.is_cancelled() {
                match tokio::time::timeout(Self::LAST_CALL, accepting).await {
                    Ok(accepted) => accepted,
                    Err(_) => match self.close() {
                        None => return,
                        Some(open) => {
                            self = open;
                            continue;
                        }
                    },
                }
            } else {
                let coming = race(accepting, stopped.as_mut());
                #[cfg(not(feature = "patterns"))]
                match coming.await {
                    Either::First(accepted) => accepted,
                    Either::Second(()) => continue,
                }
                #[cfg(feature = "patterns")]
                match race(stands(&mut door, false), coming).await {
                    Either::Second(Either::First(accepted)) => accepted,
                    Either::First(()) if self.listener.suspend() => {
                        let opens = stands(&mut door, true);
                        if let Either::Second(()) = race(opens, stopped.as_mut()).await {
                            // Nobody can come.
                            while let Some(open) = self.close() {
                                self = open;
                                tokio::time::sleep(Self::LAST_CALL).await;
                            }
                            return;
                        }
                        while let Err(error) = self.listener.resume().await {
                            trouble.pause(&error).await;
                        }
                        continue;
                    }
                    Either::First(()) => {
                        // Its clients wait inside.
                        door = None;
                        continue;
                    }
                    Either::Second(Either::Second(())) => continue,
                }
            };
            match accepted {
                Ok(conduit) => {
                    trouble.is_over();
                    match self.reception.count_in(conduit) {
                        Some((guest, None)) => self.host.receive(guest),
                        Some((guest, Some(full))) => self.host.turn_away(guest, full),
                        None => {}
                    }
                }
                Err(error) if AcceptFault::of(&error) == AcceptFault::Broken => {
                    #[cfg(feature = "tracing")]
                    tracing::info!(
                        address = %self.listener.address(),
                        %error,
                        "nobody comes this way any more"
                    );
                    return;
                }
                Err(error) => trouble.pause(&error).await,
            }
        }
    }

    /// Closes the listener, unless a child is being started, which has a copy of it: whoever came
    /// while that was waited for would come for nothing.
    fn close(self) -> Option<Self> {
        #[cfg(all(unix, feature = "pipes"))]
        let Some(_stillness) = crate::process::stillness() else {
            return Some(self);
        };
        drop(self.listener);
        None
    }
}

/// Waits until the door stands so; for ever, where it always stands open.
#[cfg(feature = "patterns")]
async fn stands(door: &mut Option<watch::Receiver<bool>>, open: bool) {
    if let Some(door) = door {
        if door.wait_for(|is_open| *is_open == open).await.is_ok() {
            return;
        }
    }
    std::future::pending().await
}

/// What goes wrong with a listener, one time after another.
struct Trouble {
    address: String,
    backoff: AcceptBackoff,
    complained: bool,
}

impl Trouble {
    fn new(address: String) -> Self {
        Self {
            address,
            backoff: AcceptBackoff::new(),
            complained: false,
        }
    }

    /// Waits as long as the error asks for.
    async fn pause(&mut self, error: &io::Error) {
        let pause = self.backoff.pause(error);
        // One line for a shortage, not one for each attempt to get over it.
        if !pause.is_zero() && !std::mem::replace(&mut self.complained, true) {
            #[cfg(feature = "tracing")]
            tracing::warn!(address = %self.address, %error, "cannot accept connections; trying on");
        }
        tokio::time::sleep(pause).await;
    }

    fn is_over(&mut self) {
        self.backoff.succeeded();
        self.complained = false;
    }
}

#[cfg(all(test, unix))]
mod tests;
