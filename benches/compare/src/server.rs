//! The server process: one peer at one place, until the parent has gone.

use std::thread;

use tokio::task::LocalSet;

use crate::control::{self, Said, Usage};
use crate::peers::ours::growth;
use crate::peers::{Peer, Place, ceiling, raw, with_callers};
use crate::process;
use crate::rows::Work;
use crate::task::Task;

/// Serves, and says what it has used up whenever it is asked.
pub(crate) fn run(task: Task) -> Result<(), String> {
    process::prepare(task.mode.server_cpu())?;
    thread::spawn(|| {
        while let Ok(Some(Said::Usage)) = control::hear() {
            if control::say(&Said::Used(Usage::now())).is_err() {
                break;
            }
        }
        // The parent has gone, and with it everybody who could want an answer.
        std::process::exit(0);
    });
    let row = task.row()?;
    let runtime = task.mode.runtime();
    LocalSet::new().block_on(&runtime, serve(task.peer, task.place, row.work))
}

async fn serve(peer: Peer, place: Place, work: Work) -> ! {
    let ready = |place| control::say(&Said::Ready(place)).expect("the parent listens");
    match work {
        Work::Methods { .. } => match growth::serve_methods(place, ready).await {},
        Work::Services { .. } => match growth::serve_services(place, ready).await {},
        _ => {}
    }
    match peer {
        Peer::Window => match ceiling::serve(place, ready).await {},
        Peer::Raw => match raw::serve(place, ready).await {},
        callers => with_callers!(callers, peer => match peer::serve(place, ready).await {}),
    }
}
