//! What surrounds a call: how long it may take, who asks, and what travels with it.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;

use crate::cancellation::Cancellation;
use crate::driver::{Link, now};
use crate::error::Error;
use crate::race::{Either, race};
use crate::transport::Peer;
use crate::wire::Metadata;

thread_local! {
    /// The context of the call whose future is being polled on this thread.
    static CURRENT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

static ROOT: LazyLock<Context> = LazyLock::new(|| Context {
    deadline: None,
    inner: Arc::new(Inner::default()),
});

/// The surroundings of a call, without an argument for them.
///
/// [`Context::current`] always answers. Inside a handler it is the call's own: the time that is
/// left, whether the caller still waits, who it is, the metadata. Elsewhere it is a root without
/// deadline, caller and metadata.
///
/// A client method reads the context when it is called. A call made inside a handler therefore has
/// at most the time that the handler has left, carries the metadata that was marked to travel, and
/// ends with the handler. What a handler spawns with `tokio::spawn` is on its own;
/// [`Context::spawn`] and [`Context::scope`] carry the context on purpose.
#[derive(Clone)]
pub struct Context {
    deadline: Option<Instant>,
    inner: Arc<Inner>,
}

/// What changes least from one call to the next, so that it can serve again.
#[derive(Clone, Default)]
struct Inner {
    cancellation: Option<Cancellation>,
    link: Option<Link>,
    /// What came with the running call.
    metadata: Metadata,
    /// What goes with the calls that it makes.
    outgoing: Metadata,
}

impl Context {
    /// The context of the running call, or a root.
    pub fn current() -> Self {
        Self::with_current(|current| current.cloned()).unwrap_or_else(|| ROOT.clone())
    }

    /// The deadline and the metadata of calls that are made here.
    #[inline]
    pub(crate) fn inherited() -> (Option<Instant>, Metadata) {
        // Mostly there is no context, which is said in a register.
        match CURRENT.with_borrow(Option::is_some) {
            false => (None, Metadata::new()),
            true => Self::inherited_here(),
        }
    }

    #[inline(never)]
    fn inherited_here() -> (Option<Instant>, Metadata) {
        Self::with_current(|current| match current {
            Some(context) => (context.deadline, context.outgoing().clone()),
            None => (None, Metadata::new()),
        })
    }

    /// Looks at the context of the running call, if there is one, without counting one more holder. `look`
    /// must not run in another.
    pub(crate) fn with_current<R>(look: impl FnOnce(Option<&Self>) -> R) -> R {
        CURRENT.with_borrow(|current| look(current.as_ref()))
    }

    /// Makes the context in `place` that of a call which the peer of `link` made. One of an earlier
    /// call over the same connection is used again if nobody holds it any more.
    #[inline]
    pub(crate) fn renew(
        place: &mut Option<Self>,
        link: &Link,
        deadline: Instant,
        metadata: Metadata,
    ) {
        match place {
            Some(last) if metadata.is_empty() && last.is_plain_and_free() => {
                last.deadline = Some(deadline);
            }
            _ => *place = Some(Self::of_call(link, deadline, metadata)),
        }
    }

    /// Whether it has no metadata, and nobody else holds it or what stops it.
    #[inline]
    fn is_plain_and_free(&self) -> bool {
        let Inner {
            cancellation,
            metadata,
            ..
        } = &*self.inner;
        let is_ours = |cancellation: &Cancellation| !cancellation.is_shared();
        Arc::strong_count(&self.inner) == 1
            && cancellation.as_ref().is_some_and(is_ours)
            && metadata.is_empty()
    }

    /// The context of a call that the peer of `link` made.
    #[cold]
    fn of_call(link: &Link, deadline: Instant, metadata: Metadata) -> Self {
        let inner = Inner {
            cancellation: Some(Cancellation::new()),
            link: Some(link.clone()),
            outgoing: metadata.travelling(),
            metadata,
        };
        Self {
            deadline: Some(deadline),
            inner: Arc::new(inner),
        }
    }

    /// What stops the call; a root cannot be stopped.
    pub(crate) fn cancellation(&self) -> Option<&Cancellation> {
        self.inner.cancellation.as_ref()
    }

    /// When the call must be finished; `None` in a root.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How much time the call has left, zero when it is late; `None` in a root.
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(now()))
    }

    /// Whether nobody waits for the call any more: it was cancelled, is late, or its connection is
    /// gone. A handler is dropped then by itself at its next `.await`; one that computes for long
    /// without awaiting asks here.
    pub fn is_cancelled(&self) -> bool {
        let inner = &self.inner;
        inner
            .cancellation
            .as_ref()
            .is_some_and(|cancellation| cancellation.is_cancelled())
            || self.deadline.is_some_and(|deadline| now() >= deadline)
            || inner
                .link
                .as_ref()
                .is_some_and(|link| link.closed().is_cancelled())
    }

    /// Waits until nobody waits for the call any more; for ever in a root. Cancel safe.
    pub async fn cancelled(&self) {
        // The cancellation of a call that was answered never fires; its deadline and the end of its
        // connection still come.
        let aborted = async {
            match &self.inner.cancellation {
                Some(cancellation) => cancellation.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let late = async {
            match self.deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        race(race(aborted, self.disconnected()), late).await;
    }

    /// Who called: address and identity (uid, gid and pid on Unix sockets); `None` in a root.
    pub fn peer(&self) -> Option<&Peer> {
        self.inner.link.as_ref().map(Link::peer)
    }

    /// A number for the connection that the call came over, which no other connection of this
    /// process has or had; `None` in a root.
    pub fn connection_id(&self) -> Option<u64> {
        self.inner.link.as_ref().map(Link::id)
    }

    /// Waits until the connection that the call came over has ended; for ever in a root. Cancel
    /// safe.
    pub async fn disconnected(&self) {
        match &self.inner.link {
            Some(link) => link.closed().cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// What came with the call; empty in a root.
    pub fn metadata(&self) -> &Metadata {
        &self.inner.metadata
    }

    /// This context with `metadata` for [`scope`](Self::scope): each call made in it sends all its
    /// entries, besides those that travel on from the running call. An entry of `metadata` replaces
    /// one of the same key.
    ///
    /// # Errors
    /// [`Code::TooLarge`](crate::Code::TooLarge) if both together exceed the limits of [`Metadata`].
    pub fn with_metadata(&self, metadata: &Metadata) -> Result<Self, Error> {
        let outgoing = self.inner.outgoing.merged(metadata)?;
        let inner = Inner {
            outgoing,
            ..Inner::clone(&self.inner)
        };
        Ok(Self {
            deadline: self.deadline,
            inner: Arc::new(inner),
        })
    }

    /// This context with at most `allowed` left, for [`scope`](Self::scope).
    #[must_use = "the context itself is not changed"]
    pub fn with_time_left(&self, allowed: Duration) -> Self {
        let limit = now().checked_add(allowed);
        let deadline = [self.deadline, limit].into_iter().flatten().min();
        Self {
            deadline,
            inner: Arc::clone(&self.inner),
        }
    }

    /// Runs `future` in this context.
    pub fn scope<F: Future>(&self, future: F) -> Scope<F> {
        Scope {
            future,
            context: Some(self.clone()),
        }
    }

    /// Spawns `future` as a task that runs in this context and ends, without a result, when the
    /// context is cancelled. Must be called within a tokio runtime.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let context = self.clone();
        tokio::spawn(async move {
            match race(context.scope(future), context.cancelled()).await {
                Either::First(output) => Some(output),
                Either::Second(()) => None,
            }
        })
    }

    /// What goes with the calls made in this context.
    pub(crate) fn outgoing(&self) -> &Metadata {
        &self.inner.outgoing
    }

    /// The connection that the call came over.
    pub(crate) fn link(&self) -> Option<&Link> {
        self.inner.link.as_ref()
    }

    /// Runs `f` with the context in `place` as the current one. It is moved there and back, which
    /// costs less than to count one more who holds it.
    #[inline]
    pub(crate) fn enter<R>(place: &mut Option<Self>, f: impl FnOnce() -> R) -> R {
        /// The two contexts change places, and again when it goes, also because `f` panics.
        struct Swapped<'a> {
            current: &'a RefCell<Option<Context>>,
            place: &'a mut Option<Context>,
        }
        impl Swapped<'_> {
            #[inline]
            fn swap(&mut self) {
                mem::swap(self.place, &mut self.current.borrow_mut());
            }
        }
        impl Drop for Swapped<'_> {
            #[inline]
            fn drop(&mut self) {
                self.swap();
            }
        }
        CURRENT.with(|current| {
            let mut swapped = Swapped { current, place };
            swapped.swap();
            f()
        })
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("time_left", &self.time_left())
            .field("cancelled", &self.is_cancelled())
            .field("peer", &self.peer())
            .field("metadata", &self.inner.metadata)
            .finish()
    }
}

