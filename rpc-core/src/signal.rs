//! SIGINT and SIGTERM as something to wait for.
//!
//! The handlers write into anonymous pipes that the runtime reads. tokio's own `signal` feature is
//! not used, because with it building any runtime calls `socketpair(2)`, which sandboxes refuse.

use std::fmt;
#[cfg(unix)]
use std::future::poll_fn;
use std::io;
#[cfg(unix)]
use std::pin::pin;
#[cfg(unix)]
use std::task::Poll;

use crate::race::{Either, race};

/// A request of the system, or of the person at the terminal, to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// SIGINT: Ctrl-C at the terminal.
    Interrupt,
    /// SIGTERM: `kill`, or a service manager.
    Terminate,
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
        })
    }
}

/// The requests to stop that arrive while this value lives.
///
/// The first means "finish what you do, then stop", the second "stop now". Several values may exist
/// at a time, one after another or at once, and each sees every signal.
///
/// From the first value on, the two signals no longer end the process by themselves, not even when
/// the value is dropped: the system has no safe way back. Keep it as long as something is to be
/// stopped, and end the process soon after.
///
/// Where there are no such signals, [`recv`](Self::recv) waits for ever, and Ctrl-C does what the
/// system does with it.
#[derive(Debug)]
pub struct ShutdownSignals {
    #[cfg(unix)]
    interrupt: unix::Registration,
    #[cfg(unix)]
    terminate: unix::Registration,
}

impl ShutdownSignals {
    /// Starts to listen; a signal that arrives after this is not lost. Must run within a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// The system's, if it has no descriptors left for two pipes.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            interrupt: unix::Registration::new(signal_hook::consts::SIGINT)?,
            #[cfg(unix)]
            terminate: unix::Registration::new(signal_hook::consts::SIGTERM)?,
        })
    }

    /// Waits for the next signal. Cancel safe: a signal that was not returned is there for the next
    /// call.
    ///
    /// # Errors
    ///
    /// The system's, on reading a pipe; none is known to happen.
    pub async fn recv(&mut self) -> io::Result<Signal> {
        #[cfg(unix)]
        {
            let mut interrupt = pin!(self.interrupt.recv());
            let mut terminate = pin!(self.terminate.recv());
            poll_fn(|context| {
                if let Poll::Ready(result) = interrupt.as_mut().poll(context) {
                    return Poll::Ready(result.map(|()| Signal::Interrupt));
                }
                terminate
                    .as_mut()
                    .poll(context)
                    .map_ok(|()| Signal::Terminate)
            })
            .await
        }
        #[cfg(not(unix))]
        std::future::pending().await
    }

    /// Waits for the first signal, then runs `drain` to its end, or until a second signal means
    /// "now" and drops it. What `drain` returned, or `None` if it was dropped.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv); `drain` has not begun then.
    pub async fn drain<F: Future>(
        mut self,
        drain: impl FnOnce() -> F,
    ) -> io::Result<Option<F::Output>> {
        let signal = self.recv().await?;
        tracing::info!(%signal, "draining");
        match race(drain(), self.recv()).await {
            Either::First(output) => Ok(Some(output)),
            Either::Second(_) => {
                tracing::warn!("a second signal: stopping at once");
                Ok(None)
            }
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::io;

    use signal_hook::SigId;
    use signal_hook::low_level;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::unix::pipe::{Receiver, pipe};

    /// One signal, each arrival of which is one byte in a pipe.
    #[derive(Debug)]
    pub(super) struct Registration {
        id: SigId,
        arrivals: Receiver,
    }

    impl Registration {
        pub(super) fn new(signal: i32) -> io::Result<Self> {
            let (writer, arrivals) = pipe()?;
            // It never blocks, because a handler must not wait for a reader, and it is closed when
            // the registration ends.
            let id = low_level::pipe::register(signal, writer.into_nonblocking_fd()?)?;
            Ok(Self { id, arrivals })
        }

        /// Waits for one arrival. Cancel safe, as reading a single byte is.
        pub(super) async fn recv(&mut self) -> io::Result<()> {
            self.arrivals.read_u8().await.map(drop)
        }
    }

    impl Drop for Registration {
        fn drop(&mut self) {
            low_level::unregister(self.id);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process;

    use super::*;

    /// Signals concern the whole process, so these tests take turns.
    static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

    fn raise(signal: process::Signal) {
        process::kill_process(process::getpid(), signal).unwrap();
    }

    async fn is_pending(signals: &mut ShutdownSignals) -> bool {
        let mut recv = pin!(signals.recv());
        poll_fn(|context| Poll::Ready(recv.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn each_signal_is_told_by_name() {
        let _turn = TURN.lock().await;
        let mut signals = ShutdownSignals::new().unwrap();
        raise(process::Signal::TERM);
        assert_eq!(signals.recv().await.unwrap(), Signal::Terminate);
        raise(process::Signal::INT);
        assert_eq!(signals.recv().await.unwrap(), Signal::Interrupt);
        assert!(is_pending(&mut signals).await);
    }

    #[tokio::test]
    async fn a_second_signal_during_the_drain_is_seen() {
        let _turn = TURN.lock().await;
        let mut signals = ShutdownSignals::new().unwrap();
        raise(process::Signal::TERM);
        signals.recv().await.unwrap();
        let drain = std::future::pending::<()>();
        raise(process::Signal::TERM);
        tokio::select! {
            () = drain => unreachable!(),
            now = signals.recv() => assert_eq!(now.unwrap(), Signal::Terminate),
        }
    }

    #[tokio::test]
    async fn a_cancelled_wait_loses_no_signal() {
        let _turn = TURN.lock().await;
        let mut signals = ShutdownSignals::new().unwrap();
        assert!(is_pending(&mut signals).await);
        raise(process::Signal::INT);
        assert_eq!(signals.recv().await.unwrap(), Signal::Interrupt);
    }

    #[tokio::test]
    async fn several_values_each_see_every_signal_and_leave_nothing_behind() {
        let _turn = TURN.lock().await;
        let mut first = ShutdownSignals::new().unwrap();
        let mut second = ShutdownSignals::new().unwrap();
        raise(process::Signal::TERM);
        assert_eq!(first.recv().await.unwrap(), Signal::Terminate);
        assert_eq!(second.recv().await.unwrap(), Signal::Terminate);
        drop(first);
        raise(process::Signal::TERM);
        assert_eq!(second.recv().await.unwrap(), Signal::Terminate);
        drop(second);
        // Nobody listens, and nothing is kept for who comes next.
        raise(process::Signal::TERM);
        let mut third = ShutdownSignals::new().unwrap();
        assert!(is_pending(&mut third).await);
    }

    /// A drained process must be able to build its next runtime, and the other way round.
    #[test]
    fn it_works_in_one_runtime_after_another() {
        for _ in 0..3 {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let _turn = TURN.lock().await;
                let mut signals = ShutdownSignals::new().unwrap();
                raise(process::Signal::INT);
                assert_eq!(signals.recv().await.unwrap(), Signal::Interrupt);
            });
        }
    }
}
