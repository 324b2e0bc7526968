//! The main server at work: starts subservers, sees to it that there are always as many, and gives
//! each client to one of them.

use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::CentralDispatch;
use super::branch::Branch;
use super::contract::{Program, Setup, must_be_generated};
use crate::driver::{now, spawn};
use crate::error::{Code, Error};
use crate::process::ending;
use crate::race::{Either, race};
use crate::server::pattern::Host;
use crate::server::reception::{Full, Guest, Reception};
use crate::server::subserver::{Kind, Order, Resources, Starter, Subserver};
use crate::service::BoxFuture;
use crate::transport::{Conduit, Passage, Peer};

/// How long a subserver may take from its start until it serves, which is when its program starts
/// the server.
pub(super) const START_MAX: Duration = Duration::from_secs(30);

/// The wait before a subserver is started again: so long at first, twice as long after each one that
/// did not live for [`HEALTHY`], up to the most. A program that dies at once must not keep a processor
/// busy with being started.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A subserver that lives so long was a good one.
const HEALTHY: Duration = Duration::from_secs(30);

/// How long a subserver may take to close its doors once the server has stopped.
const RETIRE_MAX: Duration = Duration::from_secs(2);

/// How often it is looked whether it has.
const RETIRE_LOOK: Duration = Duration::from_millis(5);

/// What a thread needs that waits, kills and reaps, with room to spare.
const STACK: usize = 128 * 1024;

/// What is told to a client that cannot be passed on, whose address was refused at the start.
const UNFIT: &str = "the transport cannot be passed on";

/// How long a client waits where all subservers are being started again.
const PATIENCE: Duration = Duration::from_secs(3);

/// The subservers of a server.
pub(super) struct Dispatcher {
    starter: Arc<Starter>,
    setup: Setup,
    /// Addresses at which the first of them listens by itself.
    addresses: Vec<String>,
    reception: Arc<Reception>,
    /// One for each subserver that there should be, with the one that there is.
    posts: Vec<watch::Sender<Option<Arc<Live>>>>,
    /// Changes whenever one of them begins to serve.
    news: watch::Sender<()>,
}

/// A subserver that serves.
struct Live {
    branch: Branch,
    subserver: Arc<Subserver>,
}

impl Dispatcher {
    /// Starts the subservers, and waits until all of them serve. `addresses` are those at which they
    /// listen by themselves.
    ///
    /// # Errors
    /// A service is written by hand; a subserver does not start, is another program, or cannot
    /// listen.
    pub(super) async fn start(
        pattern: CentralDispatch,
        reception: &Arc<Reception>,
        addresses: Vec<String>,
    ) -> Result<Arc<Self>, Error> {
        let router = &reception.router;
        router.descriptors().try_for_each(must_be_generated)?;
        let starter = Starter::new(
            pattern.command,
            Kind::Central,
            router.signature(),
            u128::from_be_bytes(reception.opening.instance),
            Resources::default(),
        )?;
        let dispatcher = Arc::new(Self {
            starter: Arc::new(starter),
            setup: Setup {
                services: Program::of(router.descriptors()),
                instance: reception.opening.instance,
                limits: *reception.limits,
                handshaking_max: reception.connections.handshaking_max(),
                calls_max: router.calls_max(),
                buffers_max: router.buffers_max(),
                listen: Vec::new(),
            },
            addresses,
            reception: Arc::clone(reception),
            posts: (0..pattern.subservers.get())
                .map(|_| watch::Sender::new(None))
                .collect(),
            news: watch::Sender::new(()),
        });
        let mut starting = JoinSet::new();
        for post in 0..dispatcher.posts.len() {
            let dispatcher = Arc::clone(&dispatcher);
            starting.spawn(async move { (post, dispatcher.start_one(post).await) });
        }
        let mut started = Vec::new();
        while let Some(one) = starting.join_next().await {
            let (post, live) = one.map_err(|error| {
                Error::new(Code::Internal, "the start of a subserver failed").with_source(error)
            })?;
            started.push((post, live?));
        }
        for (post, live) in started {
            dispatcher.look_after(post, live);
        }
        Ok(dispatcher)
    }

