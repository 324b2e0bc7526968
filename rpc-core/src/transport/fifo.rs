//! `fifo:/path`: named pipes, for where sockets are refused. Clients find the server by a
//! *well-known pipe*, and each has two private pipes for its connection.
//!
//! The protocol's hello, answer and ready are the three legs of the classic handshake; what stands
//! here only brings both sides together:
//!
//! 1. The server holds a lock for life, and makes the well-known pipe and a directory beside it.
//! 2. A client opens the well-known pipe, makes a pair of pipes in the directory, opens them,
//!    writes a nonce up, where it waits, and a [`Record`] on the well-known pipe. The protocol's
//!    hello follows at once, with no answer waited for.
//! 3. The server reads the record, opens the pair and removes its names. It checks the nonce, says
//!    it on the pipe down, and the connection stands. The client believes nothing before it has
//!    heard the nonce; until then it watches the well-known pipe, which fails if the server dies.
//!
//! The order in which ends are opened (see [`Pair`]) makes an end of file mean death. Who the peer
//! is says the owner of the files. A user who is allowed to write to the well-known pipe can keep it
//! full; where users of a machine mean each other harm, a Unix socket is the better choice.

#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod access;
mod checksum;
mod deferred;
mod directory;
mod failures;
mod lock;
mod opening;
mod pair;
mod places;
mod record;
mod sweeper;
mod wkp;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::net::unix::pipe::Sender;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::accept::is_out_of_descriptors;
use super::duplex::Duplex;
use super::{Conduit, Connector, Identity, ListenOptions, Listener, Peer};
use crate::error::{Code, Error};
use crate::race::{Either, race};

use access::Access;
use directory::{Directory, SUSPENDED, beside};
use failures::{bind_error, connect_error};
use lock::Lock;
use opening::{ClientStream, Opening};
use pair::{ClientPair, Pair};
use places::{Place, Places, Wish};
use record::{Id, Nonce, Record};
use sweeper::Sweeper;
use wkp::WellKnownPipe;

pub(super) use deferred::Deferred;
#[cfg(feature = "patterns")]
pub(crate) use deferred::Letter;

/// How long a client waits for room on the well-known pipe, or for the end of a conversation of a
/// server that takes one client at a time. A server empties a full pipe in a few milliseconds, so
/// who waits so long waits for one that is stuck or flooded.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a client looks whether the well-known pipe is back.
const POLL: Duration = Duration::from_millis(5);

/// How often a client makes its pair anew when the server takes its names for those of a dead one,
/// which happens only to a process that was stopped while it made them.
const TRIES: usize = 3;

/// Records that wait for a place for their user: as many as the well-known pipe itself holds. While
/// there are so many, it is not read.
const QUEUE: usize = 512;

/// How often a full queue is looked through for clients that have given up.
const PRUNE: Duration = Duration::from_secs(1);

/// Records before other tasks have their turn; each takes some microseconds, and who was taken in
/// wants to say hello.
const RECORDS: usize = 16;

/// Opens connections to a well-known pipe.
pub(super) struct FifoConnector {
    path: PathBuf,
    address: Arc<str>,
}

impl FifoConnector {
    pub(super) fn new(path: &str) -> Self {
        Self {
            path: path.into(),
            address: format!("fifo:{path}").into(),
        }
    }

    async fn dial(&self) -> Result<Conduit, Error> {
        let (pipe, owner) = self.find().await?;
        let directory = Arc::new(Directory::find(&self.path, owner.0)?);
        let (pair, record) = make_pair(&directory)?;
        let pipe = Sender::from_owned_fd_unchecked(pipe).map_err(connect_error)?;
        match timeout(PATIENCE, post(&pipe, &record)).await {
            Ok(posted) => posted.map_err(connect_error)?,
            Err(_) => {
                let text = format!("well-known pipe busy: it was full for {PATIENCE:?}");
                return Err(Error::new(Code::Overloaded, text)
                    .with_hint("try later; if it lasts, see who writes to the pipe"));
            }
        }
        let ClientPair { up, down, names } = pair;
        let duplex = Duplex::new(down, up).map_err(connect_error)?;
        let stream = ClientStream::new(duplex, Opening::new(names, pipe, record.nonce));
        let (uid, gid) = owner;
        let identity = Identity::process(uid, gid, None);
        Ok(Conduit::new(stream, peer(&self.address, identity)))
    }

