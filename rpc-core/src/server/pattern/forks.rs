//! The forking server at work: the main process's side, and a subserver's.

use std::collections::VecDeque;
use std::future::{Future as _, pending, poll_fn, ready};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use super::queue::{Denied, Queue};
use super::{Forking, Host, Strategy};
use crate::cancellation::Cancellation;
use crate::driver::spawn;
use crate::error::{Code, Error};
use crate::process::ending;
use crate::race::{Either, race};
use crate::server::connections::{Membership, SHUTTING_DOWN};
use crate::server::reception::{Guest, Reception};
use crate::server::subserver::{
    self, Duty, Kind, Order, Progress, Report, Resources, Sentry, Starter, Subserver,
};
use crate::service::BoxFuture;
use crate::transport::{Conduit, Handover, ListenOptions, Passage};

/// How long a subserver may outlive its client. What runs for it is dropped at once, so who needs
/// longer computes and does not notice.
const LEFT_ALONE_MAX: Duration = Duration::from_secs(5);

impl Strategy for Forking {
    fn hands_over(&self) -> bool {
        true
    }

    fn host(
        self: Box<Self>,
        reception: Arc<Reception>,
        _: Vec<String>,
    ) -> BoxFuture<Result<Arc<dyn Host>, Error>> {
        Box::pin(async move {
            let forks = Forks::new(*self, &reception)?;
            Ok(Arc::new(forks) as Arc<dyn Host>)
        })
    }

    fn duty(&self) -> Result<Option<&'static Duty>, Error> {
        Ok(subserver::duty())
    }

    fn perform(
        self: Box<Self>,
        duty: &'static Duty,
        reception: Arc<Reception>,
        _: ListenOptions,
    ) -> BoxFuture<()> {
        match duty.orders(Kind::Forking, reception.router.signature()) {
            Some(orders) => Box::pin(async move { serve(duty, orders, reception).await }),
            None => Box::pin(ready(())),
        }
    }
}

/// Starts subservers, and gives each a client.
struct Forks(Arc<Inner>);

struct Inner {
    starter: Arc<Starter>,
    queue: Arc<Queue>,
    /// Subservers that wait for a client, the oldest first.
    spares: Mutex<VecDeque<Spare>>,
    /// How many of them there should be.
    spare: usize,
    /// How long a client may be silent.
    handshake: Duration,
    /// The server begins to stop.
    leaving: Cancellation,
}

/// A subserver without a client. A task looks after it, so that none that ends stays a zombie, and
/// gives it to who asks.
struct Spare(oneshot::Sender<oneshot::Sender<Subserver>>);

impl Forks {
    fn new(pattern: Forking, reception: &Reception) -> Result<Self, Error> {
        let resources = Resources {
            memory: pattern.memory_max,
            cpu: pattern.cpu_max.map(|time| time.as_secs().max(1)),
            files: pattern.files_max,
            patience: u64::try_from(pattern.step_down_after.as_millis()).ok(),
        };
        let starter = Starter::new(
            pattern.command.map(|command| *command),
            Kind::Forking,
            reception.router.signature(),
            u128::from_be_bytes(reception.opening.instance),
            resources,
        )?;
        let queue = Queue::new(
            pattern.subservers_max,
            pattern.waiting_max,
            pattern.wait_max,
        );
        let inner = Arc::new(Inner {
            starter: Arc::new(starter),
            queue: Arc::new(queue),
            spares: Mutex::default(),
            spare: pattern.spare,
            handshake: reception.limits.handshake,
            leaving: reception.connections.leaving().clone(),
        });
        inner.prepare();
        Ok(Self(inner))
    }
}

impl Host for Forks {
    fn receive(&self, guest: Guest) {
        spawn(Arc::clone(&self.0).look_after(guest));
    }
}