    /// Starts a subserver for this post, and waits until it serves. Cancel safe: it ends then.
    async fn start_one(&self, post: usize) -> Result<Arc<Live>, Error> {
        let listen = match post {
            0 => self.addresses.clone(),
            _ => Vec::new(),
        };
        let setup = Setup {
            listen,
            ..self.setup.clone()
        };
        let failed = |error: io::Error| {
            Error::new(Code::Io, "a subserver cannot be started").with_source(error)
        };
        let starter = Arc::clone(&self.starter);
        let started = tokio::task::spawn_blocking(move || starter.start()).await;
        let subserver = started
            .map_err(io::Error::other)
            .and_then(|started| started);
        let subserver = subserver.map_err(failed)?;
        let trunk = match lay_trunk(&subserver, post) {
            Ok(trunk) => trunk,
            // It did not live for so long.
            Err(error) => {
                let ended = how_it_ended(&subserver).await;
                return Err(ended.unwrap_or_else(|| failed(error)));
            }
        };
        let branch = Branch::grow(trunk, setup, &self.reception)?;
        let live = Live {
            branch,
            subserver: Arc::new(subserver),
        };
        let ready = tokio::time::timeout(START_MAX, live.branch.ready());
        match race(ready, live.subserver.child.wait()).await {
            Either::First(Ok(Ok(()))) => Ok(Arc::new(live)),
            // The end of its trunk is seen before its own as often as not.
            Either::First(Ok(Err(error))) if error.code() == Code::Disconnected => {
                let ended = how_it_ended(&live.subserver).await;
                Err(ended.unwrap_or(error))
            }
            Either::First(Ok(Err(error))) => Err(error),
            Either::First(Err(_)) => Err(Error::new(
                Code::DeadlineExceeded,
                format!("a subserver did not start its server within {START_MAX:?}"),
            )
            .with_hint("let it come to `start` sooner; `subserver_init` says what it is")),
            Either::Second(Ok(status)) => Err(too_short(status)),
            Either::Second(Err(error)) => Err(failed(error)),
        }
    }

    /// Keeps a post filled for as long as the server stands.
    fn look_after(self: &Arc<Self>, post: usize, first: Arc<Live>) {
        let dispatcher = Arc::clone(self);
        let closed = self.reception.connections.closed().clone();
        // From now on, not only once the task runs: clients may come, or the server may stop.
        self.fill(post, Some(Arc::clone(&first)));
        spawn(async move {
            race(closed.cancelled(), dispatcher.keep_filled(post, first)).await;
            // The subserver ends with the last who holds it.
            dispatcher.fill(post, None);
        });
    }

    async fn keep_filled(&self, post: usize, first: Arc<Live>) {
        let mut next = Some(first);
        let mut backoff = BACKOFF_MIN;
        loop {
            if let Some(live) = next.take() {
                let began = now();
                live.over(post).await;
                self.fill(post, None);
                if now().saturating_duration_since(began) >= HEALTHY {
                    backoff = BACKOFF_MIN;
                }
            }
            // Not all of them at once.
            tokio::time::sleep(backoff.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            backoff = backoff.saturating_mul(2).min(BACKOFF_MAX);
            match self.start_one(post).await {
                Ok(live) => {
                    self.fill(post, Some(Arc::clone(&live)));
                    next = Some(live);
                }
                Err(error) => tracing::error!(post, %error, "a subserver is missing; trying on"),
            }
        }
    }

    fn fill(&self, post: usize, live: Option<Arc<Live>>) {
        if let Some(place) = self.posts.get(post) {
            place.send_replace(live);
            self.news.send_replace(());
        }
    }

    fn live(&self) -> impl Iterator<Item = Arc<Live>> {
        self.posts.iter().filter_map(|post| post.borrow().clone())
    }

    /// The subserver with the fewest clients.
    fn idlest(&self) -> Option<Arc<Live>> {
        self.live().min_by_key(|live| live.branch.clients())
    }

    /// Waits for a subserver that serves. Cancel safe.
    async fn some(&self) -> Arc<Live> {
        let mut news = self.news.subscribe();
        loop {
            if let Some(live) = self.idlest() {
                return live;
            }
            // The sender is one's own.
            let _ = news.changed().await;
        }
    }

    /// Gives a client to a subserver.
    fn pass(guest: Guest, refusal: Option<Full>, live: &Arc<Live>) {
        let passage = match guest.conduit().hand_over() {
            Some(Ok(handover)) => handover.passage,
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot pass a client on");
                return guest.refuse(Code::Overloaded, "the server cannot serve more clients");
            }
            None => return guest.refuse(Code::Unimplemented, UNFIT),
        };
        // Those of a well-known pipe come to a subserver by themselves.
        let Passage::Socket(socket) = passage else {
            return guest.refuse(Code::Unimplemented, UNFIT);
        };
        let peer = guest.conduit().peer.clone();
        let membership = guest.leave();
        let order = match refusal {
            Some(full) => Order::TurnAway {
                socket,
                reason: full.to_wire(),
            },
            None => Order::Client {
                number: live.branch.enter(peer, membership),
                socket,
            },
        };
        match live.subserver.line.order(&order) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let live = Arc::clone(live);
                spawn(async move {
                    // As many wait as there may be connections.
                    let given = live.subserver.line.order_in_turn(&order);
                    match race(given, live.branch.ended()).await {
                        Either::First(Err(error)) => live.lost(&order, &error),
                        Either::First(Ok(())) | Either::Second(()) => {}
                    }
                });
            }
            Err(error) => live.lost(&order, &error),
        }
    }
}

