//! Who a server is to its clients, and which clients it lets in.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ServerConfig, version};

use super::fault::Whose;
use super::material::{Current, Own, OwnSource, Source};
use super::trust::{ClientVerifier, Trust, Verdict};
use super::{ALPN, pem, provider};
use crate::error::{Code, Error};
use crate::transport::Certificate;

/// What a server needs for `tls://`: its certificate and key, and, for mutual TLS, the authorities
/// whose clients it lets in.
///
/// ```no_run
/// # use rpc_core::{Error, ServerTls};
/// # fn example() -> Result<(), Error> {
/// let tls = ServerTls::from_files("server.pem", "server.key")?.client_ca_file("clients.pem")?;
/// # Ok(())
/// # }
/// ```
///
/// TLS 1.3 and nothing older. Every connection is proved anew: there are no tickets to come back
/// with and no data before the handshake (0-RTT), so nothing can be repeated by somebody else and
/// a revocation counts from the next connection on.
///
/// Clones share what is current. After a certificate was renewed on disk, [`reload`](Self::reload)
/// on any of them has new connections use the new one, while those that stand go on.
#[derive(Clone)]
pub struct ServerTls {
    current: Current<Loaded>,
}

#[derive(Clone)]
struct Plan {
    own: OwnSource,
    client_authorities: Vec<Source>,
    clients_optional: bool,
    revoked: Vec<Source>,
}

struct Loaded {
    plan: Plan,
    own: Own,
    /// Absent where clients are not asked who they are.
    clients: Option<Arc<Trust>>,
}

impl ServerTls {
    /// The certificate chain of the server, its own certificate first, and its private key, as PEM.
    ///
    /// # Errors
    /// [`Code::Tls`]: one of them is not what it should be, or the two do not belong together.
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        Self::from_sources(Source::text(chain), Source::text(key))
    }

    /// As [`from_pem`](Self::from_pem), from files, which [`reload`](Self::reload) reads again.
    ///
    /// # Errors
    /// As there; or a file cannot be read.
    pub fn from_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, Error> {
        Self::from_sources(Source::file(chain), Source::file(key))
    }

    fn from_sources(chain: Source, key: Source) -> Result<Self, Error> {
        let own = OwnSource { chain, key };
        Self::of(Plan {
            own,
            client_authorities: Vec::new(),
            clients_optional: false,
            revoked: Vec::new(),
        })
    }

    fn of(plan: Plan) -> Result<Self, Error> {
        Ok(Self {
            current: Current::new(plan.load()?),
        })
    }

    fn changed(&self, change: impl FnOnce(&mut Plan)) -> Result<Self, Error> {
        let mut plan = self.current.get().plan.clone();
        change(&mut plan);
        Self::of(plan)
    }

    /// Asks clients for a certificate (mutual TLS) and lets in those whom one of these authorities
    /// has signed. It may be said several times. Who a client is stands in its
    /// [`Peer`](crate::transport::Peer); what it may do, the service decides by that.
    ///
    /// # Errors
    /// [`Code::Tls`]: the text has no certificate.
    pub fn client_ca(self, pem: impl AsRef<[u8]>) -> Result<Self, Error> {
        let source = Source::text(pem);
        self.changed(|plan| plan.client_authorities.push(source))
    }

    /// As [`client_ca`](Self::client_ca), from a file.
    ///
    /// # Errors
    /// As there; or the file cannot be read.
    pub fn client_ca_file(self, path: impl AsRef<Path>) -> Result<Self, Error> {
        let source = Source::file(path);
        self.changed(|plan| plan.client_authorities.push(source))
    }

    /// Lets in clients without a certificate too; their identity is unknown. One that is shown must
    /// still be good.
    ///
    /// # Errors
    /// As [`client_ca_file`](Self::client_ca_file), because what was said before is read again.
    pub fn client_optional(self) -> Result<Self, Error> {
        self.changed(|plan| plan.clients_optional = true)
    }

    /// Refuses clients whose certificate, or one above it, stands on one of these revocation lists.
    /// A list that is past its time refuses all whom it is about.
    ///
    /// # Errors
    /// [`Code::Tls`]: the text has no revocation list.
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

    /// Reads all files again. New connections use what they say now, those that stand go on.
    ///
    /// # Errors
    /// As the methods that named the files. Then everything stays as it was, which makes it safe to
    /// call while certificate and key are being exchanged: call it again.
    pub fn reload(&self) -> Result<(), Error> {
        let loaded = self.current.get().plan.load()?;
        self.current.set(Arc::new(loaded));
        Ok(())
    }

    /// New connections use `other` instead, those that stand go on.
    pub fn replace(&self, other: &Self) {
        self.current.set(other.current.get());
    }

    /// The certificate that clients are shown.
    pub fn certificate(&self) -> Certificate {
        self.current.get().own.certificate.clone()
    }

    /// The configuration of one connection, whose client is judged into `verdict`.
    pub(super) fn config(
        &self,
        verdict: &Arc<Verdict>,
    ) -> Result<(Arc<ServerConfig>, Certificate), rustls::Error> {
        let loaded = self.current.get();
        let builder = ServerConfig::builder_with_provider(provider::provider())
            .with_protocol_versions(&[&version::TLS13])?;
        let builder = match &loaded.clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(
                Arc::clone(clients),
                Arc::clone(verdict),
                !loaded.plan.clients_optional,
            ))),
            None => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
        };
        let resolver = SingleCertAndKey::from(Arc::clone(&loaded.own.key));
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok((Arc::new(config), loaded.own.certificate.clone()))
    }
}

impl Plan {
    fn load(&self) -> Result<Loaded, Error> {
        const AUTHORITIES: &str = "the certificate authorities of the clients";
        const REVOKED: &str = "the revocation list of the clients";
        let own = Own::load(&self.own, Whose::Server)?;
        let mut authorities = Vec::new();
        for source in &self.client_authorities {
            let named = source.named(AUTHORITIES);
            authorities.extend(pem::certificates(&source.read(AUTHORITIES)?, &named)?);
        }
        if authorities.is_empty() {
            if self.clients_optional || !self.revoked.is_empty() {
                return Err(Error::new(Code::Tls, "clients are not asked who they are")
                    .with_hint("say `.client_ca(..)` first"));
            }
            return Ok(Loaded {
                plan: self.clone(),
                own,
                clients: None,
            });
        }
        let mut trust = Trust::in_authorities(authorities, AUTHORITIES)?;
        for source in &self.revoked {
            let named = source.named(REVOKED);
            trust.revoke(&pem::revocations(&source.read(REVOKED)?, &named)?, &named)?;
        }
        Ok(Loaded {
            plan: self.clone(),
            own,
            clients: Some(Arc::new(trust)),
        })
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.current.get();
        f.debug_struct("ServerTls")
            .field("certificate", &loaded.own.certificate)
            .field("clients", &loaded.clients)
            .finish_non_exhaustive()
    }
}
