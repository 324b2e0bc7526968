//! A subserver, as the main server sees it: its trunk and its clients. Knows nothing of how its
//! process came to be.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::contract::{MainServer, Setup, SubserverClient};
use super::hub::{Clients, Hub};
use super::office::{Office, Progress};
use super::trunk;
use crate::client::Channel;
use crate::driver::{Link, spawn};
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::server::connections::Membership;
use crate::server::reception::Reception;
use crate::server::{Router, ServerBuilder};
use crate::transport::{Conduit, Peer};

/// The main server's end of one trunk. Dropping it ends the trunk, and with it the subserver.
pub(super) struct Branch {
    trunk: Link,
    clients: Arc<Clients>,
    progress: watch::Receiver<Progress>,
}

impl Branch {
    /// Takes over the trunk to a subserver that was just started.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub(super) fn grow(
        conduit: Conduit,
        setup: Setup,
        reception: &Arc<Reception>,
    ) -> Result<Self, Error> {
        let clients = Arc::new(Clients::new());
        let own = Arc::new(OnceLock::new());
        let (progress, reached) = watch::channel(Progress::Starting);
        let office = Office {
            setup,
            clients: Arc::clone(&clients),
            reception: Arc::clone(reception),
            trunk: Arc::clone(&own),
            progress,
        };
        let office = Router::new(
            vec![Arc::new(MainServer::new(office))],
            ServerBuilder::CALLS_MAX,
            ServerBuilder::BUFFERS_MAX,
            Limits::default(),
        )?;
        let hub = Hub {
            router: Arc::clone(&reception.router),
            office: Arc::new(office),
            clients: Arc::clone(&clients),
        };
        let (trunk, driver) = trunk::main(conduit, Arc::new(hub));
        let _ = own.set(trunk.clone());
        let orphans = Orphans(Arc::clone(&clients));
        spawn(async move {
            driver.await;
            drop(orphans);
        });
        Ok(Self {
            trunk,
            clients,
            progress: reached,
        })
    }

    /// Waits until the subserver takes clients. Cancel safe.
    ///
    /// # Errors
    /// It is another program, or it has ended.
    pub(super) async fn ready(&self) -> Result<(), Error> {
        let mut progress = self.progress.clone();
        let begun = |progress: &Progress| !matches!(progress, Progress::Starting);
        match progress.wait_for(begun).await.as_deref() {
            Ok(Progress::Failed(error)) => Err(error.clone()),
            Ok(_) => Ok(()),
            Err(_) => {
                let text = "a subserver ended before it served";
                Err(Error::new(Code::Disconnected, text))
            }
        }
    }

    /// Counts a client in that is sent there; its number.
    pub(super) fn enter(&self, peer: Peer, membership: Membership) -> u64 {
        self.clients.enter(self.trunk.clone(), peer, membership)
    }

    /// It did not get there.
    pub(super) fn leave(&self, client: u64) {
        self.clients.leave(client);
    }

    /// Clients of the subserver.
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Has the subserver take no more calls and close its doors. Its clients leave when their calls
    /// are done.
    pub(super) async fn drain(&self) {
        // One that cannot be told has no clients any more.
        let _ = SubserverClient::new(Channel::over(self.trunk.clone()))
            .drain()
            .await;
    }

    /// Ends the trunk, and with it the subserver.
    pub(super) fn end(&self) {
        self.trunk.close();
    }

    /// Waits until the trunk has ended. Cancel safe.
    pub(super) async fn ended(&self) {
        self.trunk.closed().cancelled().await;
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        self.end();
    }
}

/// The clients of a trunk that has ended, however it did, have gone.
struct Orphans(Arc<Clients>);

impl Drop for Orphans {
    fn drop(&mut self) {
        self.0.clear();
    }
}
