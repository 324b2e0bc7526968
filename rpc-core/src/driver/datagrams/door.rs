//! The protocol's door, in front of a listener.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::unguessable;
use crate::driver::now;
use crate::limits::Limits;
use crate::proto::Opening;
use crate::proto::datagram::{Admission, Admitted, Secret};
use crate::transport::{Examined, Gate};

/// Lets in whoever the protocol does, by a secret that is made here and now.
pub(crate) fn gate(limits: Arc<Limits>, opening: Arc<Opening>) -> Box<dyn Gate> {
    let mut key = [0; 16];
    let (first, second) = key.split_at_mut(8);
    first.copy_from_slice(&unguessable().to_le_bytes());
    second.copy_from_slice(&unguessable().to_le_bytes());
    let [e0, e1, e2, e3, ..] = unguessable().to_le_bytes();
    let secret = Secret::new(now(), key, u32::from_le_bytes([e0, e1, e2, e3]));
    Box::new(Door(Admission::new(secret, limits, opening)))
}

struct Door(Admission);

impl Gate for Door {
    fn examine(
        &mut self,
        from: SocketAddr,
        open: bool,
        datagram: &[u8],
        answer: &mut Vec<u8>,
    ) -> Examined {
        match self.0.admit(now(), from, open, datagram, answer) {
            Admitted::Nobody => Examined::Nobody,
            Admitted::Client { id, fresh } => Examined::client(id, fresh),
        }
    }

    fn memory(&self) -> Duration {
        Admission::MEMORY
    }
}
