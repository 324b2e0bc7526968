//! Which servers a client believes, and who it is to them.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, version};

use super::fault::Whose;
use super::material::{Current, Own, OwnSource, Source};
use super::trust::{ServerVerifier, Trust, Verdict};
use super::{ALPN, pem, provider};
use crate::error::{Code, Error};
use crate::transport::Certificate;

/// What a client needs for `tls://`: the authorities that it believes, and, for mutual TLS, its own
/// certificate and key.
///
/// ```no_run
/// # use rpc_core::{ClientTls, Error};
/// # fn example() -> Result<(), Error> {
/// let tls = ClientTls::new().ca_file("authority.pem")?.own_files("client.pem", "client.key")?;
/// # Ok(())
/// # }
/// ```
///
/// Without an authority it believes those of this system: the ones in the files that `SSL_CERT_FILE`
/// and `SSL_CERT_DIR` name, or else the system's own store, read once for the process. With one it
/// believes that one alone.
///
/// TLS 1.3 and nothing older, every connection proved anew, nothing sent before the handshake is
/// over, and never clear text instead. Clones share what is current; see [`reload`](Self::reload).
#[derive(Clone)]
pub struct ClientTls {
    current: Current<Loaded>,
}

#[derive(Clone, Default)]
struct Plan {
    authorities: Vec<Source>,
    own: Option<OwnSource>,
    revoked: Vec<Source>,
    server_name: Option<ServerName<'static>>,
}

#[derive(Default)]
struct Loaded {
    plan: Plan,
    own: Option<Own>,
    /// Absent where it is the system's, which is read when it is needed.
    servers: Option<Arc<Trust>>,
}

impl ClientTls {
    /// Believes the authorities of this system, and shows no certificate.
    pub fn new() -> Self {
        Self {
            current: Current::new(Loaded::default()),
        }
    }

    fn changed(&self, change: impl FnOnce(&mut Plan)) -> Result<Self, Error> {
        let mut plan = self.current.get().plan.clone();
        change(&mut plan);
        Ok(Self {
            current: Current::new(plan.load()?),
        })
    }

    /// Believes servers whom one of these authorities has signed, and no others. It may be said
    /// several times.
    ///
    /// # Errors
    /// [`Code::Tls`]: the text has no certificate.
    pub fn ca(self, pem: impl AsRef<[u8]>) -> Result<Self, Error> {
        let source = Source::text(pem);
        self.changed(|plan| plan.authorities.push(source))
    }

    /// As [`ca`](Self::ca), from a file.
    ///
    /// # Errors
    /// As there; or the file cannot be read.
    pub fn ca_file(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let source = Source::file(path);
        self.changed(|plan| plan.authorities.push(source))
    }

    /// Shows this certificate chain, its own certificate first, to servers that ask for one, and
    /// proves it with this key (mutual TLS).
    ///
    /// # Errors
    /// [`Code::Tls`]: one of them is not what it should be, or the two do not belong together.
    pub fn own(self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        let (chain, key) = (Source::text(chain), Source::text(key));
        self.changed(|plan| plan.own = Some(OwnSource { chain, key }))
    }

