//! Spreads calls over the instances of a service.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::Notify;

use super::matchmaker::{Epoch, HostId, Instance, Query, Snapshot};
use super::member::Member;
use super::{endpoint, host, resolver};
use crate::cancellation::Cancellation;
use crate::client::dial::Dialer;
use crate::client::{Options, Target};
use crate::driver::{Link, now, spawn};
use crate::error::{Code, Error};
use crate::race::{Either, race};
use crate::service::BoxFuture;
use crate::transport::Address;

/// The target of a name: each call goes to the one of two random instances that has fewer calls in
/// flight ("power of two choices", Mitzenmacher 2001), which spreads nearly as well as asking all of
/// them and cannot herd.
///
/// An instance that cannot be reached or that loses its connection is set aside for a while that
/// doubles, and comes back by itself. When all are set aside, all are tried.
#[derive(Clone)]
pub(super) struct Balance {
    table: Arc<Table>,
}

/// What is known of the instances. The resolver writes it, calls read it.
pub(super) struct Table {
    name: Arc<str>,
    here: HostId,
    options: Arc<Options>,
    state: Mutex<State>,
    changed: Notify,
    /// What the resolver needs to start; taken with the first call, because a runtime is there
    /// then.
    resolver: Mutex<Option<(Address, Query)>>,
    /// Fires when nobody holds the table, so that the resolver does not sit out its watch.
    abandoned: Cancellation,
}

impl Drop for Table {
    fn drop(&mut self) {
        self.abandoned.cancel();
    }
}

#[derive(Default)]
struct State {
    members: Vec<Arc<Member>>,
    epoch: Option<Epoch>,
    /// Why the matchmaker could not be asked, if the last attempt failed.
    failure: Option<Error>,
    /// Why an instance was left out whose addresses this process could reach but may not.
    refusal: Option<Error>,
}

impl Balance {
    pub(super) fn new(matchmaker: Address, query: Query, options: Arc<Options>) -> Self {
        let table = Table {
            name: format!("mm:{}", query.name).into(),
            here: host::id(),
            options,
            state: Mutex::default(),
            changed: Notify::new(),
            resolver: Mutex::new(Some((matchmaker, query))),
            abandoned: Cancellation::new(),
        };
        Self {
            table: Arc::new(table),
        }
    }

    fn start_resolver(&self) {
        let resolver = self
            .table
            .resolver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((matchmaker, query)) = resolver {
            let table = Arc::downgrade(&self.table);
            let revival = Revival {
                table: table.clone(),
                parts: Some((matchmaker.clone(), query.clone())),
            };
            let abandoned = self.table.abandoned.clone();
            let connect = self.table.options.connect.clone();
            spawn(async move {
                let _revival = revival;
                let following = resolver::follow(matchmaker, connect, query, table);
                race(abandoned.cancelled(), following).await;
            });
        }
    }
}

/// Lets the next call start the resolver anew when its task was dropped, as it is with its runtime.
struct Revival {
    table: Weak<Table>,
    parts: Option<(Address, Query)>,
}

impl Drop for Revival {
    fn drop(&mut self) {
        if let Some(table) = self.table.upgrade() {
            *table
                .resolver
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = self.parts.take();
        }
    }
}

impl Table {
    /// How long an instance that a restarted matchmaker does not list yet is kept: two leases of the
    /// default length, within which every registrar comes back.
    const UNLISTED_KEPT: Duration = Duration::from_secs(30);

