//! The services under test, and what their handlers leave behind for a test to look at.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rpc_core::{Code, Context, service};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

#[cfg(target_os = "linux")]
use super::book::Book;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) x: i32,
    pub(crate) y: i32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum MathError {
    DivisionByZero { dividend: i64 },
}

/// Every form that an argument may have; each method gives back what it was given.
#[service]
pub(crate) trait Forms {
    async fn text(&self, text: &str) -> String;
    async fn slice(&self, bytes: &[u8]) -> Vec<u8>;
    async fn numbers(&self, numbers: &[u64]) -> Vec<u64>;
    async fn reference(&self, point: &Point) -> Point;
    async fn option(&self, text: Option<&str>) -> Option<String>;
    async fn cow(&self, text: Cow<'_, str>) -> String;
    async fn tuple(&self, tuple: (&str, u8, (bool, char))) -> (String, u8, (bool, char));
    async fn owned(&self, bytes: Vec<u8>) -> Vec<u8>;
    async fn nothing(&self);
    #[allow(clippy::too_many_arguments)]
    async fn sixteen(
        &self,
        a: u8,
        b: i8,
        c: u16,
        d: i16,
        e: u32,
        f: i32,
        g: u64,
        h: i64,
        i: u128,
        j: i128,
        k: f32,
        l: f64,
        m: bool,
        n: char,
        o: &str,
        p: &[u8],
    ) -> String;
}

pub(crate) struct Mirror;

impl Forms for Mirror {
    async fn text(&self, text: &str) -> String {
        // What is borrowed from the request stays there while the handler waits.
        tokio::task::yield_now().await;
        text.to_owned()
    }
    async fn slice(&self, bytes: &[u8]) -> Vec<u8> {
        tokio::task::yield_now().await;
        bytes.to_vec()
    }
    async fn numbers(&self, numbers: &[u64]) -> Vec<u64> {
        numbers.to_vec()
    }
    async fn reference(&self, point: &Point) -> Point {
        point.clone()
    }
    async fn option(&self, text: Option<&str>) -> Option<String> {
        text.map(str::to_owned)
    }
    async fn cow(&self, text: Cow<'_, str>) -> String {
        text.into_owned()
    }
    async fn tuple(&self, tuple: (&str, u8, (bool, char))) -> (String, u8, (bool, char)) {
        (tuple.0.to_owned(), tuple.1, tuple.2)
    }
    async fn owned(&self, bytes: Vec<u8>) -> Vec<u8> {
        bytes
    }
    async fn nothing(&self) {}
    async fn sixteen(
        &self,
        a: u8,
        b: i8,
        c: u16,
        d: i16,
        e: u32,
        f: i32,
        g: u64,
        h: i64,
        i: u128,
        j: i128,
        k: f32,
        l: f64,
        m: bool,
        n: char,
        o: &str,
        p: &[u8],
    ) -> String {
        format!("{a} {b} {c} {d} {e} {f} {g} {h} {i} {j} {k} {l} {m} {n} {o} {p:?}")
    }
}

/// Calls that take time, fail, nest, look around and call back.
#[service]
pub(crate) trait Work {
    async fn add(&self, a: i64, b: i64) -> i64;
    async fn divide(&self, a: i64, b: i64) -> Result<i64, MathError>;
    /// Returns when the test opens the gate.
    async fn pass_gate(&self, gate: usize) -> usize;
    /// Never returns by itself.
    async fn hang(&self);
    async fn panics(&self);
    async fn make(&self, length: u64) -> Vec<u8>;
    async fn length(&self, bytes: &[u8]) -> u64;
    /// The milliseconds that the call has left.
    async fn time_left(&self) -> Option<u64>;
    async fn metadata(&self, key: &str) -> Option<Vec<u8>>;
    async fn peer(&self) -> Option<(String, Option<u32>, Option<u32>)>;
    /// [`Work::time_left`] of the next server, after so many milliseconds.
    async fn next_time_left(&self, after_ms: u64) -> Result<Option<u64>, String>;
    async fn next_metadata(&self, key: &str) -> Result<Option<Vec<u8>>, String>;
    /// [`Work::hang`] at the next server.
    async fn next_hang(&self) -> Result<(), String>;
    /// What a task made with `Context::spawn` sees of the call: whether it has a deadline.
    async fn spawned_sees_the_call(&self) -> bool;
    /// Hangs, beside a task made with `Context::spawn` that hangs as well.
    async fn hang_with_a_task(&self);
    /// Asks the caller.
    async fn ask_back(&self, question: &str) -> Result<String, String>;
}

/// What a caller offers to the server that it calls.
#[service]
pub(crate) trait Caller {
    async fn answer(&self, question: &str) -> String;
}

pub(crate) struct Answers(pub(crate) &'static str);

impl Caller for Answers {
    async fn answer(&self, question: &str) -> String {
        format!("{question} {}", self.0)
    }
}

/// What handlers leave behind.
#[derive(Debug)]
pub(crate) struct Log {
    /// Handlers of the waiting kind that have begun.
    pub(crate) begun: AtomicU32,
    /// Handlers of the waiting kind that are gone, and tasks that they spawned.
    pub(crate) gone: AtomicU32,
    /// What [`Work::pass_gate`] waits for: the gate with the number of its argument.
    gates: [Semaphore; GATES],
    /// Where all that is really noted, in a process that serves for a test in another one.
    #[cfg(target_os = "linux")]
    book: Option<Book>,
}

/// Gates of one server.
pub(crate) const GATES: usize = 8;

impl Log {
    pub(crate) fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }

    pub(crate) fn gone(&self) -> u32 {
        self.gone.load(Ordering::SeqCst)
    }

    /// Lets one call pass the gate, now or when it comes.
    pub(crate) fn open(&self, gate: usize) {
        self.gates[gate].add_permits(1);
    }

    fn begin(self: &Arc<Self>) -> Presence {
        #[cfg(target_os = "linux")]
        if let Some(book) = &self.book {
            book.begin();
        }
        self.begun.fetch_add(1, Ordering::SeqCst);
        Presence(Arc::clone(self))
    }

    /// Waits at a gate until it is opened for one.
    pub(crate) async fn pass(&self, gate: usize) {
        #[cfg(target_os = "linux")]
        if let Some(book) = &self.book {
            return book.pass(gate).await;
        }
        if let Ok(permit) = self.gates[gate].acquire().await {
            permit.forget();
        }
    }
}

thread_local! {
    /// The log of the worker that was made last, for a site that has it served elsewhere.
    pub(crate) static LATEST: RefCell<Option<Arc<Log>>> = const { RefCell::new(None) };
}

/// Lives as long as a handler does.
struct Presence(Arc<Log>);

impl Drop for Presence {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(book) = &self.0.book {
            book.gone();
        }
        self.0.gone.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) struct Worker {
    pub(crate) log: Arc<Log>,
    pub(crate) next: Option<WorkClient>,
}

impl Worker {
    pub(crate) fn new() -> (Self, Arc<Log>) {
        let log = Arc::new(Log {
            begun: AtomicU32::new(0),
            gone: AtomicU32::new(0),
            gates: std::array::from_fn(|_| Semaphore::new(0)),
            #[cfg(target_os = "linux")]
            book: Book::of_this_process(),
        });
        LATEST.set(Some(Arc::clone(&log)));
        let worker = Self {
            log: Arc::clone(&log),
            next: None,
        };
        (worker, log)
    }

