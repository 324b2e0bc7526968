//! What a stub holds: where calls go, and how.

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::attempt::Time;
use super::pending::Pending;
use super::retry::Budget as RetryBudget;
use crate::codec::CodecId;
use crate::context::Context;
use crate::driver::{Handler, Link, has_threads, now};
use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::service::{BoxFuture, Method};
use crate::transport::ConnectOptions;

/// A cloneable handle to the place where a client's calls go.
///
/// Calls made through one channel and its clones share connections, the table of calls in flight
/// and the budget for retries. A connection lives on the runtime on which it was first used, which
/// must keep running while calls are made, because that is where deadlines are kept. Everything
/// that is not a method of the trait hangs on it, so that a
/// client's own names stay free.
pub struct Channel {
    path: Arc<Path>,
    /// Overrides [`Limits::deadline`].
    deadline: Option<Duration>,
    hold: Arc<Hold>,
}

/// Held by the clones of a channel, but not by its calls: with the last of them its target is
/// [abandoned](Target::abandon). Calls that are under way go on.
struct Hold(Arc<Inner<dyn Target>>);

/// What every call holds that was made through the same clone of a channel. Each clone has its own, so
/// that tasks which call from several threads at once do not all count in one place.
pub(super) struct Path {
    /// The first connection, where the target has one at a time. Until it takes no more calls they
    /// find it here, without a lock and without counting who holds it.
    first: OnceLock<Link>,
    inner: Arc<Inner<dyn Target>>,
}

/// What the clones of a channel share.
struct Inner<T: ?Sized> {
    options: Arc<Options>,
    retries: RetryBudget,
    /// The target is [abandoned](Target::abandon) with the last clone, so calls need not be counted, and
    /// what they leave behind may hold on to this: nothing is left of it then but memory.
    is_lasting: bool,
    target: T,
}

/// Hands out open connections.
pub(crate) trait Target: Send + Sync + 'static {
    /// A connection that takes calls now, if there is one: the way of nearly every call.
    fn ready(&self) -> Option<Link>;

    /// Waits for a connection, dialling if need be. Whoever waits bounds it by the call's deadline;
    /// dropping the future disturbs no one else who waits.
    fn acquire(&self) -> BoxFuture<Result<Link, Error>>;

    /// A call over `link` failed so. Whether another place can be tried at once.
    fn failed(&self, link: &Link, error: &Error) -> bool;

    /// Where it leads, for people.
    fn address(&self) -> Arc<str>;

    /// Whether it has one connection at a time, so that calls need not ask which is theirs.
    fn is_single(&self) -> bool {
        false
    }

    /// Whether it can be [abandoned](Self::abandon), so that its connections need nobody who counts
    /// the calls.
    fn is_lasting(&self) -> bool {
        false
    }

    /// The last channel that led here is gone: connections end as soon as their calls have, and those
    /// that are made for what was left unsent end with it.
    fn abandon(&self) {}
}

/// How a channel makes connections and calls.
#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) limits: Arc<Limits>,
    pub(crate) codec: CodecId,
    /// Of every connection, those to the matchmaker included.
    pub(crate) connect: ConnectOptions,
    /// Services that this side offers to its servers.
    pub(crate) handler: Option<Arc<dyn Handler>>,
    /// Calls go to this one of those who are connected to the process at the other end. Its number
    /// stands in the place of the fingerprint: that process knows the method, and puts it there.
    pub(crate) beyond: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        /// Shared by all who ask for nothing else.
        static LIMITS: LazyLock<Arc<Limits>> = LazyLock::new(Arc::default);
        Self {
            limits: Arc::clone(&LIMITS),
            codec: CodecId::BINCODE,
            connect: ConnectOptions::default(),
            handler: None,
            beyond: None,
        }
    }
}

impl Channel {
    pub(crate) fn new(target: impl Target, options: Arc<Options>) -> Self {
        let inner: Arc<Inner<dyn Target>> = Arc::new(Inner {
            // What a user offers is dropped when he expects it to be. And between threads the count of
            // another one's calls would be in the way more often than one's own.
            is_lasting: target.is_lasting() && options.handler.is_none() && !has_threads(),
            options,
            retries: RetryBudget::new(now()),
            target,
        });
        let hold = Arc::new(Hold(Arc::clone(&inner)));
        let path = Path {
            first: OnceLock::new(),
            inner,
        };
        Self {
            path: Arc::new(path),
            deadline: None,
            hold,
        }
    }

    /// A channel over one connection, which ends with it.
    pub(crate) fn over(peer: Link) -> Self {
        let (way, beyond) = match peer.trunk() {
            Some(trunk) => (trunk.clone(), Some(peer.id())),
            None => (peer.clone(), None),
        };
        let codec = way.codec().and_then(CodecId::from_wire);
        let options = Options {
            codec: codec.unwrap_or(CodecId::BINCODE),
            beyond,
            ..Options::default()
        };
        Self::new(Established { peer, way }, Arc::new(options))
    }

