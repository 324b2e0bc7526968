//! The words for what goes wrong with TLS: whose certificate it is about, what is wrong, and what to
//! do. It decides nothing.

use std::io::{self, ErrorKind};

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{AlertDescription, InvalidMessage, PeerIncompatible};

use super::subject;
use super::trust::{Trust, Verdict};
use crate::error::{Code, Error};
use crate::transport::Certificate;

/// Whose certificate it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Server,
    Client,
}

impl Whose {
    fn word(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }
}

/// The certificate of a peer is not one.
pub(super) fn unreadable(whose: Whose) -> Error {
    Error::new(
        Code::Tls,
        format!("the {}'s certificate cannot be read", whose.word()),
    )
    .with_hint("make it anew, as X.509 version 3")
}

/// The certificate of a peer does not lead up to an authority that is believed.
pub(super) fn of_chain(
    whose: Whose,
    der: &CertificateDer<'_>,
    certificate: &Certificate,
    trust: &Trust,
    error: &webpki::Error,
    now: UnixTime,
) -> Error {
    use webpki::Error as Webpki;
    let role = whose.word();
    let (what, hint) = match error {
        Webpki::CertExpired { not_after, .. } => (
            format!("expired at {}", date(*not_after)),
            format!(
                "renew it, or set the clock of this machine, which says {}",
                date(now)
            ),
        ),
        Webpki::CertNotValidYet { not_before, .. } => (
            format!("is not valid before {}", date(*not_before)),
            format!(
                "wait, or set the clock of this machine, which says {}",
                date(now)
            ),
        ),
        Webpki::CertRevoked => (
            "was revoked by its issuer".to_owned(),
            "find out why, and have a new one issued".to_owned(),
        ),
        Webpki::CrlExpired { next_update, .. } => (
            format!(
                "cannot be checked: the revocation list of its issuer was good until {}",
                date(*next_update)
            ),
            "give this side a newer list, and `reload`".to_owned(),
        ),
        Webpki::UnknownIssuer | Webpki::CaUsedAsEndEntity if subject::is_self_issued(der) => (
            "is signed by itself, and by nobody whom this side trusts".to_owned(),
            "have it signed by a certificate authority, and give that to this side".to_owned(),
        ),
        Webpki::UnknownIssuer => (
            format!(
                "comes from `{}`, of whom neither this side trusts a certificate nor the {role} \
                 sent one that a trusted authority has signed",
                subject::issuer(der)
            ),
            match trust.names() {
                Some(names) => format!(
                    "trusted here: {names}; give this side the right authority, or the {role} the \
                     intermediate certificates behind its own"
                ),
                None => format!(
                    "give this side the right authority, or the {role} the intermediate \
                     certificates behind its own"
                ),
            },
        ),
        Webpki::InvalidSignatureForPublicKey => (
            format!(
                "bears a signature that is not of its issuer `{}`",
                subject::issuer(der)
            ),
            "it was forged or damaged, or two authorities have one name: compare them".to_owned(),
        ),
        Webpki::RequiredEkuNotFoundContext(_) => (
            format!("is not meant for a {role}"),
            format!("have one issued whose extended key usage is {role}Auth"),
        ),
        Webpki::CaUsedAsEndEntity => (
            "is that of a certificate authority".to_owned(),
            format!("have that authority issue one for the {role}"),
        ),
        Webpki::NameConstraintViolation => (
            "has a name for which an authority above it must not issue".to_owned(),
            "have it issued by an authority whose name constraints allow the name".to_owned(),
        ),
        Webpki::PathLenConstraintViolated => (
            "has more authorities above it than one of them allows".to_owned(),
            "have it issued by an authority that may".to_owned(),
        ),
        Webpki::EndEntityUsedAsCa => (
            format!(
                "comes from `{}`, which is no certificate authority",
                subject::issuer(der)
            ),
            "have it issued by an authority".to_owned(),
        ),
        Webpki::UnsupportedSignatureAlgorithmContext(_)
        | Webpki::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => (
            "is signed by an algorithm that is unknown here or no longer safe".to_owned(),
            "have one issued with ECDSA, Ed25519, or RSA of 2048 bits or more, and SHA-256"
                .to_owned(),
        ),
        Webpki::UnsupportedCriticalExtension => (
            "has a critical extension, or one above it has, that is unknown here".to_owned(),
            "have one issued without it".to_owned(),
        ),
        other => (
            format!("is not valid: {other}"),
            "have a new one issued".to_owned(),
        ),
    };
    Error::new(
        Code::Tls,
        format!("the {role}'s certificate {certificate} {what}"),
    )
    .with_hint(hint)
    .with_source(error.clone())
}

/// The certificate of the server is for another host than the one that was dialled.
pub(super) fn wrong_name(certificate: &Certificate, dialled: &str) -> Error {
    let names: Vec<_> = certificate.dns_names().collect();
    let names = if names.is_empty() {
        "names no such host".to_owned()
    } else {
        format!("is for {}", names.join(", "))
    };
    Error::new(
        Code::Tls,
        format!("the server's certificate {certificate} {names}, and `{dialled}` was dialled"),
    )
    .with_hint(
        "dial a name that the certificate has, say which with `ClientTls::server_name`, or whom to \
         expect with `.expect_identity(..)`",
    )
}