pin_project! {
    /// A future that runs in a [`Context`]; made by [`Context::scope`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Scope<F> {
        #[pin]
        future: F,
        // Always there, but while the future is being polled.
        context: Option<Context>,
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        Context::enter(this.context, || this.future.poll(cx))
    }
}

impl<F> fmt::Debug for Scope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope")
            .field("context", &self.context)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn outside_of_a_call_there_is_a_root() {
        let root = Context::current();
        assert_eq!(root.deadline(), None);
        assert!(!root.is_cancelled());
        assert!(root.peer().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_scope_is_current_inside_and_gone_outside() {
        let context = Context::current().with_time_left(Duration::from_secs(5));
        let inside = context
            .scope(async { Context::current().time_left() })
            .await;
        assert_eq!(inside, Some(Duration::from_secs(5)));
        assert_eq!(Context::current().time_left(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn time_only_ever_shrinks() {
        let short = Context::current().with_time_left(Duration::from_secs(1));
        let long = short.with_time_left(Duration::from_secs(60));
        assert_eq!(long.time_left(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn what_is_set_is_sent_and_not_what_came() {
        let mut metadata = Metadata::new();
        metadata.insert("token", "secret").unwrap();
        let context = Context::current().with_metadata(&metadata).unwrap();
        assert_eq!(context.outgoing().value("token").unwrap(), "secret");
        assert!(context.metadata().is_empty());
    }

    #[tokio::test]
    async fn a_panic_inside_a_scope_leaves_no_context_behind() {
        let context = Context::current().with_time_left(Duration::from_secs(5));
        let mut place = Some(context);
        let on_purpose = || Context::enter(&mut place, || panic!("on purpose"));
        let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(on_purpose));
        assert!(unwound.is_err() && place.is_some());
        assert_eq!(Context::current().time_left(), None);
    }
}
