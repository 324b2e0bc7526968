//! Certificates, made when a test needs them.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, date_time_ymd,
};

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What stands behind a certificate that it has issued, so that its root is reached.
    chain: String,
}

/// A certificate with its key, as PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate and those above it, without the root.
    pub chain: String,
    /// The private key.
    pub key: String,
}

/// Changes nothing.
pub fn as_it_is(_: &mut CertificateParams) {}

impl Authority {
    /// A root of this name.
    ///
    /// # Panics
    /// Certificates cannot be made here.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key is made");
        let issuer = CertifiedIssuer::self_signed(authority(name), key);
        Self {
            issuer: issuer.expect("a certificate is made"),
            chain: String::new(),
        }
    }

    /// An authority below this one; `change` has the last word about its certificate.
    ///
    /// # Panics
    /// Certificates cannot be made here.
    pub fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().expect("a key is made");
        let mut params = authority(name);
        change(&mut params);
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer);
        let issuer = issuer.expect("a certificate is made");
        Self {
            chain: issuer.pem() + &self.chain,
            issuer,
        }
    }

    /// Its certificate.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a server with these names; `change` has the last word.
    ///
    /// # Panics
    /// Certificates cannot be made here.
    pub fn server(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let subject = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).expect("these are names");
        params.distinguished_name.push(DnType::CommonName, subject);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        self.issue(&params)
    }

    /// A certificate for whoever has this SPIFFE ID, at either end; `change` has the last word.
    ///
    /// # Panics
    /// Certificates cannot be made here.
    pub fn workload(&self, id: &str, change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let mut params = CertificateParams::default();
        let subject = id.rsplit('/').next().unwrap_or_default();
        params.distinguished_name.push(DnType::CommonName, subject);
        params.subject_alt_names = vec![SanType::URI(id.try_into().expect("it is an URI"))];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        self.issue(&params)
    }

    /// The certificate that `params` describe.
    ///
    /// # Panics
    /// Certificates cannot be made here.
    pub fn issue(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().expect("a key is made");
        let certificate = params.signed_by(&key, &self.issuer);
        Issued {
            chain: certificate.expect("a certificate is made").pem() + &self.chain,
            key: key.serialize_pem(),
        }
    }

    /// A list that revokes the certificates with these numbers, good until `year`.
    ///
    /// # Panics
    /// Lists cannot be made here.
    pub fn revocations(&self, serials: &[u64], year: i32) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).and_then(|list| list.pem());
        list.expect("a list is made")
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}