impl Inner {
    /// Looks after one client, from its first byte to the end of its subserver.
    async fn look_after(self: Arc<Self>, mut guest: Guest) {
        let Handover { passage, kept } = match guest.conduit().hand_over() {
            Some(Ok(handover)) => handover,
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot pass a client on");
                return guest.refuse(Code::Overloaded, STARVED);
            }
            // Addresses of other transports were refused when the server started.
            None => return guest.refuse(Code::Unimplemented, "it cannot be passed to a subserver"),
        };
        let ended = guest.elsewhere();
        let ready = async {
            let spoken = tokio::time::timeout(self.handshake, has_spoken(passage)).await;
            let Ok(Ok(Some(passage))) = spoken else {
                return None;
            };
            let place = match self.queue.try_place() {
                Some(place) => Ok(place),
                None => self.queue.wait().await,
            };
            Some(place.map(|place| (passage, place)))
        };
        let (passage, _place) = match race(race(ended.cancelled(), self.leaving.cancelled()), ready)
            .await
        {
            Either::First(Either::First(())) | Either::Second(None) => return,
            Either::First(Either::Second(())) => {
                return guest.refuse(Code::Draining, SHUTTING_DOWN);
            }
            Either::Second(Some(Err(denied))) => {
                let text = match denied {
                    Denied::Full => "all subservers are busy, and no more clients may wait for one",
                    Denied::Late => "all subservers are busy",
                };
                return guest.refuse(Code::Overloaded, text);
            }
            Either::Second(Some(Ok(ready))) => ready,
        };
        let order = Order::Serve(passage);
        let subserver = match self.subserver(&order).await {
            Ok(subserver) => subserver,
            Err(error) => {
                tracing::warn!(%error, "cannot start a subserver");
                return guest.refuse(Code::Overloaded, STARVED);
            }
        };
        // From here on nobody else has the connection, so it ends with the subserver.
        drop(order);
        self.supervise(subserver, guest.leave(), ended).await;
        drop(kept);
    }

    /// A subserver that has the order: one of those that wait, or a new one.
    async fn subserver(self: &Arc<Self>, order: &Order) -> io::Result<Subserver> {
        while let Some(spare) = self.spare() {
            let (sender, receiver) = oneshot::channel();
            // Either fails if it has ended meanwhile.
            if spare.0.send(sender).is_ok() {
                if let Ok(subserver) = receiver.await {
                    if subserver.line.order(order).is_ok() {
                        self.prepare();
                        return Ok(subserver);
                    }
                }
            }
        }
        self.prepare();
        let subserver = start(&self.starter).await?;
        subserver.line.order(order)?;
        Ok(subserver)
    }

    fn spare(&self) -> Option<Spare> {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        spares.pop_front()
    }

    /// Waits for the end of a subserver, and passes on what it and the server have to say to each
    /// other.
    async fn supervise(
        &self,
        subserver: Subserver,
        mut membership: Membership,
        ended: Cancellation,
    ) {
        let Subserver { child, line } = subserver;
        let (mut is_told, mut is_up) = (false, true);
        if !line.hears() {
            membership.heard();
        }
        loop {
            let over = race(child.wait(), ended.cancelled());
            let report = async {
                match is_up {
                    true => line.report().await,
                    false => pending().await,
                }
            };
            let leaving = async {
                match is_told {
                    true => pending().await,
                    false => self.leaving.cancelled().await,
                }
            };
            match race(over, race(report, leaving)).await {
                Either::First(Either::First(status)) => {
                    match status {
                        Ok(status) if status.success() => {}
                        Ok(status) => {
                            let (pid, how) = (child.id(), ending(status));
                            tracing::warn!(pid, "a subserver {how}");
                        }
                        Err(error) => tracing::warn!(%error, "a subserver was lost"),
                    }
                    return;
                }
                Either::First(Either::Second(())) => {
                    // The connection counts until the process is gone.
                    if child.kill().is_ok() {
                        let _ = child.wait().await;
                    }
                    return;
                }
                Either::Second(Either::First(Ok(Some(Report::Agreed)))) => membership.heard(),
                // It is ending, and `child` will tell.
                Either::Second(Either::First(_)) => is_up = false,
                Either::Second(Either::Second(())) => {
                    is_told = true;
                    let _ = line.order(&Order::Drain);
                }
            }
        }
    }

    /// Sees to it that there are as many spare subservers as there should be.
    fn prepare(self: &Arc<Self>) {
        if self.spare == 0 || self.leaving.is_cancelled() {
            return;
        }
        let inner = Arc::clone(self);
        spawn(async move {
            while inner.lacks_spares() {
                match start(&inner.starter).await {
                    Ok(subserver) => inner.keep(subserver),
                    // The next client tries again.
                    Err(error) => return tracing::warn!(%error, "cannot start a spare subserver"),
                }
            }
        });
    }

    fn lacks_spares(&self) -> bool {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        spares.retain(|spare| !spare.0.is_closed());
        spares.len() < self.spare && !self.leaving.is_cancelled()
    }

    fn keep(&self, subserver: Subserver) {
        let (sender, wanted) = oneshot::channel::<oneshot::Sender<Subserver>>();
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        spares.push_back(Spare(sender));
        drop(spares);
        spawn(async move {
            match race(wanted, subserver.child.wait()).await {
                // Who asked may have gone; then it ends, as it does when the server is gone.
                Either::First(Ok(wanted)) => drop(wanted.send(subserver)),
                Either::First(Err(_)) => {}
                Either::Second(Ok(status)) => {
                    let (pid, how) = (subserver.child.id(), ending(status));
                    tracing::warn!(pid, "a spare subserver {how}");
                }
                Either::Second(Err(error)) => tracing::warn!(%error, "a spare subserver was lost"),
            }
        });
    }
}

