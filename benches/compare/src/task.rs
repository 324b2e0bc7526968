//! What a child process is told when it is started.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::mode::Mode;
use crate::peers::{Peer, Place};
use crate::rows::Row;

/// One row with one peer. Client and server are told the same.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    pub(crate) peer: Peer,
    pub(crate) mode: Mode,
    /// The name of a [`Row`].
    pub(crate) row: String,
    /// Where the server is to listen, and then where it listens.
    pub(crate) place: Place,
    /// How long the client measures.
    pub(crate) time: Duration,
}

impl Task {
    /// As an argument of the child.
    pub(crate) fn to_argument(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }

    /// From the argument of this process.
    pub(crate) fn parse(argument: &str) -> Result<Self, String> {
        serde_json::from_str(argument).map_err(|error| format!("{error} in {argument:?}"))
    }

    /// The row that is measured.
    pub(crate) fn row(&self) -> Result<&'static Row, String> {
        Row::named(&self.row).ok_or_else(|| format!("no row `{}`", self.row))
    }
}
