//! What the main server and a subserver say to each other besides the calls of clients: two ordinary
//! services, one on each side of the trunk. Both sides are the same program, so it may change.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};
use crate::limits::Limits;
use crate::server::reception::Full;
use crate::service;
use crate::service::{Descriptor, Method};
use crate::transport::{Identity, Peer};

/// What a subserver asks of the main server.
#[service(name = "rpc.central.Main")]
pub(super) trait Main {
    /// The subserver is there and knows these services; the answer is how it is to serve. It comes
    /// first, and once.
    async fn begin(&self, program: &Program) -> Result<Setup, String>;

    /// The subserver takes clients from now on; or it cannot, because of this.
    async fn serving(&self, failure: Option<Failure>);

    /// A client has come to the subserver itself. The answer is its number.
    async fn admit(&self, card: &Card) -> Result<u64, Full>;

    /// The client of this number has gone.
    async fn left(&self, client: u64);
}

/// What the main server asks of a subserver.
#[service(name = "rpc.central.Subserver")]
pub(super) trait Subserver {
    /// Takes no more calls and no more clients, and returns when nobody can come any more. Clients
    /// leave when their calls are done.
    async fn drain(&self);
}

/// The services that a program knows, and the hashes of their shapes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Program(Vec<(String, u64)>);

impl Program {
    pub(super) fn of(services: impl Iterator<Item = &'static Descriptor>) -> Self {
        let offer = |service: &Descriptor| (service.name.to_owned(), service.fingerprint());
        Self(services.map(offer).collect())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Whether `other` knows all that this one does, in the same shapes.
    ///
    /// # Errors
    /// What it does not, for people.
    pub(super) fn is_part_of(&self, other: &Self) -> Result<(), String> {
        for (name, fingerprint) in &self.0 {
            match other.0.iter().find(|(theirs, _)| theirs == name) {
                None => return Err(format!("it does not know the service \"{name}\"")),
                Some((_, theirs)) if theirs != fingerprint => {
                    return Err(format!("it has other types in the service \"{name}\""));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// How a subserver is to serve its clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Setup {
    /// What the main server offers, in its order.
    pub(super) services: Program,
    /// Who the clients are told that this is.
    pub(super) instance: [u8; 16],
    #[serde(with = "LimitsOnTheWire")]
    pub(super) limits: Limits,
    pub(super) handshaking_max: usize,
    pub(super) calls_max: usize,
    pub(super) buffers_max: usize,
    /// Where it listens by itself.
    pub(super) listen: Vec<String>,
}

/// [`Limits`], field by field.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Limits")]
struct LimitsOnTheWire {
    handshake: Duration,
    message: usize,
    calls: u32,
    queued_calls: usize,
    assembly: usize,
    out_queue: usize,
    write_stall: Duration,
    connection_window: u32,
    stream_window: u32,
    ping_busy: Duration,
    ping_idle: Duration,
    ping_wait: Duration,
    deadline: Duration,
    deadline_max: Duration,
    decode_depth: usize,
    decode_memory: usize,
    strays: u32,
}

/// Why a subserver does not serve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Failure {
    code: u8,
    text: String,
    address: String,
}

impl Failure {
    pub(super) fn of(error: &Error) -> Self {
        Self {
            code: error.code().to_wire(),
            text: error.message().to_owned(),
            address: error.address().unwrap_or_default().to_owned(),
        }
    }

    pub(super) fn to_error(&self) -> Error {
        let error = Error::new(Code::from_wire(self.code), self.text.clone());
        match self.address.is_empty() {
            true => error,
            false => error.with_address(self.address.as_str()),
        }
    }
}

/// Who a client is, as far as the subserver's system vouches for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Card {
    address: String,
    /// The user, the group and the number of its process.
    process: Option<(u32, u32, Option<u32>)>,
    is_local: bool,
}

impl Card {
    pub(super) fn of(peer: &Peer) -> Self {
        let process = match *peer.identity() {
            Identity::Process { uid, gid, pid } => Some((uid, gid, pid)),
            _ => None,
        };
        Self {
            address: peer.address().to_owned(),
            process,
            is_local: peer.is_local(),
        }
    }

    pub(super) fn peer(&self) -> Peer {
        let peer = Peer::new(self.address.as_str()).with_local(self.is_local);
        match self.process {
            Some((uid, gid, pid)) => peer.with_identity(Identity::process(uid, gid, pid)),
            None => peer,
        }
    }
}

/// Refuses a service whose types nobody but its author knows.
///
/// # Errors
/// It has a method that `#[service]` did not write.
pub(super) fn must_be_generated(service: &Descriptor) -> Result<(), Error> {
    let by_hand = |method: &&&Method| method.recode.is_none();
    match service.methods.iter().find(by_hand) {
        None => Ok(()),
        Some(method) => {
            let text =
                format!("{method:?} was written by hand, so that no subserver knows its types");
            Err(Error::new(Code::Unimplemented, text)
                .with_hint("write the service with `#[service]`, or choose another pattern"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Client as _;
    use crate::codec::{Budget, CodecId};
    use crate::shape::{MethodShape, Shape};

    #[test]
    fn a_setup_arrives_as_it_was() {
        let limits = Limits {
            deadline_max: Duration::MAX,
            ..Limits::default()
        };
        let setup = Setup {
            services: Program(vec![("Calculator".into(), 7)]),
            instance: [9; 16],
            limits,
            handshaking_max: 1,
            calls_max: 2,
            buffers_max: 3,
            listen: vec!["fifo:/a".into()],
        };
        let bytes = CodecId::BINCODE.encode(&setup, usize::MAX).unwrap();
        let budget = Budget::for_message(bytes.len());
        assert_eq!(CodecId::BINCODE.decode(&bytes, &budget), Ok(setup));
    }

    #[test]
    fn a_service_that_was_written_by_hand_is_refused_by_name() {
        static BY_HAND: Method = Method::new("Hand", "wave", &[], "", || MethodShape {
            arguments: Vec::new(),
            returns: Shape::Opaque,
            error: None,
        });
        static SERVICE: Descriptor = Descriptor::new("Hand", "1.0.0", "", &[&BY_HAND]);
        let error = must_be_generated(&SERVICE).unwrap_err();
        assert!(error.to_string().contains("Hand.wave"), "{error}");
        assert_eq!(must_be_generated(MainClient::service()), Ok(()));
    }

    #[test]
    fn another_program_is_told_from_this_one() {
        let program = |services: &[(&str, u64)]| {
            Program(
                services
                    .iter()
                    .map(|&(name, hash)| (name.into(), hash))
                    .collect(),
            )
        };
        let main = program(&[("A", 1), ("B", 2)]);
        assert_eq!(
            main.is_part_of(&program(&[("C", 3), ("B", 2), ("A", 1)])),
            Ok(())
        );
        let missing = main.is_part_of(&program(&[("A", 1)])).unwrap_err();
        assert!(
            missing.contains("does not know the service \"B\""),
            "{missing}"
        );
        let other = main
            .is_part_of(&program(&[("A", 1), ("B", 3)]))
            .unwrap_err();
        assert!(
            other.contains("other types in the service \"B\""),
            "{other}"
        );
    }

    #[test]
    fn a_card_says_who_it_is() {
        let peer = Peer::new("unix:/a")
            .with_identity(Identity::process(1000, 100, Some(42)))
            .with_local(true);
        assert_eq!(Card::of(&peer).peer(), peer);
        let stranger = Peer::new("tcp://192.0.2.1:9");
        assert_eq!(Card::of(&stranger).peer(), stranger);
    }
}
