//! One instance of a service: its connections, and whether it is worth a try.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::matchmaker::{Endpoint, InstanceId};
use crate::client::Target as _;
use crate::client::dial::Dialer;
use crate::driver::{Link, now, spawn};
use crate::error::{Code, Error};

/// One instance, as long as the matchmaker lists it or has merely forgotten it.
pub(super) struct Member {
    pub(super) instance: InstanceId,
    /// As registered: whoever registers others is reached by new connections.
    pub(super) endpoints: Vec<Endpoint>,
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
    /// A task is under way that connects.
    connecting: bool,
}

impl Member {
    /// An instance that failed is set aside for a second, then for twice as long with each failure,
    /// at most for half a minute.
    const ASIDE_MIN: Duration = Duration::from_secs(1);
    const ASIDE_MAX: Duration = Duration::from_secs(30);

    pub(super) fn new(
        instance: InstanceId,
        endpoints: Vec<Endpoint>,
        dialers: Vec<Dialer>,
    ) -> Self {
        Self {
            instance,
            endpoints,
            dialers,
            health: Mutex::default(),
        }
    }

    /// The matchmaker lists it.
    pub(super) fn listed(&self) {
        self.lock().unlisted = None;
    }

    /// Whether it is kept although the matchmaker does not list it: if that has forgotten it, until
    /// then, and for what is left of that time ever after.
    pub(super) fn is_kept(&self, forgotten: Option<Instant>) -> bool {
        let mut health = self.lock();
        health.unlisted = health.unlisted.or(forgotten);
        health.unlisted.is_some_and(|until| now() < until)
    }

    /// Whether calls should go there: it is not set aside.
    pub(super) fn is_fit(&self, now: Instant) -> bool {
        self.lock().aside.is_none_or(|until| now >= until)
    }

    /// It could not be reached, or has lost its connection.
    pub(super) fn set_aside(&self) {
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

    /// Calls of this process that it has not answered.
    pub(super) fn calls_in_flight(&self) -> usize {
        self.dialers.iter().map(Dialer::calls_in_flight).sum()
    }

    /// Whether `link` is one of its connections.
    pub(super) fn owns(&self, link: &Link) -> bool {
        self.dialers.iter().any(|dialer| dialer.owns(link))
    }

    /// A connection that takes calls now, if there is one.
    pub(super) fn ready(&self) -> Option<Link> {
        self.dialers.iter().find_map(|dialer| dialer.ready())
    }

    /// A connection by the nearest address that answers.
    pub(super) async fn acquire(&self) -> Result<Link, Error> {
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

    /// Connects in a task of its own, which sets the instance aside if it cannot.
    pub(super) fn connect(self: &Arc<Self>) {
        if std::mem::replace(&mut self.lock().connecting, true) {
            return;
        }
        let connecting = Connecting(Arc::clone(self));
        // A call that is polled outside of a runtime uses what is connected already.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let _entered = runtime.enter();
        spawn(async move {
            // The failure is told to whoever asks next.
            let _ = connecting.0.acquire().await;
        });
    }

    fn lock(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the next task connect when this one is gone, however it goes.
struct Connecting(Arc<Member>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.lock().connecting = false;
    }
}