    /// As [`own`](Self::own), from files.
    ///
    /// # Errors
    /// As there; or a file cannot be read.
    pub fn own_files(self, chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, Error> {
        let (chain, key) = (Source::file(chain), Source::file(key));
        self.changed(|plan| plan.own = Some(OwnSource { chain, key }))
    }

    /// Refuses servers whose certificate, or one above it, stands on one of these revocation lists.
    /// A list that is past its time refuses all whom it is about. Needs [`ca`](Self::ca).
    ///
    /// # Errors
    /// [`Code::Tls`]: the text has no revocation list, or no authority was named.
    pub fn revoked(self, pem: impl AsRef<[u8]>) -> Result<Self, Error> {
        let source = Source::text(pem);
        self.changed(|plan| plan.revoked.push(source))
    }

    /// As [`revoked`](Self::revoked), from a file.
    ///
    /// # Errors
    /// As there; or the file cannot be read.
    pub fn revoked_file(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let source = Source::file(path);
        self.changed(|plan| plan.revoked.push(source))
    }

    /// The name, or IP address, that the certificate of the server must be for, instead of the host
    /// of the address.
    ///
    /// # Errors
    /// [`Code::Tls`]: it is neither.
    pub fn server_name(self, name: &str) -> Result<Self, Error> {
        let name = server_name(name)?;
        self.changed(|plan| plan.server_name = Some(name))
    }

    /// Reads all files again. New connections use what they say now, those that stand go on.
    ///
    /// # Errors
    /// As the methods that named the files. Then everything stays as it was, which makes it safe to
    /// call while certificate and key are being exchanged: call it again.
    pub fn reload(&self) -> Result<(), Error> {
        let loaded = self.current.get().plan.clone().load()?;
        self.current.set(Arc::new(loaded));
        Ok(())
    }

    /// New connections use `other` instead, those that stand go on.
    pub fn replace(&self, other: &Self) {
        self.current.set(other.current.get());
    }

    /// The configuration of one connection to `host`, whose server must be all of `expected` and is
    /// judged into `verdict`.
    pub(super) fn config(
        &self,
        host: &str,
        expected: &Arc<[Arc<str>]>,
        verdict: &Arc<Verdict>,
    ) -> Result<Attempt, Error> {
        let loaded = self.current.get();
        let name = match &loaded.plan.server_name {
            Some(name) => name.clone(),
            None => server_name(host)?,
        };
        let trust = match &loaded.servers {
            Some(servers) => Arc::clone(servers),
            None => system()?,
        };
        let verifier = ServerVerifier {
            trust,
            verdict: Arc::clone(verdict),
            expected: Arc::clone(expected),
        };
        let impossible = |error| Error::new(Code::Tls, "TLS cannot be set up").with_source(error);
        let builder = ClientConfig::builder_with_provider(provider::provider())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(impossible)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &loaded.own {
            Some(own) => {
                let resolver = SingleCertAndKey::from(Arc::clone(&own.key));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Attempt {
            config: Arc::new(config),
            name,
            own: loaded.own.as_ref().map(|own| own.certificate.clone()),
        })
    }
}

impl Default for ClientTls {
    fn default() -> Self {
        Self::new()
    }
}

/// What one connection is made with.
pub(super) struct Attempt {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    pub(super) own: Option<Certificate>,
}

impl Plan {
    fn load(self) -> Result<Loaded, Error> {
        const AUTHORITIES: &str = "the certificate authorities of the servers";
        const REVOKED: &str = "the revocation list of the servers";
        let own = self
            .own
            .as_ref()
            .map(|own| Own::load(own, Whose::Client))
            .transpose()?;
        let mut authorities = Vec::new();
        for source in &self.authorities {
            let named = source.named(AUTHORITIES);
            authorities.extend(pem::certificates(&source.read(AUTHORITIES)?, &named)?);
        }
        if authorities.is_empty() {
            if !self.revoked.is_empty() {
                return Err(
                    Error::new(Code::Tls, "a revocation list is of no use by itself")
                        .with_hint("name its authority first, with `.ca(..)`"),
                );
            }
            return Ok(Loaded {
                plan: self,
                own,
                servers: None,
            });
        }
        let mut trust = Trust::in_authorities(authorities, AUTHORITIES)?;
        for source in &self.revoked {
            let named = source.named(REVOKED);
            trust.revoke(&pem::revocations(&source.read(REVOKED)?, &named)?, &named)?;
        }
        Ok(Loaded {
            plan: self,
            own,
            servers: Some(Arc::new(trust)),
        })
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, Error> {
    // Certificates know no zones.
    let host = host.split_once('%').map_or(host, |(host, _)| host);
    ServerName::try_from(host.trim_end_matches('.').to_owned()).map_err(|error| {
        let text = format!("`{host}` is no name that a certificate could have");
        Error::new(Code::Tls, text)
            .with_hint("say which it has with `ClientTls::server_name`")
            .with_source(error)
    })
}

/// The authorities of this system. A failure is not kept: the next connection may find them.
fn system() -> Result<Arc<Trust>, Error> {
    static SYSTEM: Mutex<Option<Arc<Trust>>> = Mutex::new(None);
    let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(trust) = &*system {
        return Ok(Arc::clone(trust));
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let error = Error::new(
            Code::Tls,
            "this system has no certificate authorities to trust",
        )
        .with_hint(
            "name one with `ClientTls::ca_file`, set SSL_CERT_FILE, or install the package \
                 ca-certificates",
        );
        return Err(match found.errors.into_iter().next() {
            Some(cause) => error.with_source(cause),
            None => error,
        });
    }
    let trust = Arc::new(Trust::in_collection(found.certs));
    *system = Some(Arc::clone(&trust));
    Ok(trust)
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.current.get();
        f.debug_struct("ClientTls")
            .field("own", &loaded.own)
            .field("servers", &loaded.servers)
            .finish_non_exhaustive()
    }
}