impl Live {
    /// The client of an order did not get there.
    fn lost(&self, order: &Order, error: &io::Error) {
        tracing::warn!(%error, "a subserver takes no clients");
        if let Order::Client { number, .. } = order {
            self.branch.leave(*number);
        }
    }

    /// Waits until it has ended, and says how. One whose trunk has ended is of no use any more.
    async fn over(&self, post: usize) {
        let child = &self.subserver.child;
        if let Either::First(()) = race(self.branch.ended(), child.wait()).await {
            if let Err(error) = child.kill() {
                tracing::warn!(%error, "a subserver cannot be killed");
            }
        }
        match child.wait().await {
            Ok(status) => {
                let ended = ending(status);
                tracing::warn!(
                    post,
                    "a subserver {ended}; its clients have to connect again"
                );
            }
            Err(error) => tracing::warn!(post, %error, "a subserver is gone"),
        }
    }
}

/// Without its trunk a subserver closes its doors and ends. It has a moment for that, on a thread,
/// because the runtime may be gone; then it is killed.
impl Drop for Live {
    fn drop(&mut self) {
        self.branch.end();
        let subserver = Arc::clone(&self.subserver);
        let farewell = move || {
            let began = Instant::now();
            while began.elapsed() < RETIRE_MAX && matches!(subserver.child.try_wait(), Ok(None)) {
                std::thread::sleep(RETIRE_LOOK);
            }
        };
        // Without a thread there is no moment.
        let _ = std::thread::Builder::new()
            .name("rpc-farewell".to_owned())
            .stack_size(STACK)
            .spawn(farewell);
    }
}

/// How a subserver ended that is as good as gone, if it ends in a moment.
async fn how_it_ended(subserver: &Subserver) -> Option<Error> {
    let ended = tokio::time::timeout(RETIRE_MAX, subserver.child.wait());
    match ended.await {
        Ok(Ok(status)) => Some(too_short(status)),
        _ => None,
    }
}

fn too_short(status: ExitStatus) -> Error {
    let text = format!("a subserver {} before it served", ending(status));
    Error::new(Code::Unreachable, text).with_hint("look at what it wrote to its standard error")
}

/// Two pipes to a subserver.
fn lay_trunk(subserver: &Subserver, post: usize) -> io::Result<Conduit> {
    let (its_reader, writer) = pipe()?;
    let (reader, its_writer) = pipe()?;
    subserver.line.order(&Order::Trunk {
        reader: its_reader,
        writer: its_writer,
    })?;
    Conduit::of_pipes(
        reader,
        writer,
        Peer::new(format!("pipe: subserver {post}")).with_local(true),
    )
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?)
}

impl Dispatcher {
    fn send(self: &Arc<Self>, guest: Guest, refusal: Option<Full>) {
        if let Some(live) = self.idlest() {
            return Self::pass(guest, refusal, &live);
        }
        let dispatcher = Arc::clone(self);
        spawn(async move {
            match tokio::time::timeout(PATIENCE, dispatcher.some()).await {
                Ok(live) => Self::pass(guest, refusal, &live),
                Err(_) => guest.refuse(Code::Overloaded, "no subserver is running"),
            }
        });
    }
}

impl Host for Arc<Dispatcher> {
    fn receive(&self, guest: Guest) {
        self.send(guest, None);
    }

    fn turn_away(&self, guest: Guest, full: Full) {
        self.send(guest, Some(full));
    }

    fn drain(&self) -> BoxFuture<()> {
        let told: JoinSet<()> = self
            .live()
            .map(|live| -> BoxFuture<()> { Box::pin(async move { live.branch.drain().await }) })
            .collect();
        Box::pin(async move {
            told.join_all().await;
        })
    }
}
