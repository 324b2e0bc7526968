//! Certificates that no authority would issue or send.

use rcgen::{CertificateParams, DnType, KeyPair};
use support::certs::{Authority, Issued};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

/// A certificate for `name` that nobody but itself vouches for.
pub(crate) fn self_signed(name: &str) -> Issued {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    Issued {
        chain: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// The certificate without those above it.
pub(crate) fn first_only(issued: &Issued) -> Issued {
    const END: &str = "-----END CERTIFICATE-----\n";
    let chain = issued.chain.replace("\r\n", "\n");
    let end = chain.find(END).unwrap() + END.len();
    Issued {
        chain: chain[..end].to_owned(),
        key: issued.key.clone(),
    }
}

/// The same certificate, said to be signed by an algorithm that nobody here knows (ECDSA with
/// SHA-224) instead of ECDSA with SHA-256.
pub(crate) fn of_unknown_algorithm(issued: &Issued) -> Issued {
    const ECDSA_WITH_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let mut der = CertificateDer::from_pem_slice(issued.chain.as_bytes())
        .unwrap()
        .to_vec();
    let places: Vec<_> = der
        .windows(ECDSA_WITH_SHA256.len())
        .enumerate()
        .filter_map(|(at, window)| (window == ECDSA_WITH_SHA256).then_some(at))
        .collect();
    assert_eq!(
        places.len(),
        2,
        "once in what is signed, once beside the signature"
    );
    for at in places {
        der[at + ECDSA_WITH_SHA256.len() - 1] = 1;
    }
    Issued {
        chain: pem(&der),
        key: issued.key.clone(),
    }
}

fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for (number, part) in der.chunks(3).enumerate() {
        if number % 16 == 0 {
            text.push('\n');
        }
        let bits = part
            .iter()
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - part.len()));
        for digit in 0..4 {
            let index = bits >> (18 - 6 * digit) & 63;
            text.push(if digit > part.len() {
                '='
            } else {
                DIGITS[index as usize].into()
            });
        }
    }
    format!("-----BEGIN CERTIFICATE-----{text}\n-----END CERTIFICATE-----\n")
}

#[test]
fn the_encoder_of_this_test_encodes() {
    let root = Authority::new("Root");
    let der = CertificateDer::from_pem_slice(root.pem().as_bytes()).unwrap();
    let again = CertificateDer::from_pem_slice(pem(&der).as_bytes()).unwrap();
    assert_eq!(der, again);
}
