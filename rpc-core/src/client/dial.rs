//! Connections to one address: made when needed, shared by all who wait, made again when lost.

use std::future::{Future as _, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::channel::{Options, Target};
use crate::codec::CodecId;
use crate::driver::{Drive, Link, now, spawn};
use crate::error::{Code, Error};
use crate::proto::Opening;
use crate::service::BoxFuture;
use crate::transport::Connector;

/// Keeps at most one connection to one address.
///
/// Nothing is dialled until somebody asks. Whoever asks while a dial is under way waits for that
/// one. After a failure the next dial waits: first a random part of 100 ms, then of 1.6 times more
/// with each failure, up to 30 s. A caller waits for it if that is less than a second, and otherwise
/// gets the last failure at once. A connection that lived for 30 s forgives all failures before it.
///
/// The calls of the first connection travel along with its hello; on every later one they wait for
/// the answer, and so they do where discovery named the instance, or the server looks at who this is.
#[derive(Clone)]
pub(crate) struct Dialer {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Box<dyn Connector>,
    options: Arc<Options>,
    /// The instance that must answer, where discovery named one.
    expected: Option<[u8; 16]>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    link: Option<(Link, Instant)>,
    /// Who waits for the dial that is under way; `None` if none is.
    dialling: Option<Vec<oneshot::Sender<Result<Link, Error>>>>,
    failures: u32,
    /// Whether there was a connection before.
    connected_before: bool,
    /// The last failure, and when the next dial may begin.
    backoff: Option<(Error, Instant)>,
    /// No connection is kept any more.
    abandoned: bool,
}

impl Dialer {
    const BACKOFF_MIN: Duration = Duration::from_millis(100);
    const BACKOFF_MAX: Duration = Duration::from_secs(30);
    const BACKOFF_FACTOR: f64 = 1.6;
    /// A connection that lives so long was a good one.
    const HEALTHY: Duration = Duration::from_secs(30);
    /// The longest that callers wait for a dial to begin.
    const PATIENCE: Duration = Duration::from_secs(1);

    pub(crate) fn new(
        connector: Box<dyn Connector>,
        options: Arc<Options>,
        expected: Option<[u8; 16]>,
    ) -> Self {
        let state = Mutex::default();
        Self {
            inner: Arc::new(Inner {
                connector,
                options,
                expected,
                state,
            }),
        }
    }

    /// Calls in flight on the connection, if there is one.
    pub(crate) fn calls_in_flight(&self) -> usize {
        self.inner
            .lock()
            .link
            .as_ref()
            .map_or(0, |(link, _)| link.calls_in_flight())
    }

    /// Whether `link` is the connection of this dialer.
    pub(crate) fn owns(&self, link: &Link) -> bool {
        self.inner
            .lock()
            .link
            .as_ref()
            .is_some_and(|(own, _)| own.is_same(link))
    }

    /// Waits until a connection stands and the peer has accepted it.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn establish(&self) -> Result<Link, Error> {
        let link = self.acquire().await?;
        link.established()
            .await
            .map_err(|error| error.with_address(self.address()))?;
        Ok(link)
    }

    /// Dials as far as that goes without waiting, mostly to the end. The rest, and the life of the
    /// connection, is for a task of its own, so that the caller who happened to be first may go. Must
    /// not be called under the lock: a runtime that is shutting down drops the task at once, here,
    /// and its end takes the lock.
    fn dial(&self, begin: Option<Instant>) -> Dialled {
        let attempt = Attempt {
            dialer: self.clone(),
            over: false,
        };
        let mut opening = Box::pin(attempt.open(begin));
        // Whoever is woken by a future is who polled it last, so nobody need be woken by this.
        let mut nobody = Context::from_waker(Waker::noop());
        // A connector that panics ends its dial and nothing else, in a task or here.
        let polled = catch_unwind(AssertUnwindSafe(|| opening.as_mut().poll(&mut nobody)));
        match polled {
            Ok(Poll::Ready(Ok(opened))) => {
                if opened.waits {
                    let waiting = self.wait();
                    spawn(opened.run());
                    return Dialled::Later(waiting);
                }
                let link = opened.link.clone();
                // The caller makes its call before the task is run.
                spawn(opened.run());
                // A runtime that is shutting down has dropped it instead. On another thread it may have
                // run by now, and even ended: that is told to the call.
                match link.is_closed_here() {
                    false => Dialled::Now(Ok(link)),
                    true => Dialled::Now(Err(Attempt::dropped())),
                }
            }
            Ok(Poll::Ready(Err((attempt, error)))) => {
                // By a task, too: on a runtime that is shutting down it is no failure of the place.
                let waiting = self.wait();
                spawn(async move { attempt.fail(error) });
                Dialled::Later(waiting)
            }
            Ok(Poll::Pending) => {
                let waiting = self.wait();
                spawn(async move {
                    match opening.await {
                        Ok(opened) => {
                            // Those who waited make their calls now, so that these leave in one
                            // write with the hello.
                            tokio::task::yield_now().await;
                            opened.run().await;
                        }
                        Err((attempt, error)) => attempt.fail(error),
                    }
                });
                Dialled::Later(waiting)
            }
            Err(_) => Dialled::Now(Err(Attempt::dropped())),
        }
    }

    /// A place among those who wait for the dial that is under way.
    fn wait(&self) -> Waiting {
        let (waiter, waiting) = oneshot::channel();
        // Where it is over, the waiter is dropped, and so tells that.
        if let Some(waiters) = &mut self.inner.lock().dialling {
            waiters.push(waiter);
        }
        waiting
    }
}