    /// Takes in what the matchmaker said. Instances that stay keep their connections.
    pub(super) fn update(&self, snapshot: Snapshot) {
        let mut state = self.lock();
        let forgot = state.epoch.is_some_and(|epoch| epoch != snapshot.epoch);
        let mut members: Vec<Arc<Member>> = Vec::new();
        let mut refusal = None;
        for instance in &snapshot.instances {
            let known = state.members.iter().find(|member| {
                member.instance == instance.instance && member.endpoints == instance.endpoints
            });
            match known {
                Some(member) => {
                    member.listed();
                    members.push(Arc::clone(member));
                }
                None => match self.member(instance) {
                    Ok(member) => members.push(member),
                    Err(error) => refusal = error.or(refusal),
                },
            }
        }
        // Nobody deregistered those whom the matchmaker merely forgot. Whoever was unlisted before
        // and is still, stays for the rest of its time.
        let until = now() + Self::UNLISTED_KEPT;
        for member in &state.members {
            let listed = members
                .iter()
                .any(|listed| listed.instance == member.instance);
            if !listed && member.is_kept(forgot.then_some(until)) {
                members.push(Arc::clone(member));
            }
        }
        state.members = members;
        state.epoch = Some(snapshot.epoch);
        state.failure = None;
        state.refusal = refusal;
        drop(state);
        self.changed.notify_waiters();
    }

    /// The matchmaker could not be asked. What is known stays.
    pub(super) fn fail(&self, error: Error) {
        self.lock().failure = Some(error);
        self.changed.notify_waiters();
    }

    /// The instance as one that calls may go to. If it has no address that this process may use,
    /// then why not, unless that is a matter of course.
    fn member(&self, instance: &Instance) -> Result<Arc<Member>, Option<Error>> {
        let mut dialers = Vec::new();
        let mut refusal = None;
        for target in endpoint::reachable(&instance.endpoints, &self.here) {
            let mut options = self.options.connect.clone();
            if let Some(identity) = target.identity {
                options = options.expect_identity(identity);
            }
            match target.address.connector(&options) {
                Ok(connector) => {
                    let expected = Some(instance.instance.to_bytes());
                    dialers.push(Dialer::new(connector, Arc::clone(&self.options), expected));
                }
                Err(error) if error.code() == Code::Insecure => refusal = Some(error),
                // Of a later version, or for another system.
                Err(_) => {}
            }
        }
        if dialers.is_empty() {
            return Err(refusal);
        }
        Ok(Arc::new(Member::new(
            instance.instance,
            instance.endpoints.clone(),
            dialers,
        )))
    }

    /// The less busy of two random members that are not set aside; of any two if all are.
    fn choose(&self) -> Option<Arc<Member>> {
        let state = self.lock();
        let now = now();
        let fit: Vec<&Arc<Member>> = state
            .members
            .iter()
            .filter(|member| member.is_fit(now))
            .collect();
        if fit.is_empty() {
            less_busy(&state.members.iter().collect::<Vec<_>>())
        } else {
            less_busy(&fit)
        }
    }

    /// The less busy of two random members that have a connection and are not set aside.
    fn choose_connected(&self) -> Option<Arc<Member>> {
        let state = self.lock();
        let now = now();
        let connected: Vec<&Arc<Member>> = state
            .members
            .iter()
            .filter(|member| member.is_fit(now) && member.ready().is_some())
            .collect();
        less_busy(&connected)
    }

    /// All members in a random order, those that are set aside last.
    fn candidates(&self) -> Vec<Arc<Member>> {
        let mut members = self.lock().members.clone();
        fastrand::shuffle(&mut members);
        let (now, mut candidates, mut aside) = (now(), Vec::new(), Vec::new());
        for member in members {
            match member.is_fit(now) {
                true => candidates.push(member),
                false => aside.push(member),
            }
        }
        candidates.append(&mut aside);
        candidates
    }

    fn member_of(&self, link: &Link) -> Option<Arc<Member>> {
        let state = self.lock();
        state
            .members
            .iter()
            .find(|member| member.owns(link))
            .cloned()
    }

    /// Whether another member than the one behind `link` may be tried now.
    fn has_fit_besides(&self, link: &Link) -> bool {
        let now = now();
        self.lock()
            .members
            .iter()
            .any(|member| member.is_fit(now) && !member.owns(link))
    }

