//! Where certificates and keys come from, so that they can be read again when they were renewed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::sign::CertifiedKey;

use super::fault::Whose;
use super::{pem, provider, subject};
use crate::error::{Code, Error};
use crate::transport::Certificate;

/// PEM text, or where to read it.
#[derive(Clone)]
pub(super) enum Source {
    Text(Arc<[u8]>),
    File(PathBuf),
}

impl Source {
    pub(super) fn text(pem: impl AsRef<[u8]>) -> Self {
        Self::Text(pem.as_ref().into())
    }

    pub(super) fn file(path: impl AsRef<Path>) -> Self {
        Self::File(path.as_ref().to_owned())
    }

    /// The PEM text of `what`.
    pub(super) fn read(&self, what: &str) -> Result<Arc<[u8]>, Error> {
        match self {
            Self::Text(text) => Ok(Arc::clone(text)),
            Self::File(path) => std::fs::read(path).map(Into::into).map_err(|error| {
                Error::new(
                    Code::Tls,
                    format!("{}: cannot be read: {error}", self.named(what)),
                )
                .with_hint("check the path and its permissions")
                .with_source(error)
            }),
        }
    }

    /// `what`, with the path that it comes from.
    pub(super) fn named(&self, what: &str) -> String {
        match self {
            Self::Text(_) => what.to_owned(),
            Self::File(path) => format!("{what} in {}", path.display()),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // It may be a key.
            Self::Text(_) => f.write_str("Text(..)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Where the certificate of this side and its key come from.
#[derive(Clone, Debug)]
pub(super) struct OwnSource {
    pub(super) chain: Source,
    pub(super) key: Source,
}

/// The certificate of this side, with the key that proves it.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) certificate: Certificate,
}

impl Own {
    pub(super) fn load(source: &OwnSource, whose: Whose) -> Result<Self, Error> {
        let (what_chain, what_key) = match whose {
            Whose::Server => ("the certificate of this server", "the key of this server"),
            Whose::Client => ("the certificate of this client", "the key of this client"),
        };
        let named = source.chain.named(what_chain);
        let chain = pem::certificates(&source.chain.read(what_chain)?, &named)?;
        let certificate = chain
            .first()
            .and_then(subject::read)
            .ok_or_else(|| pem::refuse(&named, "it is not a certificate that can be read"))?;
        let named_key = source.key.named(what_key);
        let key = pem::key(&source.key.read(what_key)?, &named_key)?;
        let key = provider::provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| {
                pem::refuse(&named_key, "it is of a kind that is unknown here")
                    .with_hint("make one with ECDSA P-256, Ed25519, or RSA of 2048 bits or more")
                    .with_source(error)
            })?;
        let own = CertifiedKey::new(chain, key);
        if let Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) =
            own.keys_match()
        {
            let text = format!("it does not belong to the certificate {certificate}");
            return Err(pem::refuse(&named_key, &text)
                .with_hint("give the key that the certificate was made with"));
        }
        Ok(Self {
            key: Arc::new(own),
            certificate,
        })
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.certificate.fmt(f)
    }
}

/// A value that is exchanged while others use it: who has it in hand keeps what was there.
pub(super) struct Current<T>(Arc<Mutex<Arc<T>>>);

impl<T> Current<T> {
    pub(super) fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(value))))
    }

    pub(super) fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, value: Arc<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}