/// What a client brings to the handshake. It is the same for nearly all, who share it.
fn opening(codec: CodecId, expected: Option<[u8; 16]>) -> Arc<Opening> {
    static PLAIN: LazyLock<Arc<Opening>> = LazyLock::new(|| with(CodecId::BINCODE, None));
    fn with(codec: CodecId, expected: Option<[u8; 16]>) -> Arc<Opening> {
        Arc::new(Opening {
            expected,
            ..Opening::offering([codec.to_wire()].into())
        })
    }
    match (codec, expected) {
        (CodecId::BINCODE, None) => Arc::clone(&PLAIN),
        (codec, expected) => with(codec, expected),
    }
}

/// Who needs a connection is answered so.
enum Asked {
    Open(Link),
    /// Wait for the dial that is under way.
    Underway(Waiting),
    /// Dial, not before then.
    First(Option<Instant>),
}

type Waiting = oneshot::Receiver<Result<Link, Error>>;

/// What became of a dial at once.
enum Dialled {
    Now(Result<Link, Error>),
    Later(Waiting),
}

/// One dial. However it ends, even with its runtime, those who wait are told.
struct Attempt {
    dialer: Dialer,
    over: bool,
}

/// A connection whose hello is not written.
struct Opened {
    attempt: Attempt,
    link: Link,
    driver: Drive,
    /// Nobody has the connection before the peer has answered.
    waits: bool,
}

impl Attempt {
    /// Connects, not before `begin`. A failure has yet to be told.
    async fn open(mut self, begin: Option<Instant>) -> Result<Opened, (Self, Error)> {
        if let Some(begin) = begin {
            tokio::time::sleep_until(begin.into()).await;
        }
        let inner = Arc::clone(&self.dialer.inner);
        let limit = inner.options.limits.handshake;
        let mut connecting = inner.connector.connect();
        // To a place on this machine it is over at once, and needs no timer.
        let connected = match poll_fn(|cx| Poll::Ready(connecting.as_mut().poll(cx))).await {
            Poll::Ready(connected) => Ok(connected),
            Poll::Pending => tokio::time::timeout(limit, connecting).await,
        };
        let connected = connected.unwrap_or_else(|_| {
            let text = format!("no connection within {limit:?}");
            Err(Error::new(Code::Unreachable, text))
        });
        let conduit = match connected {
            Ok(conduit) => conduit,
            Err(error) => return Err((self, error)),
        };
        let Options {
            limits,
            codec,
            handler,
            ..
        } = &*inner.options;
        let opening = opening(*codec, inner.expected);
        let since = now();
        let (link, driver) =
            Link::client(since, conduit, Arc::clone(limits), opening, handler.clone());
        let again = inner.lock().connected_before;
        // Whoever answers must be the right one before any call goes there. And where a connection
        // was lost or drained, the listener may be closing: the system then resets who is still in
        // its queue, and calls sent along with the hello would end as maybe executed. Waiting costs
        // one round trip for each lost connection. Nor does anything go to a server that has yet to
        // look at who this is.
        let waits = again || inner.expected.is_some() || inner.connector.awaits_answer();
        if !waits {
            // Calls may go out right behind the hello. Should the peer refuse it, they fail as not
            // executed, and the next dial has to wait.
            self.finish(Ok((link.clone(), since)));
        }
        Ok(Opened {
            attempt: self,
            link,
            driver,
            waits,
        })
    }

    /// The handshake is over, one way or the other.
    fn opened(mut self, link: Link, waits: bool) {
        match (link.fault(), waits) {
            (fault, true) => self.finish(fault.map_or_else(|| Ok((link, now())), Err)),
            (Some(error), false) => self.dialer.inner.lock().fail(error),
            (None, false) => {}
        }
    }

