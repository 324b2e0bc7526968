//! Who a peer is, with a proof that it cannot forge, and the texts that name who it must be.

use std::fmt;
use std::sync::Arc;

use crate::error::{Code, Error};

/// Who a peer is, with a proof that the peer cannot forge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Identity {
    /// The transport proves nothing, as plain TCP.
    #[default]
    Unknown,
    /// A process on this machine; the kernel says which.
    #[non_exhaustive]
    Process {
        /// The user that it ran as when it connected.
        uid: u32,
        /// The group that it ran as when it connected.
        gid: u32,
        /// Its number, where the system tells, for people. As long as the connection is open it
        /// names this process, because the connection ends before a dead process's number is free,
        /// unless the process has passed the connection on to another. Once it is closed the number
        /// may name any process.
        pid: Option<u32>,
    },
    /// Who holds the key of a certificate; a certificate authority that this side trusts says who
    /// that is.
    Certificate(Certificate),
}

impl Identity {
    /// The process `pid` that runs as `uid` and `gid`.
    pub fn process(uid: u32, gid: u32, pid: Option<u32>) -> Self {
        Self::Process { uid, gid, pid }
    }

    /// The text that names it best, as [`is`](Self::is) takes it: the SPIFFE ID, the first DNS name
    /// or the fingerprint of a certificate, the user of a process.
    pub fn name(&self) -> Option<String> {
        match self {
            Self::Unknown => None,
            Self::Process { uid, .. } => Some(format!("uid:{uid}")),
            Self::Certificate(certificate) => Some(certificate.name()),
        }
    }

    /// Whether it is who `name` names:
    ///
    /// | Text | Means |
    /// |---|---|
    /// | `spiffe://trust.domain/path` | a certificate with this SPIFFE ID |
    /// | `dns:calc.example` | a certificate for this DNS name, word for word |
    /// | `sha256:0123..` | the one certificate with this fingerprint |
    /// | `uid:1000` | a process of this user |
    ///
    /// Nobody is who another text names.
    pub fn is(&self, name: &str) -> bool {
        match self {
            Self::Unknown => false,
            Self::Process { uid, .. } => name
                .strip_prefix("uid:")
                .is_some_and(|user| user.parse() == Ok(*uid)),
            Self::Certificate(certificate) => certificate.is(name),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("nobody that the transport vouches for"),
            Self::Process {
                uid,
                pid: Some(pid),
                ..
            } => write!(f, "uid {uid}, pid {pid}"),
            Self::Process { uid, pid: None, .. } => write!(f, "uid {uid}"),
            Self::Certificate(certificate) => certificate.fmt(f),
        }
    }
}

/// The longest text that names an identity: a SPIFFE ID has at most 2,048 bytes.
pub(super) const NAME_MAX: usize = 2048;

/// Refuses a text that no identity can ever match.
///
/// # Errors
/// [`Code::InvalidAddress`], with the forms that there are.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let is_one = ["spiffe://", "dns:", "sha256:", "uid:"]
        .iter()
        .any(|form| name.strip_prefix(form).is_some_and(|rest| !rest.is_empty()));
    if is_one && name.len() <= NAME_MAX {
        return Ok(());
    }
    let end = name.char_indices().nth(80).map_or(name.len(), |(at, _)| at);
    let shown = name.get(..end).unwrap_or_default();
    let text = format!("{shown:?} does not name an identity");
    Err(Error::new(Code::InvalidAddress, text)
        .with_hint("write spiffe://domain/path, dns:name, sha256:fingerprint or uid:number"))
}

/// What a certificate says about who holds its key. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate(Arc<Contents>);

#[derive(PartialEq, Eq)]
struct Contents {
    subject: String,
    uris: Vec<String>,
    dns_names: Vec<String>,
    sha256: [u8; 32],
}

impl Certificate {
    #[cfg(feature = "_tls")]
    pub(super) fn new(
        subject: String,
        uris: Vec<String>,
        dns_names: Vec<String>,
        sha256: [u8; 32],
    ) -> Self {
        Self(Arc::new(Contents {
            subject,
            uris,
            dns_names,
            sha256,
        }))
    }

