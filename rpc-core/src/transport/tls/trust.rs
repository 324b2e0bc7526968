//! Which certificates are believed: whom they must come from, what they must be for, and which are
//! revoked. The verdict on each is kept, so that the words about it can name it.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::fault::{self, Whose};
use super::{pem, provider, subject};
use crate::error::Error;
use crate::transport::expect::wrong_identity;
use crate::transport::{Certificate, Identity};

/// The certificate authorities that are believed, and what they have taken back.
#[derive(Default)]
pub(super) struct Trust {
    roots: Vec<CertificateDer<'static>>,
    store: Option<RootCertStore>,
    revoked: Vec<CertRevocationList<'static>>,
}

impl Trust {
    /// Believes whom `authorities` have signed.
    pub(super) fn in_authorities(
        authorities: Vec<CertificateDer<'static>>,
        what: &str,
    ) -> Result<Self, Error> {
        let mut store = RootCertStore::empty();
        for authority in &authorities {
            store
                .add(authority.clone())
                .map_err(|_| pem::refuse(what, "a certificate authority cannot be read"))?;
        }
        Ok(Self {
            roots: authorities,
            store: Some(store),
            revoked: Vec::new(),
        })
    }

    /// As [`in_authorities`](Self::in_authorities), for a collection of others in which some may be
    /// past reading.
    pub(super) fn in_collection(authorities: Vec<CertificateDer<'static>>) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(authorities.iter().cloned());
        Self {
            roots: authorities,
            store: Some(store),
            revoked: Vec::new(),
        }
    }

    /// Believes nothing that stands on one of the lists.
    pub(super) fn revoke(
        &mut self,
        lists: &[CertificateRevocationListDer<'_>],
        what: &str,
    ) -> Result<(), Error> {
        for list in lists {
            let list = OwnedCertRevocationList::from_der(list).map_err(|error| {
                pem::refuse(what, &format!("a revocation list cannot be read: {error}"))
            })?;
            self.revoked.push(list.into());
        }
        Ok(())
    }

    /// The names of the authorities, where there are so few that they help somebody who looks for
    /// the missing one.
    pub(super) fn names(&self) -> Option<String> {
        const SHOWN: usize = 3;
        let names = self.roots.iter().filter_map(subject::read);
        let names: Vec<_> = names.map(|root| root.subject().to_owned()).collect();
        (names.len() <= SHOWN).then(|| names.join(" and "))
    }

    fn hints(&self) -> Vec<DistinguishedName> {
        self.store
            .as_ref()
            .map(RootCertStore::subjects)
            .unwrap_or_default()
    }

    /// Whether `chain`, which begins with the peer's own certificate, leads up to an authority.
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let lists: Vec<_> = self.revoked.iter().collect();
        // A list that is past its time may hide a revocation, so it is as bad as none; who is on no
        // list, because its issuer has none here, is not revoked.
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let roots = self.store.as_ref().map_or(&[][..], |store| &store.roots);
        EndEntityCert::try_from(end_entity)?
            .verify_for_usage(
                algorithms().all,
                roots,
                intermediates,
                now,
                usage,
                revocation,
                None,
            )
            .map(|_| ())
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("authorities", &self.roots.len())
            .field("revocation_lists", &self.revoked.len())
            .finish()
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    provider::provider().signature_verification_algorithms
}

/// What came of looking at the certificate of one peer.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// What it showed, whatever that is worth.
    pub(super) shown: OnceLock<Certificate>,
    /// Why that was not believed.
    pub(super) refusal: OnceLock<Error>,
}

impl Verdict {
    fn refuse(&self, error: Error, alert: CertificateError) -> rustls::Error {
        let _ = self.refusal.set(error);
        alert.into()
    }

    /// Looks at a certificate and its chain.
    fn judge(
        &self,
        whose: Whose,
        trust: &Trust,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Certificate, rustls::Error> {
        let Some(certificate) = subject::read(end_entity) else {
            return Err(self.refuse(fault::unreadable(whose), CertificateError::BadEncoding));
        };
        let _ = self.shown.set(certificate.clone());
        let usage = match whose {
            Whose::Server => KeyUsage::server_auth(),
            Whose::Client => KeyUsage::client_auth(),
        };
        match trust.check(end_entity, intermediates, usage, now) {
            Ok(()) => Ok(certificate),
            Err(error) => {
                let words = fault::of_chain(whose, end_entity, &certificate, trust, &error, now);
                Err(self.refuse(words, alert(error)))
            }
        }
    }
}

/// Looks at the certificate of a server, for its client.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) trust: Arc<Trust>,
    pub(super) verdict: Arc<Verdict>,
    /// Who the server must be. If nobody is named, its certificate must be for the name that was
    /// dialled.
    pub(super) expected: Arc<[Arc<str>]>,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = &self.verdict;
        let certificate =
            verdict.judge(Whose::Server, &self.trust, end_entity, intermediates, now)?;
        if self.expected.is_empty() {
            let named = EndEntityCert::try_from(end_entity)
                .and_then(|cert| cert.verify_is_valid_for_subject_name(server_name));
            if named.is_err() {
                let words = fault::wrong_name(&certificate, &server_name.to_str());
                return Err(verdict.refuse(words, CertificateError::NotValidForName));
            }
        }
        let identity = Identity::Certificate(certificate);
        if let Some(missing) = self.expected.iter().find(|name| !identity.is(name)) {
            let words = wrong_identity(&identity, missing);
            let alert = CertificateError::ApplicationVerificationFailure;
            return Err(verdict.refuse(words, alert));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// Looks at the certificate of a client, for its server.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    trust: Arc<Trust>,
    verdict: Arc<Verdict>,
    /// A client without a certificate is refused.
    is_mandatory: bool,
    hints: Vec<DistinguishedName>,
}

impl ClientVerifier {
    pub(super) fn new(trust: Arc<Trust>, verdict: Arc<Verdict>, is_mandatory: bool) -> Self {
        let hints = trust.hints();
        Self {
            trust,
            verdict,
            is_mandatory,
            hints,
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verdict
            .judge(Whose::Client, &self.trust, end_entity, intermediates, now)
            .map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

/// What the peer is told: one of the alerts of TLS stands behind each.
fn alert(error: webpki::Error) -> CertificateError {
    use webpki::Error as Webpki;
    match error {
        Webpki::BadDer | Webpki::BadDerTime | Webpki::TrailingData(_) => {
            CertificateError::BadEncoding
        }
        Webpki::CertNotValidYet { .. } => CertificateError::NotValidYet,
        Webpki::CertExpired { .. } | Webpki::InvalidCertValidity => CertificateError::Expired,
        Webpki::UnknownIssuer | Webpki::CaUsedAsEndEntity => CertificateError::UnknownIssuer,
        Webpki::CertRevoked => CertificateError::Revoked,
        Webpki::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Webpki::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
}
