//! A server for one client: the process that started this one. Knows what a child owes its parent,
//! and when it is to end.

use super::ServerBuilder;
use crate::error::Error;
use crate::server::Server;
use crate::service::Service;

/// Serves one service to the process that started this one, over the standard input and output,
/// until that process is done with it: the child's side of `exec:` and of
/// [`Client::spawn`](crate::Client::spawn). It is all that the `main` of a plug-in needs:
///
/// ```no_run
/// # use rpc_core::{Error, service, serve_stdio};
/// # #[service]
/// # trait Calculator { async fn add(&self, a: i64, b: i64) -> i64; }
/// # struct Calc;
/// # impl Calculator for Calc { async fn add(&self, a: i64, b: i64) -> i64 { a + b } }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// serve_stdio(CalculatorServer::new(Calc)).await
/// # }
/// ```
///
/// [`ServerBuilder::serve_stdio`] says what it does, and does it with settings and several services.
///
/// # Errors
/// As there.
pub async fn serve_stdio(service: impl Service) -> Result<(), Error> {
    Server::builder().service(service).serve_stdio().await
}

impl ServerBuilder {
    /// Serves the process that started this one, over the standard input and output.
    ///
    /// - **Nothing comes between.** The two descriptors are taken away for good: what reads the
    ///   standard input from now on finds its end, and what is printed goes to the standard error.
    ///   What was printed before goes there too, as the parent passes it on.
    /// - **It ends with the connection.** When the parent closes it, handlers that run are dropped
    ///   and the future resolves; `main` should return soon, because the parent waits for a moment
    ///   only (2 s by default) before it kills.
    /// - **It ends with the parent.** If the parent dies, this process is killed a second later if it
    ///   is still there, even if all its threads compute.
    /// - **Signals.** SIGTERM drains: calls that run are finished, new ones are not executed. SIGINT is
    ///   ignored: a Ctrl-C at the terminal reaches the parent as well, and it is for the parent to
    ///   say when it needs its child no more.
    ///
    /// The builder may have other addresses besides; they are served as long.
    ///
    /// # Errors
    /// The standard input and output are not pipes; they are taken already; as
    /// [`start`](Self::start).
    #[cfg(unix)]
    pub async fn serve_stdio(self) -> Result<(), Error> {
        unix::serve(self).await
    }

    /// Not on this system.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(unix))]
    pub async fn serve_stdio(self) -> Result<(), Error> {
        self.listen("pipe:").start().await.map(drop)
    }
}

#[cfg(unix)]
mod unix {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use crate::error::{Code, Error};
    use crate::process::Parent;
    use crate::race::{Either, race};
    use crate::server::{DRAIN_GRACE, ServerBuilder, no_signals};
    use crate::signal::{ShutdownSignals, Signal};
    use crate::transport::pipe::{self, PipeListener};

    /// How long this process may outlive its parent: long enough to write a last line to a log.
    const ORPHAN_GRACE: Duration = Duration::from_secs(1);

    /// How long the rest of a server may take once the parent is done with it: less than the parent
    /// waits.
    const LEAVE_GRACE: Duration = Duration::from_secs(1);

    pub(super) async fn serve(builder: ServerBuilder) -> Result<(), Error> {
        let mut signals = ShutdownSignals::new().map_err(no_signals)?;
        let shared = Parent::whoever().and_then(|parent| match parent {
            Some(parent) => parent.outlive_it_by(ORPHAN_GRACE),
            None => Ok(()),
        });
        shared.map_err(|error| {
            Error::new(
                Code::Io,
                "the system cannot watch the parent of this process",
            )
            .with_source(error)
        })?;
        // After the parent is watched: one that died before has left the pipe.
        if pipe::is_deserted() {
            return Ok(());
        }
        let (connection, mut ended) = oneshot::channel::<()>();
        let listener = PipeListener::inherit(connection)?;
        let server = builder.listen_on(listener).start().await?;
        loop {
            match race(&mut ended, signals.recv()).await {
                Either::First(_) => {
                    server.shutdown(LEAVE_GRACE).await;
                    return Ok(());
                }
                Either::Second(signal) => match signal.map_err(no_signals)? {
                    Signal::Interrupt => tracing::debug!("SIGINT is for the parent: going on"),
                    Signal::Terminate => break,
                },
            }
        }
        if let Either::First(false) = race(server.shutdown(DRAIN_GRACE), signals.recv()).await {
            tracing::warn!("the grace time is over; the calls still running were dropped");
        }
        Ok(())
    }
}
