//! The server process: one peer at one place, until the parent has gone.

use std::thread;

use tokio::task::LocalSet;

use crate::control::{self, Said, Usage};
use crate::mode::Mode;
use crate::peers::{Peer, Place, ceiling, raw, with_callers};
use crate::process;

/// What the process is told to do.
#[derive(clap::Args)]
pub(crate) struct Task {
    #[arg(long, value_enum)]
    peer: Peer,
    #[arg(long, value_enum)]
    mode: Mode,
    /// A [`Place`] in JSON.
    #[arg(long)]
    place: String,
}

/// Serves, and says what it has used up whenever it is asked.
pub(crate) fn run(task: Task) -> Result<(), String> {
    process::prepare(task.mode.server_cpu())?;
    let place = serde_json::from_str(&task.place).map_err(|error| error.to_string())?;
    thread::spawn(|| {
        while let Ok(Some(Said::Usage)) = control::hear() {
            if control::say(&Said::Used(Usage::now())).is_err() {
                break;
            }
        }
        // The parent has gone, and with it everybody who could want an answer.
        std::process::exit(0);
    });
    let runtime = task.mode.runtime();
    LocalSet::new().block_on(&runtime, serve(task.peer, place))
}

async fn serve(peer: Peer, place: Place) -> ! {
    let ready = |place| control::say(&Said::Ready(place)).expect("the parent listens");
    match peer {
        Peer::Window => match ceiling::serve(place, ready).await {},
        Peer::Raw => match raw::serve(place, ready).await {},
        callers => with_callers!(callers, peer => match peer::serve(place, ready).await {}),
    }
}
