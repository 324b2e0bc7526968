//! A subserver: owns clients, and hands on what they call.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::CentralDispatch;
use super::callback::{Callbacks, Clients};
use super::contract::{
    Card, Failure, MainClient, Program, Setup, Subserver, SubserverServer, must_be_generated,
};
use super::forward::Forward;
use super::trunk;
use crate::cancellation::Cancellation;
use crate::client::Channel;
use crate::codec::CodecId;
use crate::driver::{Link, spawn};
use crate::error::{CallError, Code, Error};
use crate::limits::Limits;
use crate::proto::Opening;
use crate::race::{Either, race};
use crate::server::accept::Acceptor;
use crate::server::connections::Connections;
use crate::server::pattern::Host;
use crate::server::reception::{Full, Guest, Reception};
use crate::server::subserver::Order;
use crate::server::{Router, ServerBuilder};
use crate::service::{BoxFuture, Descriptor, Service};
use crate::transport::{Address, Conduit, ListenOptions, Passage, Peer};

/// A client that the main server sends.
pub(super) enum Arrival {
    /// To be served, under this number.
    Client(u64, Conduit),
    /// To be told why it is not served.
    TurnedAway(Full, Conduit),
}

/// What a program brings along to be a subserver.
pub(super) struct Knowledge {
    /// The services that it knows the types of.
    pub(super) services: Vec<&'static Descriptor>,
    /// What clients may be asked for.
    pub(super) callbacks: Vec<&'static Descriptor>,
    /// For the addresses at which it listens itself.
    pub(super) options: ListenOptions,
}

/// A subserver's side: serves what it is sent, and ends the process with the trunk.
pub(super) async fn serve(
    pattern: CentralDispatch,
    services: Vec<&'static Descriptor>,
    options: ListenOptions,
    mut orders: mpsc::Receiver<Order>,
) -> ! {
    let knowledge = Knowledge {
        services,
        callbacks: pattern.callbacks,
        options,
    };
    let Some(Order::Trunk { reader, writer }) = orders.recv().await else {
        // The main process is gone, or another program.
        std::process::exit(1)
    };
    let trunk = match Conduit::of_pipes(reader, writer, Peer::new("pipe: main").with_local(true)) {
        Ok(trunk) => trunk,
        Err(error) => fail(&Error::new(Code::Io, "the trunk is of no use").with_source(error)),
    };
    // One is on its way while the next is taken over.
    let (sender, arrivals) = mpsc::channel(1);
    spawn(async move {
        while let Some(order) = orders.recv().await {
            let arrival = match order {
                Order::Client { socket, number } => Conduit::take_over(Passage::Socket(socket))
                    .map(|conduit| Arrival::Client(number, conduit)),
                Order::TurnAway { socket, reason } => Conduit::take_over(Passage::Socket(socket))
                    .map(|conduit| Arrival::TurnedAway(Full::from_wire(reason), conduit)),
                _ => continue,
            };
            match arrival {
                Ok(arrival) => {
                    if sender.send(arrival).await.is_err() {
                        return;
                    }
                }
                Err(error) => tracing::warn!(%error, "cannot take a client over"),
            }
        }
    });
    match knowledge.serve(trunk, arrivals).await {
        Ok(()) => std::process::exit(0),
        Err(error) => fail(&error),
    }
}

fn fail(error: &Error) -> ! {
    // Whether the program has set up its log is not known.
    eprintln!("a subserver of rpc-core cannot go on: {error}");
    std::process::exit(1)
}

impl Knowledge {
    /// Serves the clients that arrive until the trunk ends.
    ///
    /// # Errors
    /// The main server does not answer, or is another program.
    pub(super) async fn serve(
        self,
        conduit: Conduit,
        mut arrivals: mpsc::Receiver<Arrival>,
    ) -> Result<(), Error> {
        self.services
            .iter()
            .copied()
            .try_for_each(must_be_generated)?;
        let (drain, closed) = (Cancellation::new(), Cancellation::new());
        let orders = Orders {
            drain: drain.clone(),
            closed: closed.clone(),
        };
        let office = Router::new(
            vec![Arc::new(SubserverServer::new(orders))],
            ServerBuilder::CALLS_MAX,
            ServerBuilder::BUFFERS_MAX,
            Limits::default(),
        )?;
        let clients = Arc::new(Clients::default());
        let callbacks = Callbacks::new(Arc::new(office), &self.callbacks, Arc::clone(&clients));
        let (trunk, driver) = trunk::subserver(conduit, Arc::new(callbacks));
        spawn(driver);
        let main = MainClient::new(Channel::over(trunk.clone()));
        let program = Program::of(self.services.iter().copied());
        let setup = main.begin(&program).await.map_err(|error| {
            let text = format!("the main server has no use for this subserver: {error}");
            Error::new(Code::Skew, text)
        })?;
        let lobby = self.lobby(&trunk, &setup, main.clone(), clients)?;
        let mut doors = match self.open(&setup.listen, &lobby).await {
            Ok(doors) => doors,
            Err(error) => {
                // What happened there is an error of the main server's start.
                let _ = main.serving(Some(Failure::of(&error))).await;
                return Err(error);
            }
        };
        main.serving(None).await?;
        let mut is_draining = false;
        loop {
            let told = async {
                match is_draining {
                    true => std::future::pending().await,
                    false => drain.cancelled().await,
                }
            };
            let arrival = race(arrivals.recv(), told);
            match race(arrival, trunk.closed().cancelled()).await {
                Either::First(Either::First(Some(arrival))) => lobby.take_in(arrival),
                // Nobody comes any more, and those who are here may stay.
                Either::First(Either::First(None)) => trunk.closed().cancelled().await,
                // Who is still on the way here is turned away in order.
                Either::First(Either::Second(())) => {
                    is_draining = true;
                    lobby.close(&mut doors).await;
                    closed.cancel();
                }
                Either::Second(()) => {
                    lobby.close(&mut doors).await;
                    return Ok(());
                }
            }
        }
    }

