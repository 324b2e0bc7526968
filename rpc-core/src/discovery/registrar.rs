//! Keeps a server's entry at the matchmaker, for ever.

use std::convert::Infallible;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::daemon::{self, Backoff};
use super::matchmaker::{
    InstanceId, MatchmakerClient, Offer, Registered, Registration, RegistryError,
};
use super::{endpoint, host};
use crate::client::Channel;
use crate::driver::spawn;
use crate::error::{CallError, Code, Error};
use crate::race::{Either, race};
use crate::server::{Companion, Offering, RegistrationWish, ServerBuilder};
use crate::transport::{Address, ConnectOptions, IntoAddress};

/// Registration with the matchmaker.
impl ServerBuilder {
    /// Registers all services with the matchmaker, until the server stops.
    ///
    /// The entry is kept whatever happens: a matchmaker that restarts, a lost lease and an entry
    /// deleted by hand are all answered by registering again. A matchmaker that is away delays the
    /// registration and not the server: [`start`](Self::start) waits for it for at most a second.
    ///
    /// Addresses that mean nothing to other processes (`memory:`, `pipe:`, `exec:`, a transport of
    /// your own) are left out.
    pub fn register(self) -> Self {
        self.companion(|offering, wish| {
            Box::pin(async move {
                let registrar = Registrar::start(offering, wish).await?;
                Ok(Box::new(registrar) as Box<dyn Companion>)
            })
        })
    }

    /// Where the matchmaker is that [`register`](Self::register) registers with. The default is the
    /// environment's `MATCHMAKER_ADDR`, or `tcp://127.0.0.1:7111`.
    pub fn matchmaker(mut self, address: impl IntoAddress) -> Self {
        self.wish.matchmaker = Some(address.into_address());
        self
    }

    /// Which matchmaker to believe at a `tls://` address, and who this server is to it.
    #[cfg(feature = "_tls")]
    pub fn matchmaker_tls(mut self, tls: crate::transport::ClientTls) -> Self {
        self.wish.connect = self.wish.connect.tls(tls);
        self
    }

    /// An address to register instead of those that the server listens at, such as that of a
    /// forwarder in front of it. It may be given several times.
    pub fn advertise(mut self, address: impl IntoAddress) -> Self {
        self.wish.advertise.push(address.into_address());
        self
    }
}

/// The task that keeps the entry, and the way to end it.
struct Registrar {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Registrar {
    /// How long a server's start waits to be registered.
    const START_WAIT: Duration = Duration::from_secs(1);

    /// # Errors
    /// An address is invalid, or the matchmaker refuses what is registered.
    async fn start(offering: Offering, wish: RegistrationWish) -> Result<Self, Error> {
        let matchmaker = daemon::place(daemon::address(wish.matchmaker)?)?;
        matchmaker.connector(&daemon::options(&wish.connect))?;
        let here = host::id();
        let endpoints = if wish.advertise.is_empty() {
            endpoint::offered(&offering.places, &here)
        } else {
            endpoint::advertised(wish.advertise, &here)?
        };
        if endpoints.is_empty() {
            let error = Error::new(Code::InvalidAddress, "there is no address to register");
            return Err(
                error.with_hint("listen at a tcp:// or unix: address, or use `.advertise(..)`")
            );
        }
        let instance = InstanceId::from_bytes(offering.instance);
        let mut registration = Registration::new(instance, here, std::process::id());
        registration.endpoints = endpoints;
        registration.services = offering
            .services
            .iter()
            .map(|service| Offer::new(service.name, service.version, service.fingerprint()))
            .collect();

        let (stop, stopped) = watch::channel(false);
        let (report, first) = oneshot::channel();
        let place = matchmaker.to_string();
        let keeper = Keeper {
            matchmaker,
            connect: wish.connect,
            registration,
            report: Some(report),
        };
        let registrar = Self {
            stop,
            task: spawn(keeper.run(stopped)),
        };
        match tokio::time::timeout(Self::START_WAIT, first).await {
            Ok(Ok(Err(error))) if matches!(error.code(), Code::Denied | Code::Insecure) => {
                return Err(error);
            }
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!("{error}; the server is not registered yet"),
            _ => tracing::warn!(
                "the matchmaker at {place} does not answer; the server is not registered yet"
            ),
        }
        Ok(registrar)
    }
}

#[async_trait]
impl Companion for Registrar {
    async fn leave(&mut self) {
        // The task is gone already only if its runtime is.
        let _ = self.stop.send(true);
        let _ = (&mut self.task).await;
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        // The connection closes with the task, and the matchmaker sees that at once on this host;
        // elsewhere the lease ends.
        self.task.abort();
    }
}

struct Keeper {
    matchmaker: Address,
    connect: ConnectOptions,
    registration: Registration,
    /// Told how the first attempt went.
    report: Option<oneshot::Sender<Result<(), Error>>>,
}

/// A registration that stands.
struct Entry {
    client: MatchmakerClient,
    registered: Registered,
}

impl Keeper {
    /// Renewals are at least so far apart, whatever a matchmaker grants.
    const RENEWAL_MIN: Duration = Duration::from_millis(100);