/// A connection whose TLS ended so. `us` is which side this is, `own` its certificate.
pub(super) fn of_connection(
    us: Whose,
    error: io::Error,
    verdict: &Verdict,
    own: Option<&Certificate>,
) -> Error {
    if let Some(refusal) = verdict.refusal.get() {
        return refusal.clone();
    }
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let peer = us.other().word();
    let described = match tls {
        Some(rustls::Error::AlertReceived(alert)) => of_alert(us, *alert, own),
        Some(rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        )) => clear_text(us),
        Some(rustls::Error::NoCertificatesPresented) => Error::new(
            Code::Tls,
            "the client has no certificate, and this server asks for one",
        )
        .with_hint("give the client one with `ClientTls::own`, or say `.client_optional()` here"),
        Some(rustls::Error::NoApplicationProtocol) => {
            Error::new(Code::Tls, "the client speaks another protocol over TLS")
                .with_hint("check which address it was given")
        }
        Some(rustls::Error::PeerIncompatible(
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls13RequiredForQuic
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )) => old_version(peer),
        Some(rustls::Error::PeerIncompatible(what)) => Error::new(
            Code::Tls,
            format!("the {peer} and this side have no cryptography in common: {what:?}"),
        )
        .with_hint(format!("upgrade the {peer}")),
        Some(rustls::Error::InvalidCertificate(rustls::CertificateError::BadSignature)) => {
            Error::new(
                Code::Tls,
                format!("the {peer} could not prove that it holds the key of its certificate"),
            )
            .with_hint(
                "somebody else shows its certificate, or its key was exchanged: compare them",
            )
        }
        Some(other) => Error::new(
            Code::Tls,
            format!("the {peer} broke the rules of TLS: {other}"),
        ),
        None if error.kind() == ErrorKind::UnexpectedEof => Error::new(
            Code::Tls,
            format!("the {peer} closed the connection within the TLS handshake"),
        )
        .with_hint(format!(
            "check that the {peer} speaks TLS, and look at what it logs"
        )),
        None => return Error::new(Code::Disconnected, error.to_string()).with_source(error),
    };
    described.with_source(error)
}

fn clear_text(us: Whose) -> Error {
    match us {
        Whose::Client => Error::new(Code::Tls, "the server does not speak TLS at this port")
            .with_hint(
                "give it a tls:// address to listen at; only if clear text is meant, connect to \
                 tcp://",
            ),
        Whose::Server => Error::new(Code::Tls, "the client does not speak TLS")
            .with_hint("let it connect to tls:// instead of tcp://"),
    }
}

fn old_version(peer: &str) -> Error {
    Error::new(Code::Tls, format!("the {peer} does not speak TLS 1.3")).with_hint(format!(
        "upgrade the {peer}; older versions of TLS are not spoken here"
    ))
}

/// What the peer says is wrong with us.
fn of_alert(us: Whose, alert: AlertDescription, own: Option<&Certificate>) -> Error {
    let (me, peer) = (us.word(), us.other().word());
    let mine = match own {
        Some(own) => format!("this {me}'s certificate {own}"),
        None => format!("this {me}"),
    };
    let (what, hint) = match alert {
        AlertDescription::CertificateRequired => (
            format!("the {peer} asks for a certificate, and this {me} has none"),
            "give it one with `ClientTls::own`".to_owned(),
        ),
        AlertDescription::UnknownCA => (
            format!("the {peer} does not trust the issuer of {mine}"),
            format!(
                "have it issued by an authority that the {peer} trusts, or give the {peer} this one"
            ),
        ),
        AlertDescription::CertificateExpired => (
            format!("the {peer} says that {mine} is expired or not valid yet"),
            "renew it, or set the clocks".to_owned(),
        ),
        AlertDescription::CertificateRevoked => (
            format!("the {peer} says that {mine} was revoked"),
            "have a new one issued".to_owned(),
        ),
        AlertDescription::UnsupportedCertificate => (
            format!("the {peer} does not take {mine} for a {me}"),
            format!("have one issued whose extended key usage is {me}Auth"),
        ),
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => (
            format!("the {peer} refuses {mine}"),
            format!("look at what the {peer} logs"),
        ),
        AlertDescription::DecryptError => (
            format!("the {peer} says that a signature on {mine}, or by its key, is wrong"),
            "check that it was not damaged, and that its authority is the one meant".to_owned(),
        ),
        AlertDescription::AccessDenied => (
            format!("the {peer} expects somebody else than {mine}"),
            format!("see what the {peer} expects, and what is registered"),
        ),
        AlertDescription::ProtocolVersion => return old_version(peer),
        AlertDescription::NoApplicationProtocol => (
            format!("the {peer} speaks another protocol over TLS"),
            "check that the address belongs to a server of this framework".to_owned(),
        ),
        AlertDescription::HandshakeFailure => (
            format!("the {peer} and this side have no cryptography in common"),
            format!("upgrade the {peer}"),
        ),
        other => (
            format!("the {peer} ended TLS: {other:?}"),
            format!("look at what the {peer} logs"),
        ),
    };
    Error::new(Code::Tls, what).with_hint(hint)
}

/// A moment as `2026-01-31 23:59:59 UTC`.
fn date(at: UnixTime) -> String {
    let seconds = at.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Counted from 1 March of the year 0, so that the leap day comes last in its year.
    let days = days.saturating_add(719_468);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era.saturating_mul(400).saturating_add(year + later);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
            (4_102_444_800, "2100-01-01 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            assert_eq!(date(at), expected);
        }
    }
}