    /// The subject, for people: `CN=calc, O=Example`; often empty. Names that programs decide by
    /// are [`spiffe`](Self::spiffe) and [`dns_names`](Self::dns_names).
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The SPIFFE ID: the one URI name of the certificate, where there is one and only one.
    pub fn spiffe(&self) -> Option<&str> {
        match &self.0.uris[..] {
            [uri] if uri.starts_with("spiffe://") => Some(uri),
            _ => None,
        }
    }

    /// The URI names.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.0.uris.iter().map(String::as_str)
    }

    /// The DNS names, wildcards as they stand there.
    pub fn dns_names(&self) -> impl Iterator<Item = &str> {
        self.0.dns_names.iter().map(String::as_str)
    }

    /// The fingerprint: the SHA-256 of the whole certificate.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.0.sha256
    }

    /// The best name that outlives the certificate: a renewed one has it too.
    #[cfg(feature = "_tls")]
    pub(super) fn lasting_name(&self) -> Option<String> {
        let name = self.name();
        (!name.starts_with("sha256:")).then_some(name)
    }

    fn name(&self) -> String {
        match (self.spiffe(), self.dns_names().next()) {
            (Some(spiffe), _) => spiffe.to_owned(),
            (None, Some(dns)) => format!("dns:{dns}"),
            (None, None) => format!("sha256:{}", self.fingerprint()),
        }
    }

    fn is(&self, name: &str) -> bool {
        if let Some(dns) = name.strip_prefix("dns:") {
            return self.dns_names().any(|own| own.eq_ignore_ascii_case(dns));
        }
        if let Some(hex) = name.strip_prefix("sha256:") {
            return self.fingerprint().eq_ignore_ascii_case(hex);
        }
        self.spiffe() == Some(name)
    }

    fn fingerprint(&self) -> String {
        self.0
            .sha256
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

impl fmt::Display for Certificate {
    /// The best name, and the subject where that is another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        match self.subject() {
            "" => Ok(()),
            subject => write!(f, " ({subject})"),
        }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("uris", &self.0.uris)
            .field("dns_names", &self.0.dns_names)
            .field("sha256", &self.fingerprint())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(uris: &[&str], dns_names: &[&str]) -> Identity {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Identity::Certificate(Certificate(Arc::new(Contents {
            subject: "CN=calc".into(),
            uris: owned(uris),
            dns_names: owned(dns_names),
            sha256: [0xab; 32],
        })))
    }

    #[test]
    fn an_identity_is_who_its_name_names_and_nobody_else() {
        let fingerprint = format!("sha256:{}", "ab".repeat(32));
        let service = certificate(&["spiffe://prod/calc"], &["calc.example"]);
        for name in ["spiffe://prod/calc", "dns:CALC.example", &fingerprint] {
            check_name(name).unwrap();
            assert!(service.is(name), "{name}");
            assert!(!Identity::Unknown.is(name), "{name}");
        }
        for name in [
            "spiffe://prod/cal",
            "spiffe://prod/calc/",
            "dns:example",
            "CN=calc",
            "",
        ] {
            assert!(!service.is(name), "{name}");
        }
        let user = Identity::process(1000, 100, Some(42));
        assert!(user.is("uid:1000") && !user.is("uid:100") && !user.is("uid:"));
        assert!(user.is(&user.name().unwrap()));
        assert!(service.is(&service.name().unwrap()));
        assert!(check_name("CN=calc").is_err() && check_name("uid:").is_err());
    }

    /// Whoever may add a second URI must not thereby become somebody else.
    #[test]
    fn two_uris_are_no_spiffe_id() {
        let both = certificate(&["spiffe://prod/calc", "spiffe://prod/admin"], &[]);
        assert!(!both.is("spiffe://prod/calc") && !both.is("spiffe://prod/admin"));
    }
}
