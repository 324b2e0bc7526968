//! A client whose pair another process is to open.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::access::own_user;
use super::directory::{Directory, End, Way};
use super::pair::Pair;
use super::places::Place;
use super::record::{RECORD_LEN, Record};
use crate::transport::duplex::Duplex;
use crate::transport::{Conduit, Identity};

/// What another process needs to open the pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    /// The well-known pipe.
    path: PathBuf,
    record: Record,
    /// Whose pair it is.
    user: u32,
}

impl Letter {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.user.to_le_bytes().to_vec();
        bytes.extend(self.record.to_bytes());
        bytes.extend(self.path.as_os_str().as_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (user, rest) = bytes.split_first_chunk()?;
        let (record, path) = rest.split_first_chunk::<RECORD_LEN>()?;
        Some(Self {
            path: OsString::from_vec(path.to_vec()).into(),
            record: Record::from_bytes(record)?,
            user: u32::from_le_bytes(*user),
        })
    }

    /// Opens the pair, in a process of the server's user.
    pub(crate) fn open(&self) -> io::Result<Conduit> {
        let directory = Directory::find(&self.path, own_user()).map_err(io::Error::other)?;
        let pair = Pair::open(&directory, &self.record)?;
        let identity = pair.identity.clone();
        if !matches!(identity, Identity::Process { uid, .. } if uid == self.user) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let address = format!("fifo:{}", self.path.display()).into();
        let peer = super::peer(&address, identity);
        Ok(Conduit::new(pair.into_stream()?, peer))
    }
}

/// Keeps the place of the client. If its pair was not opened when this goes, nobody will open it,
/// and the client is told by an end of file.
pub(crate) struct Claim {
    directory: Arc<Directory>,
    record: Record,
    _place: Place,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let id = &self.record.id;
        if self.directory.owner(id).is_ok() {
            // It sees that a writer came and went.
            drop(self.directory.open(id, Way::Down, End::Writing));
            self.directory.remove(id);
        }
    }
}

/// A client that was accepted, as a stream. Whoever reads it or writes to it here opens the pair
/// after all: a server that refuses the client does.
pub(crate) struct Deferred {
    letter: Letter,
    opened: Option<Duplex>,
    claim: Arc<Claim>,
}

impl Deferred {
    /// The client of a record, whose place is kept for it.
    pub(super) fn conduit(
        directory: Arc<Directory>,
        record: Record,
        place: Place,
        address: &Arc<str>,
    ) -> Conduit {
        let user = place.user();
        let letter = Letter {
            path: address.trim_start_matches("fifo:").into(),
            record,
            user,
        };
        let claim = Claim {
            directory,
            record,
            _place: place,
        };
        let deferred = Self {
            letter,
            opened: None,
            claim: Arc::new(claim),
        };
        // The group is seen when the pair is opened.
        let identity = Identity::process(user, u32::MAX, None);
        Conduit::new(deferred, super::peer(address, identity))
    }

    /// What another process needs, and what is to be kept meanwhile.
    pub(crate) fn hand_over(&self) -> (Letter, Arc<Claim>) {
        (self.letter.clone(), Arc::clone(&self.claim))
    }

    fn stream(&mut self) -> io::Result<Pin<&mut Duplex>> {
        let opened = match self.opened.take() {
            Some(opened) => opened,
            None => Pair::open(&self.claim.directory, &self.letter.record)?.into_stream()?,
        };
        Ok(Pin::new(self.opened.insert(opened)))
    }
}

impl AsyncRead for Deferred {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Deferred {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}
