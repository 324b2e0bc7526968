//! What the processes of a test do for each other.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rpc_core::{Context, service};
use serde::{Deserialize, Serialize};

/// Work whose every run leaves a trace.
#[service(name = "test.Work")]
pub trait Work {
    /// Answers with its argument.
    async fn echo(&self, value: u64) -> u64;

    /// Answers after a pause with its argument.
    async fn pause(&self, value: u64, pause: Duration) -> u64;

    /// Writes `id` into the ledger, then waits, then answers with who did it.
    async fn record(&self, id: u64, pause: Duration) -> Done;

    /// Answers with the bytes in the opposite order.
    async fn reverse(&self, bytes: Vec<u8>) -> Vec<u8>;

    /// Has its caller echo `value`, over the connection that the call came by.
    async fn ask_back(&self, value: u64) -> Result<u64, String>;

    /// Who answers; it may be asked again after a failure.
    #[rpc(idempotent)]
    async fn pid(&self, pause: Duration) -> u32;

    /// Panics.
    async fn panic(&self, text: &str) -> u64;

    /// Who answers, and whom it believes to answer.
    async fn who(&self) -> Who;

    /// Works for `busy`, then asks the first of `path` to do the same with the rest of it. Each of
    /// them, the nearest first, says how much time it had when it began.
    async fn relay(&self, path: Vec<String>, busy: Duration) -> Vec<Duration>;

    /// Goes along `path`; at its end, notes `begun ID` in the ledger, waits for ever, and notes
    /// `dropped ID` when nobody wants it any more.
    async fn hang(&self, id: u64, path: Vec<String>);
}

/// A record was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was recorded.
    pub id: u64,
    /// The process that did it.
    pub pid: u32,
}

/// Both ends of a call, as the answering one sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The process that answers.
    pub pid: u32,
    /// The process that asked, if the kernel vouches for it.
    pub peer_pid: Option<u32>,
    /// The user that asked, if the kernel vouches for it.
    pub peer_uid: Option<u32>,
    /// The address of who asked.
    pub peer_address: String,
    /// The number of the connection.
    pub connection: u64,
}

/// A file that says what ran. A line is written in one piece and at the end of the file, so that
/// neither other writers nor the death of the process can tear it.
#[derive(Debug)]
pub struct Ledger {
    file: File,
}

impl Ledger {
    /// The ledger at `path`, old entries and all.
    ///
    /// # Errors
    /// The system's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file })
    }

    /// Adds an entry with the time.
    ///
    /// # Panics
    /// The disk is full or the like.
    pub fn note(&self, what: &str, id: u64) {
        let line = format!("{what} {id} {}\n", since_epoch().as_nanos());
        (&self.file)
            .write_all(line.as_bytes())
            .expect("the ledger takes an entry");
    }

    /// How often each id was noted as `what` in the ledgers at `paths`.
    ///
    /// # Panics
    /// One of them is not a ledger.
    pub fn count<P: AsRef<Path>>(what: &str, paths: &[P]) -> HashMap<u64, u32> {
        let mut counts = HashMap::new();
        for entry in paths.iter().flat_map(|path| entries(path.as_ref())) {
            if entry.what == what {
                *counts.entry(entry.id).or_default() += 1;
            }
        }
        counts
    }

    /// When `id` was noted as `what`, since 1970.
    pub fn time(path: &Path, what: &str, id: u64) -> Option<Duration> {
        entries(path)
            .into_iter()
            .find(|entry| entry.what == what && entry.id == id)
            .map(|entry| entry.time)
    }
}

struct Entry {
    what: String,
    id: u64,
    time: Duration,
}

fn entries(path: &Path) -> Vec<Entry> {
    // A service that has recorded nothing may have no file.
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    whole
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [what, id, time] = words[..] else {
                panic!("not an entry: {line}");
            };
            Entry {
                what: what.to_owned(),
                id: id.parse().expect("an id"),
                time: Duration::from_nanos(time.parse().expect("a time")),
            }
        })
        .collect()
}

/// The time that processes of one host have in common.
///
/// # Panics
/// The clock stands before 1970.
pub fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970")
}

/// The implementation, over a ledger where one is needed.
#[derive(Debug, Default)]
pub struct Worker {
    /// Where runs are noted.
    pub ledger: Option<Ledger>,
}

impl Worker {
    /// A worker that notes in the ledger at `path`.
    ///
    /// # Errors
    /// The system's.
    pub fn with_ledger(path: &Path) -> io::Result<Self> {
        Ok(Self {
            ledger: Some(Ledger::open(path)?),
        })
    }

    fn note(&self, what: &str, id: u64) {
        if let Some(ledger) = &self.ledger {
            ledger.note(what, id);
        }
    }
}

impl Work for Worker {
    async fn echo(&self, value: u64) -> u64 {
        value
    }

    async fn pause(&self, value: u64, pause: Duration) -> u64 {
        tokio::time::sleep(pause).await;
        value
    }

    async fn record(&self, id: u64, pause: Duration) -> Done {
        self.note("ran", id);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let pid = std::process::id();
        Done { id, pid }
    }

    async fn reverse(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.reverse();
        bytes
    }

    async fn ask_back(&self, value: u64) -> Result<u64, String> {
        let caller = Context::current().caller().expect("a call has a caller");
        let answer = WorkClient::new(caller).echo(value).await;
        answer.map_err(|error| error.to_string())
    }

    async fn pid(&self, pause: Duration) -> u32 {
        tokio::time::sleep(pause).await;
        std::process::id()
    }

    async fn panic(&self, text: &str) -> u64 {
        panic!("on purpose: {text}");
    }

    async fn who(&self) -> Who {
        let context = Context::current();
        let peer = context.peer().expect("a call has a peer");
        Who {
            pid: std::process::id(),
            peer_pid: peer.pid(),
            peer_uid: peer.uid(),
            peer_address: peer.address().to_owned(),
            connection: context.connection_id().expect("a call has a connection"),
        }
    }

    async fn relay(&self, mut path: Vec<String>, busy: Duration) -> Vec<Duration> {
        let left = Context::current()
            .time_left()
            .expect("a call has a deadline");
        tokio::time::sleep(busy).await;
        let mut times = vec![left];
        if !path.is_empty() {
            let next = WorkClient::connect_lazy(path.remove(0)).expect("an address");
            times.extend(next.relay(path, busy).await.expect("the next one answers"));
        }
        times
    }

    async fn hang(&self, id: u64, mut path: Vec<String>) {
        if !path.is_empty() {
            let next = WorkClient::connect_lazy(path.remove(0)).expect("an address");
            return next.hang(id, path).await.expect("the next one answers");
        }
        let _departure = Departure { worker: self, id };
        self.note("begun", id);
        std::future::pending().await
    }
}

/// Notes the end of a handler.
struct Departure<'a> {
    worker: &'a Worker,
    id: u64,
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        self.worker.note("dropped", self.id);
    }
}