    /// Opens the well-known pipe; its owner and group. While its server is in a conversation and
    /// takes nobody else, it is waited for.
    async fn find(&self) -> Result<(OwnedFd, (u32, u32)), Error> {
        let suspended = beside(&self.path).join(SUSPENDED);
        let waiting = async {
            // It may be given its name back between two looks, so one time counts for nothing.
            let mut absent = false;
            loop {
                match open_pipe(&self.path) {
                    Err(error) if is_absent(&error) => {
                        let away = open_pipe(&suspended).is_err();
                        if away && std::mem::replace(&mut absent, away) {
                            return Err(connect_error(error));
                        }
                        if !away {
                            absent = false;
                            sleep(POLL).await;
                        }
                    }
                    Err(error) => return Err(connect_error(error)),
                    Ok(pipe) => return check_pipe(pipe),
                }
            }
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| {
            let text = format!("the server was busy with another client for {PATIENCE:?}");
            Err(Error::new(Code::Overloaded, text)
                .with_hint("try later: this server takes one client at a time"))
        })
    }
}

#[async_trait]
impl Connector for FifoConnector {
    async fn connect(&self) -> Result<Conduit, Error> {
        let dialled = self.dial().await;
        dialled.map_err(|error| error.with_address(Arc::clone(&self.address)))
    }

    fn address(&self) -> &str {
        &self.address
    }
}

/// Opens a well-known pipe to write; an error if nobody reads it.
fn open_pipe(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Whether there is no well-known pipe, or one that no server has open.
fn is_absent(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(number, Some(Errno::NOENT | Errno::NXIO))
}

/// The pipe, with its owner and group, if it is one that a server makes.
fn check_pipe(pipe: OwnedFd) -> Result<(OwnedFd, (u32, u32)), Error> {
    let stat = fstat(&pipe).map_err(|error| connect_error(error.into()))?;
    let denied = |text, hint| Error::new(Code::Denied, text).with_hint(hint);
    if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
        return Err(denied(
            "there is something else than a pipe",
            "check the path",
        ));
    }
    if stat.st_mode & 0o057 != 0 {
        return Err(denied(
            "others than the server may read the pipe, or everybody may write to it",
            "do not trust this path",
        ));
    }
    Ok((pipe, (stat.st_uid, stat.st_gid)))
}

/// Makes a pair of pipes under a new name.
fn make_pair(directory: &Arc<Directory>) -> Result<(ClientPair, Record), Error> {
    let mut failed = Errno::NOENT.into();
    for _ in 0..TRIES {
        let record = Record {
            id: Id(random().map_err(connect_error)?),
            nonce: Nonce(random().map_err(connect_error)?),
        };
        match ClientPair::make(Arc::clone(directory), &record) {
            Err(error) if is_absent(&error) => failed = error,
            made => return Ok((made.map_err(connect_error)?, record)),
        }
    }
    Err(connect_error(failed))
}

