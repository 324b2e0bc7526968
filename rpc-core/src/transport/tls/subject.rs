//! What a certificate says about who holds its key, read out for rules and for people.

use std::fmt::Write as _;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::provider;
use crate::transport::Certificate;

/// The longest subject that is shown; what a peer puts there ends up in messages and logs.
const SUBJECT_MAX: usize = 200;

/// The most names of one kind that are kept of a certificate: a hundred times what a service has.
const NAMES_MAX: usize = 256;

/// Reads a certificate; `None` if it is none.
pub(super) fn read(der: &CertificateDer<'_>) -> Option<Certificate> {
    let cert = EndEntityCert::try_from(der).ok()?;
    let owned = |names: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        names.take(NAMES_MAX).map(str::to_owned).collect()
    };
    Some(Certificate::new(
        name(cert.subject()),
        owned(&mut cert.valid_uri_names()),
        owned(&mut cert.valid_dns_names()),
        provider::sha256(der),
    ))
}

/// Who issued the certificate, for people.
pub(super) fn issuer(der: &CertificateDer<'_>) -> String {
    EndEntityCert::try_from(der).map_or_else(|_| String::new(), |cert| name(cert.issuer()))
}

/// Whether the certificate names itself as its issuer.
pub(super) fn is_self_issued(der: &CertificateDer<'_>) -> bool {
    EndEntityCert::try_from(der).is_ok_and(|cert| cert.issuer() == cert.subject())
}

/// The attributes of a distinguished name that people know; of others the number is said.
const ATTRIBUTES: &[(&[u8], &str)] = &[
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 5], "serialNumber"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
];

/// A distinguished name as `CN=calc, O=Example`. What cannot be read is left out, and nothing of it
/// can forge a line of a log.
pub(super) fn name(der: &[u8]) -> String {
    let mut text = String::new();
    // Some hand out the sequence, some what is inside.
    let mut sets = match take(der) {
        Some((SEQUENCE, inside, [])) => inside,
        _ => der,
    };
    while let Some((SET, mut pairs, behind)) = take(sets) {
        sets = behind;
        while let Some((SEQUENCE, pair, behind)) = take(pairs) {
            pairs = behind;
            let Some((OBJECT, attribute, value)) = take(pair) else {
                continue;
            };
            let Some((_, value, _)) = take(value) else {
                continue;
            };
            let known = ATTRIBUTES.iter().find(|(oid, _)| *oid == attribute);
            let Some((_, label)) = known else { continue };
            if !text.is_empty() {
                text.push_str(", ");
            }
            let value = String::from_utf8_lossy(value);
            let _ = write!(text, "{label}={}", value.escape_debug());
        }
    }
    if text.chars().count() > SUBJECT_MAX {
        text = text.chars().take(SUBJECT_MAX).chain("..".chars()).collect();
    }
    text
}

const OBJECT: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

/// The first element of DER: its tag, its contents, and what stands behind it.
fn take(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&length, rest) = rest.split_first()?;
            (usize::from(length), rest)
        }
        0x82 => {
            let (&length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(length)), rest)
        }
        _ => return None,
    };
    let (contents, behind) = rest.split_at_checked(length)?;
    Some((tag, contents, behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_as_people_write_it() {
        let common = [
            &[SET, 13, SEQUENCE, 11, OBJECT, 3, 0x55, 4, 3, 0x0c, 4][..],
            b"calc",
        ]
        .concat();
        let unit = [
            &[SET, 11, SEQUENCE, 9, OBJECT, 3, 0x55, 4, 11, 0x0c, 2][..],
            b"a\n",
        ]
        .concat();
        let inside = [common, unit].concat();
        assert_eq!(name(&inside), "CN=calc, OU=a\\n");
        let length = u8::try_from(inside.len()).unwrap();
        assert_eq!(
            name(&[&[SEQUENCE, length][..], &inside].concat()),
            name(&inside)
        );
        for cut in 0..inside.len() {
            name(&inside[..cut]);
        }
    }

    #[test]
    fn random_names_are_read_or_left_out() {
        let seed = std::env::var("SEED").map_or_else(|_| fastrand::u64(..), |s| s.parse().unwrap());
        println!("SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let length = random.usize(..40);
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    *random
                        .choice(&[SET, SEQUENCE, OBJECT, 0x55, 4, 3, 0x81, 0x82, 9, 255, 1])
                        .unwrap()
                })
                .collect();
            assert!(name(&bytes).chars().count() <= SUBJECT_MAX + 2);
        }
    }
}
