//! Finds the method that a request names, and sees whether the call may run.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::dispatch::{Dispatch, Permit, Runner};
use super::routes::{Route, Routes};
use crate::codec::{Budget, CodecId};
use crate::driver::{Gauge, Handler, Link, Session};
use crate::error::{Code, Error};
#[cfg(all(target_os = "linux", feature = "patterns"))]
use crate::fnv::Fnv;
use crate::limits::Limits;
#[cfg(feature = "udp")]
use crate::proto::datagram::Memory;
use crate::proto::{Arguments, Terms};
use crate::service::{self, Descriptor, Exchange, Method, Request, Service};
use crate::wire::RequestHead;

/// The services of a server, or of a client that offers some, by method.
pub(crate) struct Router {
    services: Vec<Offered>,
    routes: Routes,
    limits: Limits,
    calls: Arc<AtomicUsize>,
    calls_max: usize,
    /// What the connections and the running calls hold.
    pub(super) gauge: Gauge,
    /// What is remembered for clients that call by datagrams.
    #[cfg(feature = "udp")]
    memory: Memory,
    buffers_max: usize,
}

struct Offered {
    service: Arc<dyn Service>,
    /// Seats that no call is in.
    runners: Mutex<Vec<Runner>>,
}

/// What a shed call is told to wait: long enough for a queue of short calls to drain.
const RETRY_AFTER: Duration = Duration::from_millis(50);

impl Router {
    /// # Errors
    /// There is no service, or two have one name, or two methods have one number.
    #[inline(never)]
    pub(crate) fn new(
        services: Vec<Arc<dyn Service>>,
        calls_max: usize,
        buffers_max: usize,
        limits: Limits,
    ) -> Result<Self, Error> {
        if services.is_empty() {
            let error = Error::new(Code::NotFound, "there is no service to offer");
            return Err(error.with_hint("add one with `.service(..)`"));
        }
        let mut routes = Vec::new();
        for (index, service) in services.iter().enumerate() {
            let name = service.descriptor().name;
            if services
                .iter()
                .take(index)
                .any(|other| other.descriptor().name == name)
            {
                let text = format!("two services are called \"{name}\"");
                return Err(Error::new(Code::InUse, text)
                    .with_hint("rename one with `#[service(name = \"..\")]`"));
            }
            let methods = service.descriptor().methods.iter();
            routes.extend(methods.map(|method| Route::new(index, method)));
        }
        let routes = Routes::new(routes).map_err(|[one, other]| {
            let text = format!("{one:?} and {other:?} have the same number");
            Error::new(Code::InUse, text).with_hint("rename one with `#[rpc(name = \"..\")]`")
        })?;
        Ok(Self {
            services: services
                .into_iter()
                .map(|service| Offered {
                    service,
                    runners: Mutex::default(),
                })
                .collect(),
            routes,
            limits,
            calls: Arc::default(),
            calls_max,
            gauge: Gauge::default(),
            #[cfg(feature = "udp")]
            memory: Memory::default(),
            buffers_max,
        })
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &'static Descriptor> {
        self.services
            .iter()
            .map(|offered| offered.service.descriptor())
    }

