//! A service as a subserver offers it: a call is decoded within its budget, encoded again, and run by
//! the main server.
//!
//! The bytes of a client end here. What goes on was written by this program, of values that it has
//! seen whole.

use std::sync::Arc;

use super::trunk::CODEC;
use crate::context::Context;
use crate::driver::{Link, now};
use crate::error::{Code, Error, Executed};
use crate::limits::Limits;
use crate::proto::Call;
use crate::service::{
    BoxFuture, BoxSlot, Descriptor, Exchange, Passage, Recode, Request, Service, call_in, slot,
};
use crate::wire::Reply;

/// Hands the calls of a service on.
pub(super) struct Forward(Arc<Way>);

/// Where calls go, and what their replies may cost.
struct Way {
    descriptor: &'static Descriptor,
    trunk: Link,
    depth: usize,
    memory: usize,
}

impl Forward {
    /// Hands the calls of the service with this `descriptor` on over `trunk`.
    pub(super) fn new(descriptor: &'static Descriptor, trunk: Link, limits: &Limits) -> Self {
        Self(Arc::new(Way {
            descriptor,
            trunk,
            depth: limits.decode_depth,
            memory: limits.decode_memory,
        }))
    }
}

impl Service for Forward {
    fn descriptor(&self) -> &'static Descriptor {
        self.0.descriptor
    }

    fn call(&self, request: Request) -> BoxFuture<Reply> {
        call_in(slot(Arc::clone(&self.0), forward), request)
    }

    fn slot(&self) -> Option<BoxSlot> {
        Some(slot(Arc::clone(&self.0), forward))
    }
}

async fn forward(way: Arc<Way>, mut call: Box<Exchange>) -> (Box<Exchange>, Arc<Way>) {
    let reply = way.forward(call.take_request()).await;
    call.answer.put(reply);
    (call, way)
}

impl Way {
    async fn forward(&self, request: Request) -> Reply {
        let Some(recode) = request.method.recode else {
            return Reply::unimplemented(request.method);
        };
        let payload = match recode.arguments(&request, CODEC) {
            Ok(payload) => payload,
            Err(reply) => return reply,
        };
        let passage = Passage {
            from: CODEC,
            to: request.codec,
            depth: self.depth,
            memory: self.memory,
            limit: request.reply_limit,
        };
        let surroundings = Context::with_current(|context| {
            let context = context?;
            Some((
                context.connection_id()?,
                context.deadline(),
                context.metadata().clone(),
            ))
        });
        let Some((client, deadline, metadata)) = surroundings else {
            return Error::new(Code::Internal, "a call without a connection").into();
        };
        let call = Call {
            method: request.method.id.0,
            fingerprint: client,
            deadline: deadline.unwrap_or_else(now),
            metadata,
            payload,
            token: 0,
        };
        // The client's bytes are not held while the call runs.
        drop(request);
        match self.trunk.clone().call(call) {
            Ok(outgoing) => back(&recode, &passage, outgoing.await),
            Err((_, error)) => Reply::Failure(error),
        }
    }
}

/// What the client is told of the main server's `reply`.
fn back(recode: &Recode, passage: &Passage, reply: Reply) -> Reply {
    let length = reply.payload_len();
    if length > passage.limit {
        let text = format!(
            "the encoded value exceeds the limit of {} bytes",
            passage.limit
        );
        let error = Error::new(Code::TooLarge, text)
            .with_executed(Executed::Yes)
            .with_hint("send less in one message, or raise the limit on both sides");
        return Reply::Failure(error);
    }
    // The main server wrote it, so that only another format is a reason to look at it.
    match passage.from == passage.to {
        true => reply,
        false => recode.reply(passage, reply),
    }
}
