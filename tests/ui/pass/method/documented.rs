//! Under `missing_docs` a documented trait has documented stubs, and a deprecated method warns its callers only.
#![deny(
    warnings,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    missing_debug_implementations,
    unnameable_types,
    single_use_lifetimes,
    trivial_casts,
    unused_lifetimes,
    let_underscore_drop
)]

use rpc_core::service;

/// A service with everything documented.
#[service]
pub trait Documented {
    /// Documented.
    async fn old_and_new(&self) -> u8;
    /// Outdated.
    #[deprecated = "use `old_and_new`"]
    async fn old(&self) -> u8;
    /// Has a body.
    #[allow(unused_variables)]
    async fn body(&self, ignored: u8, mut changed: u8) -> u8 {
        changed += 1;
        changed
    }
    /// Diverges.
    async fn diverges(&self) -> Result<Vec<u8>, String> {
        unimplemented!("on purpose")
    }
    /// Leaves early.
    async fn early(&self, text: &str) -> Result<u64, String> {
        let number: u64 = text.parse().map_err(|_| "no number".to_owned())?;
        if number > 10 {
            return Err("too large".to_owned());
        }
        Ok(number)
    }
}

fn main() {}
