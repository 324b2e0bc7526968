//! PEM text, as it comes from a file or a secret: certificates, keys, revocation lists. It knows
//! their envelopes only; whether they are worth anything is decided elsewhere.

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::error::{Code, Error};

/// The most certificates of one text: far more than a chain has, and as many authorities as a
/// system trusts.
const ITEMS_MAX: usize = 1024;

/// The certificates of `pem`, which is `what`, in their order; at least one.
pub(super) fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    items(pem, what, "CERTIFICATE")
}

/// The revocation lists of `pem`, which is `what`; at least one.
pub(super) fn revocations(
    pem: &[u8],
    what: &str,
) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    items(pem, what, "X509 CRL")
}

/// The private key of `pem`, which is `what`.
pub(super) fn key(pem: &[u8], what: &str) -> Result<PrivateKeyDer<'static>, Error> {
    if contains(pem, b"ENCRYPTED PRIVATE KEY") || contains(pem, b"Proc-Type: 4,ENCRYPTED") {
        return Err(refuse(what, "the private key is encrypted").with_hint(
            "decrypt it with `openssl pkey -in key.pem -out plain.pem`, and guard the file by its \
             permissions",
        ));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| broken(pem, what, "PRIVATE KEY", &error))
}

fn items<T: PemObject>(pem: &[u8], what: &str, label: &str) -> Result<Vec<T>, Error> {
    let items = T::pem_slice_iter(pem)
        .take(ITEMS_MAX)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| broken(pem, what, label, &error))?;
    if items.is_empty() {
        return Err(broken(pem, what, label, &pem::Error::NoItemsFound));
    }
    Ok(items)
}

/// The words for a text that does not hold what it should.
fn broken(pem: &[u8], what: &str, label: &str, error: &pem::Error) -> Error {
    let (text, hint) = match error {
        pem::Error::NoItemsFound if pem.iter().all(u8::is_ascii_whitespace) => (
            "the PEM text is empty".to_owned(),
            "check that the file was written whole".to_owned(),
        ),
        pem::Error::NoItemsFound => match label_of(pem) {
            Some(found) => (
                format!("the PEM text has no {label}, but a {found}"),
                "check that certificate and key are not swapped".to_owned(),
            ),
            None => (
                format!("the PEM text has no {label}"),
                format!("it should have a part that begins with -----BEGIN {label}-----"),
            ),
        },
        pem::Error::MissingSectionEnd { .. } => (
            "a part of the PEM text has no end".to_owned(),
            "check that the file was written whole".to_owned(),
        ),
        pem::Error::Base64Decode(_) => (
            "a part of the PEM text is not base64".to_owned(),
            "check that nothing has changed the file on its way".to_owned(),
        ),
        other => (
            format!("the PEM text is broken: {other:?}"),
            "make it anew".to_owned(),
        ),
    };
    refuse(what, &text).with_hint(hint)
}

/// A failure of what this side itself was given.
pub(super) fn refuse(what: &str, text: &str) -> Error {
    Error::new(Code::Tls, format!("{what}: {text}"))
}

/// What the first part of the text says it is.
fn label_of(pem: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, behind) = text.split_once("-----BEGIN ")?;
    let (label, _) = behind.split_once("-----")?;
    let is_label = label.len() <= 40 && label.bytes().all(|b| b.is_ascii_uppercase() || b == b' ');
    is_label.then(|| label.to_owned())
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
