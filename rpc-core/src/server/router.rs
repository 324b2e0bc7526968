//! Finds the method that a request names, and sees whether the call may run.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::dispatch::{self, Permit};
use crate::codec::{Budget, CodecId};
use crate::driver::{Gauge, Handler, Incoming};
use crate::error::{Code, Error, Executed};
use crate::limits::Limits;
use crate::service::{Descriptor, Method, Request, Service};
use crate::wire::Reply;

/// The services of a server, or of a client that offers some, by method.
pub(crate) struct Router {
    services: Vec<Arc<dyn Service>>,
    methods: HashMap<u64, (usize, &'static Method)>,
    limits: Limits,
    calls: Arc<AtomicUsize>,
    calls_max: usize,
    /// What the connections and the running calls hold.
    gauge: Gauge,
    buffers_max: usize,
}

/// What a shed call is told to wait: long enough for a queue of short calls to drain.
const RETRY_AFTER: Duration = Duration::from_millis(50);

impl Router {
    /// # Errors
    /// There is no service, or two have one name, or two methods have one number.
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
        let mut methods: HashMap<u64, (usize, &'static Method)> = HashMap::new();
        for (index, service) in services.iter().enumerate() {
            let name = service.descriptor().name;
            if services
                .iter()
                .take(index)
                .any(|other| other.descriptor().name == name)
            {
                let error = Error::new(Code::InUse, format!("two services are called \"{name}\""));
                return Err(error.with_hint("rename one with `#[service(name = \"..\")]`"));
            }
            for method in service.descriptor().methods {
                if let Some((_, other)) = methods.insert(method.id.0, (index, method)) {
                    let text = format!("{method:?} and {other:?} have the same number");
                    return Err(Error::new(Code::InUse, text)
                        .with_hint("rename one with `#[rpc(name = \"..\")]`"));
                }
            }
        }
        Ok(Self {
            services,
            methods,
            limits,
            calls: Arc::default(),
            calls_max,
            gauge: Gauge::default(),
            buffers_max,
        })
    }

    pub(crate) fn descriptors(&self) -> impl Iterator<Item = &'static Descriptor> {
        self.services.iter().map(|service| service.descriptor())
    }

    /// Calls that are running.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// The service and the request of a call that may run.
    fn admit(&self, call: &mut Incoming) -> Result<(&Arc<dyn Service>, Request, Permit), Error> {
        let Some((index, method)) = self.methods.get(&call.head.method) else {
            call.link.strike();
            return Err(self.unknown(call.head.method));
        };
        if call.head.fingerprint != method.fingerprint() {
            call.link.strike();
            let error = Error::new(
                Code::Skew,
                "client and server have different argument types",
            );
            return Err(error.with_details(method.shape().to_bytes()));
        }
        call.link.forgive();
        if self.gauge.read() > self.buffers_max {
            let text = format!(
                "the server holds {} bytes for its clients, its limit",
                self.buffers_max
            );
            return Err(Error::new(Code::Overloaded, text).with_retry_after(RETRY_AFTER));
        }
        let charge = self.gauge.charge(call.payload.len());
        let Some(permit) = Permit::take(&self.calls, self.calls_max, charge) else {
            let text = format!("the server runs {} calls, its limit", self.calls_max);
            return Err(Error::new(Code::Overloaded, text).with_retry_after(RETRY_AFTER));
        };
        let (Some(service), Some(terms)) = (self.services.get(*index), call.link.terms()) else {
            return Err(self.unknown(call.head.method));
        };
        let Some(codec) = CodecId::from_wire(terms.codec) else {
            return Err(Error::new(
                Code::Version,
                "the codec of the connection is not in this build",
            ));
        };
        let payload = std::mem::take(&mut call.payload);
        let request = Request {
            method,
            codec,
            budget: Budget::of_message(
                payload.len(),
                self.limits.decode_depth,
                self.limits.decode_memory,
            ),
            reply_limit: terms.peer.message as usize,
            payload,
        };
        Ok((service, request, permit))
    }

    fn unknown(&self, method: u64) -> Error {
        let offered: Vec<_> = self.descriptors().map(|service| service.name).collect();
        let text = format!(
            "no service here has the method {method:016x}; offered: {}",
            offered.join(", ")
        );
        Error::new(Code::Unimplemented, text)
            .with_hint("check the address, and that both sides have the same trait")
    }
}

impl Handler for Router {
    fn start(&self, mut call: Incoming) {
        match self.admit(&mut call) {
            Ok((service, request, permit)) => {
                tokio::spawn(dispatch::run(Arc::clone(service), request, call, permit));
            }
            Err(error) => call.respond(Reply::Failure(error.with_executed(Executed::No))),
        }
    }

    fn gauge(&self) -> &Gauge {
        &self.gauge
    }
}