    /// Where clients are received, as the main server has it set up.
    fn lobby(
        &self,
        trunk: &Link,
        setup: &Setup,
        main: MainClient,
        clients: Arc<Clients>,
    ) -> Result<Arc<Lobby>, Error> {
        let forward = |name| {
            let mut known = self.services.iter().copied();
            let descriptor = known.find(|descriptor| descriptor.name == name)?;
            let forward = Forward::new(descriptor, trunk.clone(), &setup.limits);
            Some(Arc::new(forward) as Arc<dyn Service>)
        };
        let forwards = setup.services.names().filter_map(forward).collect();
        let router = Router::new(forwards, setup.calls_max, setup.buffers_max, setup.limits)?;
        let router = Arc::new(router);
        let opening = Opening {
            instance: setup.instance,
            ..Opening::offering(CodecId::ALL.iter().map(|codec| codec.to_wire()).collect())
        };
        let connections = Connections::new(Arc::clone(&router), setup.handshaking_max);
        Ok(Arc::new(Lobby {
            main,
            clients,
            reception: Arc::new(Reception {
                limits: Arc::new(setup.limits),
                opening: Arc::new(opening),
                // The main server counts all clients.
                connections_max: usize::MAX,
                connections_per_peer_max: usize::MAX,
                connections: Arc::new(connections),
                router,
            }),
            stop: Cancellation::new(),
        }))
    }

    /// Listens at the addresses whose clients come here by themselves.
    async fn open(&self, addresses: &[String], lobby: &Arc<Lobby>) -> Result<JoinSet<()>, Error> {
        let mut doors = JoinSet::new();
        for address in addresses {
            let address: Address = address.parse()?;
            let acceptor = Acceptor {
                listener: address.listen(&self.options).await?,
                stop: lobby.stop.clone(),
                reception: Arc::clone(&lobby.reception),
                host: Arc::new(Visitors(Arc::clone(lobby))),
            };
            let run: BoxFuture<()> = Box::pin(acceptor.run());
            doors.spawn(run);
        }
        Ok(doors)
    }
}

/// What the main server orders.
struct Orders {
    /// Fires when no more calls are to be taken.
    drain: Cancellation,
    /// Fires when none are, and nobody can come here any more.
    closed: Cancellation,
}

impl Subserver for Orders {
    async fn drain(&self) {
        self.drain.cancel();
        self.closed.cancelled().await;
    }
}

/// Where clients are received.
struct Lobby {
    main: MainClient,
    clients: Arc<Clients>,
    reception: Arc<Reception>,
    /// Tells the acceptors to close.
    stop: Cancellation,
}

impl Lobby {
    fn take_in(self: &Arc<Self>, arrival: Arrival) {
        match arrival {
            Arrival::Client(number, conduit) => {
                if let Some(guest) = self.reception.admit(conduit) {
                    self.serve(guest, number);
                }
            }
            Arrival::TurnedAway(full, conduit) => {
                if let Some(guest) = self.reception.admit(conduit) {
                    guest.refuse(Code::Overloaded, full.text());
                }
            }
        }
    }

    fn serve(self: &Arc<Self>, guest: Guest, number: u64) {
        let (link, seat) = guest.serve_as(number);
        self.clients.enter(link.clone());
        spawn(seat);
        let lobby = Arc::clone(self);
        spawn(async move {
            link.closed().cancelled().await;
            lobby.clients.leave(number);
            // Without the main server there is nobody to tell, and this process ends.
            let _ = lobby.main.left(number).await;
        });
    }

    /// Takes no new clients and no new calls.
    async fn close(&self, doors: &mut JoinSet<()>) {
        /// Under a flood of clients the queue may never be empty.
        const LAST_CALLS_MAX: Duration = Duration::from_secs(1);
        self.stop.cancel();
        let last_calls = async { while doors.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_CALLS_MAX, last_calls).await;
        doors.shutdown().await;
        self.reception.connections.drain();
    }
}

/// Receives clients that come here by themselves.
struct Visitors(Arc<Lobby>);

impl Host for Visitors {
    fn receive(&self, guest: Guest) {
        let lobby = Arc::clone(&self.0);
        spawn(async move {
            match lobby.main.admit(&Card::of(&guest.conduit().peer)).await {
                Ok(number) => lobby.serve(guest, number),
                Err(CallError::Service(full)) => guest.refuse(Code::Overloaded, full.text()),
                Err(CallError::Rpc(_)) => {
                    guest.refuse(Code::Overloaded, "the main server does not answer");
                }
            }
        });
    }
}