    /// What tells this set of services from others of the same program.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn signature(&self) -> u64 {
        let mut names: Vec<_> = self.descriptors().map(|service| service.name).collect();
        names.sort_unstable();
        Fnv::new().write(names.join(",").as_bytes()).0
    }

    /// The most calls that run at once.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn calls_max(&self) -> usize {
        self.calls_max
    }

    /// The most bytes that are held for clients.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn buffers_max(&self) -> usize {
        self.buffers_max
    }

    /// Calls that are running.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Finds what a request names, and sees whether both sides mean the same by it.
    #[inline]
    pub(super) fn find(&self, head: &RequestHead) -> Result<&Route, Error> {
        match self.routes.find(head.method) {
            Some(route) if head.fingerprint == route.fingerprint => Ok(route),
            found => Err(self.stranger(head, found)),
        }
    }

    /// The fingerprint of the method of this number, if there is one.
    #[cfg(all(target_os = "linux", feature = "patterns"))]
    pub(super) fn fingerprint(&self, method: u64) -> Option<u64> {
        self.routes.find(method).map(|route| route.fingerprint)
    }

    /// A call of the method that had a task of its own has computed before it first waited: for long, or
    /// not.
    pub(super) fn computed(&self, method: &Method, long: bool) {
        match (self.routes.find(method.id.0), long) {
            (Some(route), true) => route.was_slow(),
            (Some(route), false) => route.was_quick(),
            (None, _) => {}
        }
    }

    /// A place for a call, if one is free.
    pub(super) fn permit(&self) -> Result<Permit, Error> {
        Permit::take(&self.calls, self.calls_max).ok_or_else(|| {
            let text = format!("the server runs {} calls, its limit", self.calls_max);
            Error::new(Code::Overloaded, text).with_retry_after(RETRY_AFTER)
        })
    }

    /// Whether the server has room for what one more call holds.
    #[inline]
    pub(super) fn has_room(&self) -> Result<(), Error> {
        match self.gauge.read() <= self.buffers_max {
            true => Ok(()),
            false => Err(self.full()),
        }
    }

    #[cold]
    fn full(&self) -> Error {
        let text = format!(
            "the server holds {} bytes for its clients, its limit",
            self.buffers_max
        );
        Error::new(Code::Overloaded, text).with_retry_after(RETRY_AFTER)
    }

    /// Makes `call` a call of `route`, with these arguments.
    #[inline]
    pub(super) fn fill(
        &self,
        call: &mut Option<Box<Exchange>>,
        route: &Route,
        arguments: &mut Arguments<'_>,
        terms: &Terms,
    ) -> Result<(), Error> {
        let Some(codec) = CodecId::from_wire(terms.codec) else {
            return Err(Error::new(
                Code::Version,
                "the codec of the connection is not in this build",
            ));
        };
        let budget = Budget::of_message(
            arguments.len(),
            self.limits.decode_depth,
            self.limits.decode_memory,
        );
        let reply_limit = terms.peer.message as usize;
        match call {
            Some(call) => {
                let request = &mut call.request;
                request.method = route.method;
                request.codec = codec;
                request.budget = budget;
                request.reply_limit = reply_limit;
                arguments.put_into(&mut request.payload);
            }
            None => {
                *call = Some(Exchange::new(Request {
                    method: route.method,
                    codec,
                    budget,
                    reply_limit,
                    payload: arguments.take(),
                }));
            }
        }
        Ok(())
    }

    /// A runner for calls of the service of this number, used before or new.
    pub(super) fn runner(&self, service: usize) -> Option<Runner> {
        let offered = self.services.get(service)?;
        let used = lock(&offered.runners).pop();
        let new = || {
            let slot = offered.service.slot();
            Runner::new(slot.unwrap_or_else(|| {
                let call = |service: Arc<dyn Service>, mut call: Box<Exchange>| {
                    let reply = service.call(call.take_request());
                    async move {
                        call.answer.put(reply.await);
                        (call, service)
                    }
                };
                service::slot(Arc::clone(&offered.service), call)
            }))
        };
        used.or_else(|| Some(new()))
    }

    /// Keeps an empty runner for the next call.
    pub(super) fn keep(&self, service: usize, runner: Runner) {
        /// As many as connections are likely to be busy at one time.
        const RUNNERS_MAX: usize = 256;
        if let Some(offered) = self.services.get(service) {
            let mut runners = lock(&offered.runners);
            if runners.len() < RUNNERS_MAX {
                runners.push(runner);
            }
        }
    }

    /// What is wrong with a request that names no method, or means another one than was `found`.
    #[cold]
    fn stranger(&self, head: &RequestHead, found: Option<&Route>) -> Error {
        if let Some(route) = found {
            let error = Error::new(
                Code::Skew,
                "client and server have different argument types",
            );
            return error.with_details(route.method.shape().to_bytes());
        }
        let method = head.method;
        let mut text = format!("no service here has the method {method:016x}; offered");
        for (place, service) in self.descriptors().enumerate() {
            text.push_str(if place == 0 { ": " } else { ", " });
            text.push_str(service.name);
        }
        Error::new(Code::Unimplemented, text)
            .with_hint("check the address, and that both sides have the same trait")
    }
}

impl Handler for Router {
    fn session(self: Arc<Self>, link: Link) -> Box<dyn Session> {
        Box::new(Dispatch::new(self, link))
    }

    fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    #[cfg(feature = "udp")]
    fn memory(&self) -> &Memory {
        &self.memory
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
