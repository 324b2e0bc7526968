//! Spreads calls over the instances of a service.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::matchmaker::{Epoch, HostId, Instance, InstanceId, Query, Snapshot};
use super::{endpoint, host, resolver};
use crate::cancellation::Cancellation;
use crate::client::dial::Dialer;
use crate::client::{Options, Target};
use crate::driver::{Link, now};
use crate::error::{Code, Error};
use crate::race::race;
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
}

/// One instance.
struct Member {
    instance: InstanceId,
    /// One for each address that this process can reach, the nearest first.
    dialers: Vec<Dialer>,
    health: Mutex<Health>,
}

#[derive(Clone, Copy, Default)]
struct Health {
    /// Failures since the last success.
    failures: u32,
    /// The instance is set aside until then.
    aside: Option<Instant>,
    /// The matchmaker, having lost its memory, does not list the instance; it is kept until then.
    unlisted: Option<Instant>,
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
            tokio::spawn(async move {
                let _revival = revival;
                let following = resolver::follow(matchmaker, query, table);
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
        for instance in &snapshot.instances {
            let known = state
                .members
                .iter()
                .find(|member| member.instance == instance.instance);
            match known {
                Some(member) => {
                    member.lock().unlisted = None;
                    members.push(Arc::clone(member));
                }
                None => members.extend(self.member(instance)),
            }
        }
        // Nobody deregistered those whom the matchmaker merely forgot. Whoever was unlisted before
        // and is still, stays for the rest of its time.
        let until = now() + Self::UNLISTED_KEPT;
        for member in &state.members {
            let mut health = member.lock();
            let listed = members
                .iter()
                .any(|listed| listed.instance == member.instance);
            if !listed && forgot {
                health.unlisted.get_or_insert(until);
            }
            if !listed && health.unlisted.is_some_and(|until| now() < until) {
                members.push(Arc::clone(member));
            }
        }
        state.members = members;
        state.epoch = Some(snapshot.epoch);
        state.failure = None;
        drop(state);
        self.changed.notify_waiters();
    }

    /// The matchmaker could not be asked. What is known stays.
    pub(super) fn fail(&self, error: Error) {
        self.lock().failure = Some(error);
        self.changed.notify_waiters();
    }

    fn member(&self, instance: &Instance) -> Option<Arc<Member>> {
        let dialers: Vec<Dialer> = endpoint::usable(&instance.endpoints, &self.here)
            .into_iter()
            .filter_map(|address| address.connector().ok())
            .map(|connector| {
                let expected = Some(instance.instance.to_bytes());
                Dialer::new(connector, Arc::clone(&self.options), expected)
            })
            .collect();
        let health = Mutex::default();
        let member = Member {
            instance: instance.instance,
            dialers,
            health,
        };
        (!member.dialers.is_empty()).then(|| Arc::new(member))
    }

    /// Two random members that are not set aside, the less busy first; any two if all are.
    fn choose(&self) -> Option<Arc<Member>> {
        let state = self.lock();
        let now = now();
        let fit: Vec<&Arc<Member>> = state
            .members
            .iter()
            .filter(|member| member.is_fit(now))
            .collect();
        let from: Vec<&Arc<Member>> = if fit.is_empty() {
            state.members.iter().collect()
        } else {
            fit
        };
        let first = from.get(random_index(from.len())?)?;
        let mut chosen = *first;
        if from.len() > 1 {
            // The second is another one: a random step of 1 to n - 1 around the circle.
            let start = from.iter().position(|member| Arc::ptr_eq(member, first))?;
            let step = 1 + random_index(from.len() - 1)?;
            let second = from.get((start + step) % from.len())?;
            if second.calls_in_flight() < first.calls_in_flight() {
                chosen = second;
            }
        }
        Some(Arc::clone(chosen))
    }

    fn member_of(&self, link: &Link) -> Option<Arc<Member>> {
        let state = self.lock();
        state
            .members
            .iter()
            .find(|member| member.owns(link))
            .cloned()
    }

    fn has_fit(&self) -> bool {
        let now = now();
        self.lock().members.iter().any(|member| member.is_fit(now))
    }

    fn len(&self) -> usize {
        self.lock().members.len()
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

impl Member {
    /// An instance that failed is set aside for a second, then for twice as long with each failure,
    /// at most for half a minute.
    const ASIDE_MIN: Duration = Duration::from_secs(1);
    const ASIDE_MAX: Duration = Duration::from_secs(30);

    fn is_fit(&self, now: Instant) -> bool {
        self.lock().aside.is_none_or(|until| now >= until)
    }

    fn set_aside(&self) {
        let mut health = self.lock();
        let aside = Self::ASIDE_MIN
            .saturating_mul(1 << health.failures.min(5))
            .min(Self::ASIDE_MAX);
        health.failures = health.failures.saturating_add(1);
        health.aside = Some(now() + aside);
    }

    fn recovered(&self) {
        let mut health = self.lock();
        health.failures = 0;
        health.aside = None;
    }

    fn calls_in_flight(&self) -> usize {
        self.dialers.iter().map(Dialer::calls_in_flight).sum()
    }

    fn owns(&self, link: &Link) -> bool {
        self.dialers.iter().any(|dialer| dialer.owns(link))
    }

    fn ready(&self) -> Option<Link> {
        self.dialers.iter().find_map(Target::ready)
    }

    /// A connection by the nearest address that answers.
    async fn acquire(&self) -> Result<Link, Error> {
        let mut last = None;
        for dialer in &self.dialers {
            match dialer.acquire().await {
                Ok(link) => {
                    self.recovered();
                    return Ok(link);
                }
                Err(error) => last = Some(error),
            }
        }
        self.set_aside();
        Err(last.unwrap_or_else(|| Error::new(Code::Unreachable, "the instance has no address")))
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random_index(length: usize) -> Option<usize> {
    (length > 0).then(|| fastrand::usize(..length))
}

impl Target for Balance {
    fn ready(&self) -> Option<Link> {
        self.table.choose()?.ready()
    }

    fn acquire(&self) -> BoxFuture<Result<Link, Error>> {
        self.start_resolver();
        let table = Arc::clone(&self.table);
        Box::pin(async move {
            table.resolved().await?;
            let mut last = None;
            // Once for each instance, and once more for what the matchmaker learns meanwhile.
            for _ in 0..=table.len() {
                let Some(member) = table.choose() else { break };
                match member.acquire().await {
                    Ok(link) => return Ok(link),
                    Err(error) => last = Some(error),
                }
            }
            match last {
                Some(error) => Err(error),
                None => table.resolved().await.and_then(|()| {
                    Err(Error::new(
                        Code::Unreachable,
                        "no instance of the service answers",
                    ))
                }),
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
        (lost || error.code() == Code::Overloaded) && self.table.has_fit()
    }

    fn address(&self) -> Arc<str> {
        Arc::clone(&self.table.name)
    }
}