    async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let mut entry = None;
        let stop = async {
            // An error means that the registrar was dropped, which aborts this task.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        match race(stop, self.keep(&mut entry)).await {
            Either::First(()) => {}
            Either::Second(never) => match never {},
        }
        if let Some(Entry { client, registered }) = entry {
            if let Err(error) = client
                .deregister(registered.lease, registered.revision)
                .await
            {
                tracing::warn!(%error, "could not deregister; the lease will end by itself");
            }
        }
    }

    /// Registers, renews, and begins again whenever either fails. `entry` holds what stands.
    async fn keep(&mut self, entry: &mut Option<Entry>) -> Infallible {
        let mut backoff = Backoff::new(&self.matchmaker);
        loop {
            let Err(error) = self.session(entry, &mut backoff).await;
            match entry.take() {
                Some(_) => tracing::warn!("the registration is lost, and is tried again: {error}"),
                None => tracing::debug!(%error, "the registration does not stand"),
            }
            if let Some(report) = self.report.take() {
                let _ = report.send(Err(error));
            }
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// One connection to the matchmaker, from dialling to its end.
    async fn session(
        &mut self,
        entry: &mut Option<Entry>,
        backoff: &mut Backoff,
    ) -> Result<Infallible, Error> {
        let place = self.matchmaker.to_string();
        let away = |error| daemon::unreachable(error, &place);
        let link = daemon::dial(&self.matchmaker, &self.connect)
            .await
            .map_err(away)?;
        let client = MatchmakerClient::new(Channel::over(link.clone()));
        loop {
            let registered = match client.register(&self.registration).await {
                Ok(registered) => registered,
                Err(CallError::Rpc(error)) => return Err(away(error)),
                Err(CallError::Service(RegistryError::StaleIncarnation { current })) => {
                    self.registration.incarnation = current.saturating_add(1);
                    tokio::time::sleep(backoff.next()).await;
                    continue;
                }
                Err(CallError::Service(busy @ RegistryError::Unavailable { .. })) => {
                    return Err(away(Error::new(Code::Overloaded, busy.to_string())));
                }
                Err(CallError::Service(refusal)) => {
                    let text =
                        format!("the matchmaker at {place} refused the registration: {refusal}");
                    return Err(Error::new(Code::Denied, text));
                }
            };
            tracing::info!(
                matchmaker = place,
                revision = registered.revision.0,
                "registered"
            );
            backoff.reset();
            if let Some(report) = self.report.take() {
                let _ = report.send(Ok(()));
            }
            let ttl = registered.ttl;
            let lease = registered.lease;
            *entry = Some(Entry {
                client: client.clone(),
                registered,
            });
            loop {
                // A third of the lease leaves room for two failures; the jitter keeps a fleet that
                // started together apart.
                let pause = ttl.div_f64(3.0).mul_f64(0.8 + 0.4 * fastrand::f64());
                let pause = pause.max(Self::RENEWAL_MIN);
                match race(link.closed().cancelled(), tokio::time::sleep(pause)).await {
                    Either::First(()) => {
                        let gone = Error::new(Code::Disconnected, "the connection has ended");
                        return Err(away(gone));
                    }
                    Either::Second(()) => {}
                }
                match client.renew(lease).await {
                    Ok(_) => {}
                    Err(CallError::Rpc(error)) => return Err(away(error)),
                    // Lost, expired or deleted by hand: register again.
                    Err(CallError::Service(_)) => break,
                }
            }
        }
    }
}
