//! A subserver's end of the trunk: what the main server asks of it, and of its clients.
//!
//! A callback goes to the client as the main server wrote it. The reply is decoded within its budget
//! and encoded again, as a client's requests are; so the types must be known here, too.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Instant;

use super::trunk::CODEC;
use crate::cancellation::Cancellation;
use crate::codec::{Budget, CodecId};
use crate::driver::{Gauge, Handler, Link, Session, Started, Ticket, spawn};
use crate::error::{Code, Error, Executed};
use crate::limits::Limits;
#[cfg(feature = "udp")]
use crate::proto::datagram::Memory;
use crate::proto::{Call, Incoming, Terms};
use crate::race::{Either, race};
use crate::server::Router;
use crate::server::dispatch::Dispatch;
use crate::service::{Descriptor, Method, Passage, Recode, Request};
use crate::wire::Reply;

/// The clients of a subserver, by number.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<u64, Link>>);

impl Clients {
    pub(super) fn enter(&self, client: Link) {
        self.lock().insert(client.id(), client);
    }

    pub(super) fn leave(&self, client: u64) {
        self.lock().remove(&client);
    }

    fn find(&self, client: u64) -> Option<Link> {
        self.lock().get(&client).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what comes down the trunk.
pub(super) struct Callbacks {
    /// What is asked of the subserver itself.
    office: Arc<Router>,
    /// The methods that clients may be asked for.
    methods: HashMap<u64, &'static Method>,
    clients: Arc<Clients>,
    limits: Limits,
}

impl Callbacks {
    pub(super) fn new(
        office: Arc<Router>,
        services: &[&'static Descriptor],
        clients: Arc<Clients>,
    ) -> Self {
        let methods = services.iter().flat_map(|service| service.methods);
        Self {
            office,
            methods: methods.map(|&method| (method.id.0, method)).collect(),
            clients,
            limits: Limits::default(),
        }
    }

    /// Prepares a call of a client's.
    fn prepare(&self, incoming: &mut Incoming<'_>) -> Result<Callback, Error> {
        let method = self.methods.get(&incoming.head.method);
        let known = method.and_then(|method| Some((*method, method.recode?)));
        let (method, recode) = known.ok_or_else(|| {
            Error::new(
                Code::Unimplemented,
                "the subservers do not know the service that the caller was asked for",
            )
            .with_hint("name it with `.callbacks::<..Client>()` where the pattern is chosen")
        })?;
        // Here the number of the client stands in the place of the fingerprint.
        let client = self
            .clients
            .find(incoming.head.fingerprint)
            .ok_or_else(|| Error::new(Code::Disconnected, "the caller's connection has ended"))?;
        let codec = client.codec().and_then(CodecId::from_wire).unwrap_or(CODEC);
        let mut payload = incoming.arguments.take();
        if codec != CODEC {
            let Limits {
                decode_depth,
                decode_memory,
                ..
            } = self.limits;
            let request = Request {
                method,
                codec: CODEC,
                budget: Budget::of_message(payload.len(), decode_depth, decode_memory),
                reply_limit: Limits::MESSAGE_MAX,
                payload,
            };
            payload = recode.arguments(&request, codec).map_err(failure)?;
        }
        let call = Call {
            method: method.id.0,
            fingerprint: method.fingerprint(),
            deadline: incoming.deadline,
            metadata: std::mem::take(&mut incoming.head.metadata),
            payload,
            token: 0,
        };
        let passage = Passage {
            from: codec,
            to: CODEC,
            depth: self.limits.decode_depth,
            memory: self.limits.decode_memory,
            limit: Limits::MESSAGE_MAX,
        };
        Ok(Callback {
            client,
            call,
            recode,
            passage,
        })
    }
}

fn failure(reply: Reply) -> Error {
    match reply {
        Reply::Failure(error) => error,
        _ => Error::new(Code::Internal, "the arguments were not encoded again"),
    }
}

/// A call on its way to a client.
struct Callback {
    client: Link,
    call: Call,
    recode: Recode,
    passage: Passage,
}

impl Callback {
    async fn run(self, cancellation: Cancellation, ticket: Ticket) {
        let reply = match self.client.call(self.call) {
            Err((_, error)) => Reply::Failure(error),
            Ok(outgoing) => match race(cancellation.cancelled(), outgoing).await {
                Either::First(()) => Error::new(Code::Cancelled, "the call was cancelled").into(),
                Either::Second(reply) => self.recode.reply(&self.passage, reply),
            },
        };
        ticket.respond(reply);
    }
}

impl Handler for Callbacks {
    fn session(self: Arc<Self>, link: Link) -> Box<dyn Session> {
        Box::new(Desk {
            office: Dispatch::new(Arc::clone(&self.office), link.clone()),
            callbacks: self,
            link,
        })
    }

    fn gauge(&self) -> &Gauge {
        self.office.gauge()
    }

    #[cfg(feature = "udp")]
    fn memory(&self) -> &Memory {
        self.office.memory()
    }
}

/// Sorts what comes down the trunk.
struct Desk {
    callbacks: Arc<Callbacks>,
    office: Dispatch,
    link: Link,
}

impl Session for Desk {
    fn start(
        &mut self,
        call: &mut Incoming<'_>,
        terms: &Terms,
        now: Instant,
        cx: &mut Context<'_>,
    ) -> Started<'_> {
        if self
            .callbacks
            .office
            .fingerprint(call.head.method)
            .is_some()
        {
            return self.office.start(call, terms, now, cx);
        }
        match self.callbacks.prepare(call) {
            Err(error) => Started::Answered(error.with_executed(Executed::No).into()),
            Ok(callback) => {
                let cancellation = Cancellation::new();
                let ticket = Ticket::new(self.link.clone(), call.id);
                spawn(callback.run(cancellation.clone(), ticket));
                Started::GoesOn(cancellation)
            }
        }
    }

    fn rest(&mut self) {
        self.office.rest();
    }
}