    /// There is a connection, and since when, or there is none.
    fn finish(&mut self, result: Result<(Link, Instant), Error>) {
        self.over = true;
        let result = result.map_err(|error| error.with_address(self.dialer.address()));
        let mut state = self.dialer.inner.lock();
        let result = match result {
            Ok((link, since)) => {
                if !state.abandoned {
                    state.link = Some((link.clone(), since));
                }
                state.backoff = None;
                state.connected_before = true;
                Ok(link)
            }
            Err(error) => {
                state.fail(error.clone());
                Err(error)
            }
        };
        let waiters = state.dialling.take().unwrap_or_default();
        drop(state);
        for waiter in waiters {
            // Who does not wait any more needs no answer.
            let _ = waiter.send(result.clone());
        }
    }

    fn fail(mut self, error: Error) {
        self.finish(Err(error));
    }

    /// What becomes of a dial that came to no end.
    fn dropped() -> Error {
        Error::new(
            Code::Cancelled,
            "the dial was dropped, with its runtime or by a panic",
        )
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.over {
            self.finish(Err(Self::dropped()));
        }
    }
}

impl Opened {
    /// The life of the connection.
    async fn run(self) {
        let Self {
            attempt,
            link,
            mut driver,
            waits,
        } = self;
        let mut opening = Some((attempt, link));
        poll_fn(|cx| {
            let polled = Pin::new(&mut driver).poll(cx);
            if driver.has_agreed() || driver.has_ended() || polled.is_ready() {
                if let Some((attempt, link)) = opening.take() {
                    attempt.opened(link, waits);
                }
            }
            polled
        })
        .await;
    }
}

impl State {
    /// What somebody who needs a connection is to do.
    fn ask(&mut self, connector: &dyn Connector) -> Result<Asked, Error> {
        if let Some(link) = self.live() {
            return Ok(Asked::Open(link));
        }
        // While a dial is under way, it is the last one that may succeed.
        if self.dialling.is_none() {
            if let Some(error) = connector.spent() {
                return Err(error);
            }
        }
        if let Some((error, until)) = &self.backoff {
            let wait = until.saturating_duration_since(now());
            if wait > Dialer::PATIENCE {
                // It may be another way by now, but nobody looks before then.
                let text = format!("the last dial failed: {}", error.message());
                return Err(error.clone().with_message(text).with_retry_after(wait));
            }
        }
        let Some(waiters) = &mut self.dialling else {
            self.dialling = Some(Vec::new());
            return Ok(Asked::First(self.backoff.as_ref().map(|(_, until)| *until)));
        };
        // Who gave up is forgotten, now and then.
        if waiters.len() % 1024 == 1023 {
            waiters.retain(|waiter| !waiter.is_closed());
        }
        let (waiter, waiting) = oneshot::channel();
        waiters.push(waiter);
        Ok(Asked::Underway(waiting))
    }

    /// The connection, unless it takes no new calls.
    fn live(&mut self) -> Option<Link> {
        let (link, since) = self.link.as_ref()?;
        if !link.is_draining() {
            return Some(link.clone());
        }
        if now().saturating_duration_since(*since) >= Dialer::HEALTHY {
            self.failures = 0;
        }
        self.link = None;
        None
    }

    fn fail(&mut self, error: Error) {
        let exponent = i32::try_from(self.failures).unwrap_or(i32::MAX).min(64);
        let ceiling = Dialer::BACKOFF_MIN.as_secs_f64() * Dialer::BACKOFF_FACTOR.powi(exponent);
        let ceiling = ceiling.min(Dialer::BACKOFF_MAX.as_secs_f64());
        let wait = Duration::from_secs_f64(ceiling * fastrand::f64());
        self.failures = self.failures.saturating_add(1);
        self.backoff = Some((error, now() + wait));
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target for Dialer {
    fn ready(&self) -> Option<Link> {
        self.inner.lock().live()
    }

    fn acquire(&self) -> BoxFuture<Result<Link, Error>> {
        let dialer = self.clone();
        Box::pin(async move {
            let asked = dialer.inner.lock().ask(&*dialer.inner.connector)?;
            let waiting = match asked {
                Asked::Open(link) => return Ok(link),
                Asked::Underway(waiting) => waiting,
                Asked::First(begin) => match dialer.dial(begin) {
                    Dialled::Now(result) => return result,
                    Dialled::Later(waiting) => waiting,
                },
            };
            let dialled = waiting.await;
            dialled.unwrap_or_else(|_| Err(Attempt::dropped()))
        })
    }

    fn is_single(&self) -> bool {
        true
    }

    fn is_lasting(&self) -> bool {
        self.inner.connector.is_lasting()
    }

    fn abandon(&self) {
        let link = {
            let mut state = self.inner.lock();
            state.abandoned = true;
            state.link.take()
        };
        if let Some((link, _)) = link {
            link.close_when_idle();
        }
    }

    fn failed(&self, _: &Link, _: &Error) -> bool {
        false
    }

    fn address(&self) -> Arc<str> {
        self.inner.connector.address().into()
    }
}

#[cfg(test)]
mod tests;
