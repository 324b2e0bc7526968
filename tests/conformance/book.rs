//! The log of a test, written by processes that serve for it.
//!
//! A process has one connection for what begins and what is gone, and one for each call that waits
//! at a gate. What it had begun is gone when it is.

use std::env;
use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream as StdStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::service::Log;

/// Names the log in the environment of a process.
pub(crate) const VARIABLE: &str = "CONFORMANCE_BOOK";

const BEGUN: u8 = b'b';
const GONE: u8 = b'g';
/// The first gate; the others follow.
const GATE: u8 = b'0';

/// The way to a log in another process.
#[derive(Debug)]
pub(crate) struct Book {
    name: String,
    stream: Mutex<StdStream>,
}

impl Book {
    /// That of the test that this process serves for, if it does.
    pub(crate) fn of_this_process() -> Option<Self> {
        let name = env::var(VARIABLE).ok()?;
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let stream = StdStream::connect_addr(&address).expect("the test listens");
        let stream = Mutex::new(stream);
        Some(Self { name, stream })
    }

    /// Returns when it is noted. A handler should not block, and for a test this is short.
    pub(crate) fn begin(&self) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = stream.write_all(&[BEGUN]);
        noted
            .and_then(|()| stream.read_exact(&mut [0]))
            .expect("the test takes notes");
    }

    pub(crate) fn gone(&self) {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        // The test may be over.
        let _ = stream.write_all(&[GONE]);
    }

    pub(crate) async fn pass(&self, gate: usize) {
        let passing = async {
            let mut stream = UnixStream::connect(format!("\0{}", self.name)).await?;
            stream.write_all(&[GATE + gate as u8]).await?;
            stream.read_u8().await
        };
        passing.await.expect("the test has gates");
    }
}

/// Lets other processes write into the log; its name. Must run within a tokio runtime.
pub(crate) fn share(log: Arc<Log>) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("conformance-book-{}-{number}", std::process::id());
    let listener = UnixListener::bind(format!("\0{name}")).expect("the name is free");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take_notes(stream, Arc::clone(&log)));
        }
    });
    name
}

async fn take_notes(mut stream: UnixStream, log: Arc<Log>) {
    let mut present = 0;
    while let Ok(note) = stream.read_u8().await {
        match note {
            BEGUN => {
                present += 1;
                log.begun.fetch_add(1, Ordering::SeqCst);
            }
            GONE => {
                present -= 1;
                log.gone.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            gate => log.pass(usize::from(gate - GATE)).await,
        }
        let _ = stream.write_all(&[0]).await;
    }
    log.gone.fetch_add(present, Ordering::SeqCst);
}