    /// Waits until a call could go out.
    pub(crate) async fn warm_up(&self) -> Result<(), Error> {
        if self.path.target().ready().is_none() {
            self.path.target().acquire().await?;
        }
        Ok(())
    }

    pub(crate) fn allowing(self, deadline: Option<Duration>) -> Self {
        Self { deadline, ..self }
    }

    /// The same channel, with `deadline` allowed to each call, counted from when it is first polled. The
    /// default is [`Limits::deadline`], 10 s. Inside a handler a call never gets more than the handler
    /// has left.
    #[must_use = "the channel itself is not changed"]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self {
            path: Arc::clone(&self.path),
            deadline: Some(deadline),
            hold: Arc::clone(&self.hold),
        }
    }

    /// Where the calls go, for people: an address, or the name of a service.
    pub fn address(&self) -> Arc<str> {
        self.path.target().address()
    }

    /// Encodes the arguments of a call and reads what surrounds it.
    /// `tail` are bytes of which the arguments have the length.
    pub(crate) fn start<A: Serialize>(
        &self,
        method: &'static Method,
        arguments: &A,
        tail: Option<Bytes>,
    ) -> Pending {
        let codec = self.path.options().codec;
        self.begin(method, tail, &mut |buffer| {
            codec.encode_into(arguments, buffer, Limits::MESSAGE_MAX)
        })
    }

    /// The part of [`start`](Self::start) that does not depend on types.
    fn begin(
        &self,
        method: &'static Method,
        tail: Option<Bytes>,
        encode: &mut dyn FnMut(&mut Vec<u8>) -> Result<(), Error>,
    ) -> Pending {
        Pending::new(&self.path, method, |plan| {
            let (inherited, metadata) = Context::inherited();
            plan.time = Time::Allowed(self.allowed(), inherited);
            plan.metadata = metadata;
            plan.unencodable = plan.payload.write_in(encode).err();
            if tail.is_some() {
                plan.payload = plan.payload.take().with_tail(tail);
            }
        })
    }

    /// What a call is allowed.
    #[inline]
    fn allowed(&self) -> Duration {
        self.deadline.unwrap_or(self.path.options().limits.deadline)
    }
}

impl Clone for Channel {
    fn clone(&self) -> Self {
        let path = Path {
            first: self.path.first.clone(),
            inner: Arc::clone(&self.path.inner),
        };
        Self {
            path: Arc::new(path),
            deadline: self.deadline,
            hold: Arc::clone(&self.hold),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.is_lasting {
            self.0.target.abandon();
            Pending::let_go(|path| Arc::ptr_eq(&path.inner, &self.0));
        }
    }
}

impl Path {
    /// Whether somebody may hold it who makes no call.
    #[inline]
    pub(super) fn is_lasting(&self) -> bool {
        self.inner.is_lasting
    }

    /// The first connection, if it is the only one and takes calls now.
    #[inline]
    pub(super) fn first(&self) -> Option<&Link> {
        self.first.get().filter(|link| !link.is_draining())
    }

    /// The same, whether it takes calls or not.
    #[inline]
    pub(super) fn first_ever(&self) -> Option<&Link> {
        self.first.get()
    }

    /// A connection that takes calls now, if there is one.
    pub(super) fn ready(&self) -> Option<Link> {
        let link = self.inner.target.ready()?;
        if self.inner.target.is_single() {
            self.first.get_or_init(|| link.clone());
        }
        Some(link)
    }

    pub(super) fn target(&self) -> &dyn Target {
        &self.inner.target
    }

    pub(super) fn options(&self) -> &Options {
        &self.inner.options
    }

    pub(super) fn retries(&self) -> &RetryBudget {
        &self.inner.retries
    }
}

/// The way back to whoever made a call.
impl Context {
    /// A channel to the caller of the running call, over the connection that the call came by;
    /// `None` in a root. Its calls fail as [`Code::Unimplemented`] unless the caller offers the
    /// service.
    pub fn caller(&self) -> Option<Channel> {
        Some(Channel::over(self.link()?.clone()))
    }
}

/// One connection that cannot be made anew.
struct Established {
    peer: Link,
    /// The connection that the calls take: the peer's own, or the one of the process between.
    way: Link,
}

impl Target for Established {
    fn ready(&self) -> Option<Link> {
        let is_open = !self.peer.is_draining() && !self.way.is_draining();
        is_open.then(|| self.way.clone())
    }

    fn acquire(&self) -> BoxFuture<Result<Link, Error>> {
        let gone = Error::new(
            Code::Disconnected,
            "the caller's connection takes no more calls",
        );
        Box::pin(std::future::ready(self.ready().ok_or(gone)))
    }

    fn failed(&self, _: &Link, _: &Error) -> bool {
        false
    }

    fn address(&self) -> Arc<str> {
        self.peer.peer().address().into()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("address", &self.address())
            .field("deadline", &self.allowed())
            .finish_non_exhaustive()
    }
}
