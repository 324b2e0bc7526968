//! The cryptography that TLS is made of, always named and never the default of the process: two
//! libraries of one program may disagree about that one, and then the first connection panics.

use std::sync::{Arc, LazyLock};

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;

#[cfg(all(feature = "_tls", not(any(feature = "tls", feature = "tls-ring"))))]
compile_error!("enable the feature `tls` or `tls-ring` of rpc-core, and not `_tls`");

/// The provider of every connection.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        #[cfg(feature = "tls")]
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        #[cfg(not(feature = "tls"))]
        let provider = rustls::crypto::ring::default_provider();
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

/// The SHA-256 of `data`. All zero if the provider had none, which both have.
pub(super) fn sha256(data: &[u8]) -> [u8; 32] {
    let provider = provider();
    let suite = provider.cipher_suites.iter().find_map(|suite| {
        suite
            .tls13()
            .filter(|suite| suite.common.suite == CipherSuite::TLS13_AES_128_GCM_SHA256)
    });
    let hash = suite.map(|suite| suite.common.hash_provider.hash(data));
    hash.and_then(|hash| hash.as_ref().try_into().ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_a_sha256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let hex: String = sha256(b"abc").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, expected);
    }
}