const STARVED: &str = "the server has no means to serve more clients";

/// Starts a subserver on a thread for what blocks.
async fn start(starter: &Arc<Starter>) -> io::Result<Subserver> {
    let starter = Arc::clone(starter);
    let started = tokio::task::spawn_blocking(move || starter.start());
    started.await.map_err(io::Error::other)?
}

/// Waits until the client has sent something, which stays unread: one that is silent costs no
/// process. `None` if it has gone without a word.
async fn has_spoken(passage: Passage) -> io::Result<Option<Passage>> {
    let Passage::Socket(socket) = passage else {
        // Its record was read.
        return Ok(Some(passage));
    };
    // Of whatever kind the socket is: nothing is asked but whether there is something to read.
    let socket = UnixStream::from_std(socket.into())?;
    let peek = || match recv(&socket, &mut [0], RecvFlags::PEEK) {
        Ok((bytes, _)) => Ok(bytes > 0),
        Err(Errno::INTR) => Err(io::ErrorKind::WouldBlock.into()),
        Err(error) => Err(error.into()),
    };
    let spoken = socket.async_io(Interest::READABLE, peek).await?;
    let socket = socket.into_std()?;
    Ok(spoken.then(|| Passage::Socket(socket.into())))
}

/// A subserver's side: serves the one client, and ends the process.
async fn serve(duty: &Duty, mut orders: Receiver<Order>, reception: Arc<Reception>) -> ! {
    let passage = match orders.recv().await {
        Some(Order::Serve(passage)) => passage,
        Some(_) => std::process::exit(0),
        // The main process is gone, and this one is about to.
        None => pending().await,
    };
    let taken = Conduit::take_over(passage).and_then(|conduit| {
        let progress = Progress::new()?;
        if let Some(descriptor) = conduit.descriptor() {
            let sentry = Sentry {
                client: descriptor.try_clone_to_owned()?,
                grace: LEFT_ALONE_MAX,
                patience: duty.patience(),
                progress: progress.clone(),
            };
            sentry.post()?;
        }
        Ok((conduit, progress))
    });
    let (conduit, progress) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            tracing::error!(%error, "cannot take a client over");
            std::process::exit(1)
        }
    };
    if let Some(guest) = reception.admit(conduit) {
        let (link, seat) = guest.serve();
        let mut seat = pin!(seat);
        let mut is_told = false;
        let mut drains = pin!(async {
            while let Some(order) = orders.recv().await {
                if let Order::Drain = order {
                    return;
                }
            }
            pending().await
        });
        let mut drained = false;
        poll_fn(|cx| {
            if !drained && drains.as_mut().poll(cx).is_ready() {
                drained = true;
                link.go_away(Code::Draining, SHUTTING_DOWN);
            }
            progress.begins();
            let polled = seat.as_mut().poll(cx);
            progress.ends();
            if !is_told && seat.is_heard() {
                is_told = true;
                duty.report(Report::Agreed);
            }
            polled.map(drop)
        })
        .await;
    }
    std::process::exit(0)
}