/// Writes the record on the well-known pipe, once there is room. Cancel safe: it is written whole or
/// not at all.
async fn post(pipe: &Sender, record: &Record) -> io::Result<()> {
    let bytes = record.to_bytes();
    // There is room as a rule, and the system need not be asked for it first.
    match rustix::io::write(pipe, &bytes) {
        Ok(_) => return Ok(()),
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    loop {
        pipe.writable().await?;
        match pipe.try_write(&bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            written => return written.map(drop),
        }
    }
}

/// 16 bytes that nobody can guess.
fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    match getrandom(&mut bytes, GetRandomFlags::empty())? {
        16 => Ok(bytes),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}

/// Takes in the clients of a well-known pipe. When it is dropped, the pipe, the directory and the
/// lock go.
///
/// Reading a record and opening its pair are two steps, because some servers leave the second to
/// another process.
pub(crate) struct FifoListener {
    /// Stands first: no client must come to a directory that is gone.
    pipe: WellKnownPipe,
    _sweeper: Sweeper,
    directory: Grounds,
    places: Arc<Places>,
    /// Who may connect, beside what the modes of the files say.
    allowed: Option<Arc<[u32]>>,
    /// Clients that wait for a place, with their user, in the order of their records.
    queue: VecDeque<(u32, Record)>,
    /// A place became free, and the queue was not looked through since.
    is_freed: bool,
    /// A record for whose pair there was no descriptor.
    again: Option<Record>,
    /// Pairs are left to other processes to open.
    defers: bool,
    /// How many were looked at.
    records: usize,
    address: Arc<str>,
    /// Stands last: whoever starts next must find nothing of this server.
    _lock: Lock,
}

/// The directory of a listener, which goes with it.
struct Grounds(Arc<Directory>);

impl Drop for Grounds {
    fn drop(&mut self) {
        self.0.dispose();
    }
}

impl FifoListener {
    /// Serves the well-known pipe at `path`, which may be left over from a process that is gone.
    pub(crate) async fn bind(path: &str, options: &ListenOptions) -> Result<Self, Error> {
        let address: Arc<str> = format!("fifo:{path}").into();
        let access = options.allowed_group().map_or(Access::User, Access::Group);
        let bound = Self::bind_at(Path::new(path), access, Arc::clone(&address)).await;
        let mut listener = bound.map_err(|error| error.with_address(address))?;
        listener.allowed = options.allowed_uids().map(Arc::from);
        Ok(listener)
    }

    async fn bind_at(path: &Path, access: Access, address: Arc<str>) -> Result<Self, Error> {
        let lock = Lock::acquire(path).await?;
        let directory = Grounds(Arc::new(Directory::make(path, access)?));
        let pipe = WellKnownPipe::make(path, Arc::clone(&directory.0))?;
        Ok(Self {
            pipe,
            _sweeper: Sweeper::start(Arc::clone(&directory.0)),
            directory,
            places: Places::new(),
            allowed: None,
            queue: VecDeque::new(),
            is_freed: false,
            again: None,
            records: 0,
            defers: false,
            address,
            _lock: lock,
        })
    }

    /// Opens the pair of a client, or says what is to become of it.
    fn admit(&mut self, record: Record) -> Admission {
        let Ok(user) = self.directory.0.owner(&record.id) else {
            // It has given up, or somebody plays an old record again.
            return Admission::Refused;
        };
        match self.places.take(user, record.id) {
            Wish::Granted(place) if self.defers => {
                let directory = Arc::clone(&self.directory.0);
                Admission::Admitted(Deferred::conduit(directory, record, place, &self.address))
            }
            Wish::Granted(place) => self.open(record, place),
            Wish::Full => {
                self.queue.push_back((user, record));
                Admission::Waits
            }
            Wish::Taken => {
                self.directory.0.remove(&record.id);
                Admission::Refused
            }
        }
    }

    fn open(&mut self, record: Record, place: Place) -> Admission {
        let opened = Pair::open(&self.directory.0, &record).and_then(|pair| {
            let identity = pair.identity.clone();
            let is_same = matches!(identity, Identity::Process { uid, .. } if uid == place.user());
            let stream = pair.into_stream()?.keeping(place);
            let mut conduit = Conduit::new(stream, peer(&self.address, identity));
            if !self.lets_in(&conduit.peer) {
                conduit = conduit.refused("the server does not let this user connect");
            }
            Ok(is_same.then_some(conduit))
        });
        match opened {
            Ok(Some(conduit)) => Admission::Admitted(conduit),
            Err(error) if is_exhausted(&error) => {
                self.again = Some(record);
                Admission::Failed(error)
            }
            refused => {
                let error = refused.err();
                tracing::debug!(id = %record.id, ?error, "refuses a client");
                Admission::Refused
            }
        }
    }

    fn lets_in(&self, peer: &Peer) -> bool {
        let allowed = self.allowed.as_deref();
        allowed.is_none_or(|allowed| peer.uid().is_some_and(|uid| allowed.contains(&uid)))
    }

    /// Admits the first of those in the queue whose user has a place.
    fn admit_waiting(&mut self) -> Option<Admission> {
        let has_room = |(user, _): &(u32, Record)| self.places.has_room(*user);
        let first = self.queue.iter().position(has_room);
        self.is_freed = first.is_some();
        let (_, record) = self.queue.remove(first?)?;
        Some(self.admit(record))
    }

    /// Forgets those in the queue that have given up.
    fn prune(&mut self) {
        let directory = &self.directory.0;
        self.queue
            .retain(|(_, record)| directory.owner(&record.id).is_ok());
    }
}

/// What became of a record.
enum Admission {
    Admitted(Conduit),
    /// Its user has all the sessions that it may have.
    Waits,
    /// There is no such client.
    Refused,
    /// This process could not.
    Failed(io::Error),
}

#[async_trait]
impl Listener for FifoListener {
    async fn accept(&mut self) -> io::Result<Conduit> {
        loop {
            self.records = self.records.wrapping_add(1);
            if self.records % RECORDS == 0 {
                yield_now().await;
            }
            let admission = match self.again.take() {
                Some(record) => self.admit(record),
                None => match self.next().await? {
                    Some(admission) => admission,
                    None => continue,
                },
            };
            match admission {
                Admission::Admitted(conduit) => return Ok(conduit),
                Admission::Failed(error) => return Err(error),
                Admission::Waits | Admission::Refused => {}
            }
        }
    }

    fn address(&self) -> String {
        self.address.to_string()
    }

    fn defer(&mut self) {
        self.defers = true;
    }

    /// To clients the owner of the pipe says whose server it is.
    fn identity(&self) -> Option<String> {
        Some(format!("uid:{}", access::own_user()))
    }

    fn suspend(&mut self) -> bool {
        let suspended = self.pipe.suspend();
        if let Err(error) = &suspended {
            tracing::warn!(address = %self.address, %error, "cannot take the well-known pipe away");
        }
        suspended.is_ok()
    }

    async fn resume(&mut self) -> io::Result<()> {
        self.pipe.resume()
    }
}

impl FifoListener {
    /// What becomes of the next client that can be served; `None` if it must be asked again. Cancel
    /// safe.
    async fn next(&mut self) -> io::Result<Option<Admission>> {
        if self.is_freed {
            return Ok(self.admit_waiting());
        }
        let freed = self.places.freed.notified();
        if self.queue.len() < QUEUE {
            return match race(self.pipe.record(), freed).await {
                Either::First(record) => Ok(Some(self.admit(record?))),
                Either::Second(()) => {
                    self.is_freed = true;
                    Ok(None)
                }
            };
        }
        match timeout(PRUNE, freed).await {
            Ok(()) => self.is_freed = true,
            Err(_) => self.prune(),
        }
        Ok(None)
    }
}

fn peer(address: &Arc<str>, identity: Identity) -> Peer {
    let peer = Peer::named(address).with_local(true);
    peer.with_identity(identity)
}

/// Whether this process or system is out of something, and the client is not to blame.
fn is_exhausted(error: &io::Error) -> bool {
    is_out_of_descriptors(error) || error.kind() == ErrorKind::OutOfMemory
}