    fn next(&self) -> Result<&WorkClient, String> {
        self.next.as_ref().ok_or_else(|| "no next server".into())
    }
}

impl Work for Worker {
    async fn add(&self, a: i64, b: i64) -> i64 {
        a + b
    }
    async fn divide(&self, a: i64, b: i64) -> Result<i64, MathError> {
        a.checked_div(b)
            .ok_or(MathError::DivisionByZero { dividend: a })
    }
    async fn pass_gate(&self, gate: usize) -> usize {
        let _presence = self.log.begin();
        self.log.pass(gate).await;
        gate
    }
    async fn hang(&self) {
        let _presence = self.log.begin();
        std::future::pending().await
    }
    async fn panics(&self) {
        panic!("on purpose, and the password is tulip");
    }
    async fn make(&self, length: u64) -> Vec<u8> {
        pattern(usize::try_from(length).unwrap_or_default())
    }
    async fn length(&self, bytes: &[u8]) -> u64 {
        bytes.len() as u64
    }
    async fn time_left(&self) -> Option<u64> {
        let left = Context::current().time_left()?;
        u64::try_from(left.as_millis()).ok()
    }
    async fn metadata(&self, key: &str) -> Option<Vec<u8>> {
        let context = Context::current();
        context.metadata().value(key).map(|value| value.to_vec())
    }
    async fn peer(&self) -> Option<(String, Option<u32>, Option<u32>)> {
        let context = Context::current();
        let peer = context.peer()?;
        Some((peer.address().to_owned(), peer.uid(), peer.pid()))
    }
    async fn next_time_left(&self, after_ms: u64) -> Result<Option<u64>, String> {
        tokio::time::sleep(Duration::from_millis(after_ms)).await;
        let next = self.next()?.with_deadline(Duration::from_secs(3000));
        next.time_left().await.map_err(|error| error.to_string())
    }
    async fn next_metadata(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        let value = self.next()?.metadata(key).await;
        value.map_err(|error| error.to_string())
    }
    async fn next_hang(&self) -> Result<(), String> {
        let _presence = self.log.begin();
        // As long as the caller allows.
        let next = self.next()?.with_deadline(Duration::from_secs(3000));
        let hung = next.hang().await;
        hung.map_err(|error| error.to_string())
    }
    async fn spawned_sees_the_call(&self) -> bool {
        let task = Context::current().spawn(async { Context::current().deadline().is_some() });
        task.await.ok().flatten().unwrap_or_default()
    }
    async fn hang_with_a_task(&self) {
        let _presence = self.log.begin();
        let in_task = self.log.begin();
        let _task = Context::current().spawn(async move {
            let _in_task = in_task;
            std::future::pending::<()>().await
        });
        std::future::pending().await
    }
    async fn ask_back(&self, question: &str) -> Result<String, String> {
        let channel = Context::current().caller().ok_or("nobody called")?;
        match CallerClient::new(channel).answer(question).await {
            Ok(answer) => Ok(answer),
            Err(error) if error.code() == Code::Unimplemented => Err("no answer there".into()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Bytes that show where they were cut or swapped.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

/// A service of which the server under test knows nothing.
#[service]
// Only its client is used.
#[allow(dead_code)]
pub(crate) trait Absent {
    async fn anything(&self) -> u8;
}

/// A [`Work`] of another version: one argument has another type, one method is new.
#[service(name = "Work")]
// Only its client is used.
#[allow(dead_code)]
pub(crate) trait OtherWork {
    async fn add(&self, a: i32, b: i64) -> i64;
    async fn subtract(&self, a: i64, b: i64) -> i64;
}
