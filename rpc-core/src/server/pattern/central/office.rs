//! What the main server answers to a subserver that asks for itself.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::contract::{Card, Failure, Main, Program, Setup};
use super::hub::Clients;
use crate::driver::Link;
use crate::error::{Code, Error};
use crate::server::connections::Origin;
use crate::server::reception::{Full, Reception};

/// How far a subserver has come.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    Starting,
    /// It takes clients.
    Serving,
    /// It cannot.
    Failed(Error),
}

/// The answers to one subserver.
pub(super) struct Office {
    pub(super) setup: Setup,
    pub(super) clients: Arc<Clients>,
    pub(super) reception: Arc<Reception>,
    /// The trunk that this is asked over, from its first moment on.
    pub(super) trunk: Arc<OnceLock<Link>>,
    pub(super) progress: watch::Sender<Progress>,
}

impl Main for Office {
    async fn begin(&self, program: &Program) -> Result<Setup, String> {
        match self.setup.services.is_part_of(program) {
            Ok(()) => Ok(self.setup.clone()),
            Err(text) => {
                let error = Error::new(
                    Code::Skew,
                    format!("a subserver is not the program of the main server: {text}"),
                );
                let hint = "give it the program that builds the same services";
                self.progress
                    .send_replace(Progress::Failed(error.with_hint(hint)));
                Err(text)
            }
        }
    }

    async fn serving(&self, failure: Option<Failure>) {
        self.progress.send_replace(match failure {
            None => Progress::Serving,
            Some(failure) => Progress::Failed(failure.to_error()),
        });
    }

    async fn admit(&self, card: &Card) -> Result<u64, Full> {
        let peer = card.peer();
        let origin = Origin::of(&peer);
        if let Some(full) = self.reception.full(&origin) {
            return Err(full);
        }
        let trunk = self.trunk.get().ok_or(Full::All)?;
        let membership = self.reception.connections.enter(origin);
        Ok(self.clients.enter(trunk.clone(), peer, membership))
    }

    async fn left(&self, client: u64) {
        self.clients.leave(client);
    }
}