    /// Waits until there is something to choose from, or a reason why there is not.
    async fn resolved(&self) -> Result<(), Error> {
        loop {
            let changed = self.changed.notified();
            {
                let state = self.lock();
                if !state.members.is_empty() {
                    return Ok(());
                }
                if let Some(error) = &state.failure {
                    return Err(error.clone());
                }
                if let Some(error) = &state.refusal {
                    return Err(error.clone());
                }
                if state.epoch.is_some() {
                    let name = self.name.trim_start_matches("mm:");
                    let text = format!("the matchmaker knows no reachable instance of \"{name}\"");
                    return Err(Error::new(Code::NotFound, text).with_hint(
                        "start the service with `.register()`, and look at `matchmaker list`",
                    ));
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The less busy of two random ones.
fn less_busy(members: &[&Arc<Member>]) -> Option<Arc<Member>> {
    let first = random_index(members.len())?;
    let mut chosen = *members.get(first)?;
    if members.len() > 1 {
        // The second is another one: a random step of 1 to n - 1 around the circle.
        let step = 1 + random_index(members.len() - 1)?;
        let second = members.get((first + step) % members.len())?;
        if second.calls_in_flight() < chosen.calls_in_flight() {
            chosen = second;
        }
    }
    Some(Arc::clone(chosen))
}

fn random_index(length: usize) -> Option<usize> {
    (length > 0).then(|| fastrand::usize(..length))
}

impl Target for Balance {
    fn ready(&self) -> Option<Link> {
        let chosen = self.table.choose()?;
        if let Some(link) = chosen.ready() {
            return Some(link);
        }
        // A call does not wait for a new connection while there is an old one: whoever has to be
        // dialled may be slow, or may take connections and say nothing.
        let link = self.table.choose_connected()?.ready()?;
        chosen.connect();
        Some(link)
    }

    fn acquire(&self) -> BoxFuture<Result<Link, Error>> {
        self.start_resolver();
        let table = Arc::clone(&self.table);
        Box::pin(async move {
            table.resolved().await?;
            match first_connection(table.candidates()).await {
                Ok(link) => Ok(link),
                // The matchmaker may have learned meanwhile that nobody is there any more.
                Err(error) => table.resolved().await.and(Err(error)),
            }
        })
    }

    fn failed(&self, link: &Link, error: &Error) -> bool {
        let lost = matches!(
            error.code(),
            Code::Disconnected | Code::Draining | Code::Refused | Code::Unauthenticated | Code::Io
        );
        if lost {
            if let Some(member) = self.table.member_of(link) {
                member.set_aside();
            }
        }
        (lost || error.code() == Code::Overloaded) && self.table.has_fit_besides(link)
    }

    fn address(&self) -> Arc<str> {
        Arc::clone(&self.table.name)
    }
}

/// A connection to whichever of `candidates` gives one first. They are dialled in turn, the next
/// one when the one before has failed or is slow.
async fn first_connection(candidates: Vec<Arc<Member>>) -> Result<Link, Error> {
    /// How long one may take before the next is dialled beside it: what RFC 8305 recommends.
    const SLOW: Duration = Duration::from_millis(250);
    let mut candidates = candidates.into_iter();
    let mut dials: Vec<BoxFuture<Result<Link, Error>>> = Vec::new();
    let mut last = Error::new(Code::Unreachable, "no instance of the service answers");
    loop {
        let next = candidates.next();
        let slow = next.as_ref().map(|_| SLOW);
        match next {
            Some(member) => dials.push(Box::pin(async move { member.acquire().await })),
            None if dials.is_empty() => return Err(last),
            None => {}
        }
        let slow = async {
            match slow {
                Some(slow) => tokio::time::sleep(slow).await,
                None => std::future::pending().await,
            }
        };
        match race(any(&mut dials), slow).await {
            Either::First(Ok(link)) => return Ok(link),
            Either::First(Err(error)) => last = error,
            Either::Second(()) => {}
        }
    }
}

/// Waits for one of `dials` to end, and takes it out.
async fn any(dials: &mut Vec<BoxFuture<Result<Link, Error>>>) -> Result<Link, Error> {
    poll_fn(|cx| {
        for index in 0..dials.len() {
            let polled = dials.get_mut(index).map(|dial| dial.as_mut().poll(cx));
            if let Some(Poll::Ready(ended)) = polled {
                drop(dials.swap_remove(index));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    })
    .await
}
