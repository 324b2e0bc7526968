//! A service in a crate of edition 2021, where `gen` is a plain word, opaque types capture fewer
//! lifetimes, and the prelude is smaller.
#![deny(warnings)]

use std::borrow::Cow;

use async_trait::async_trait;
use rpc_core::service;
use serde::{Deserialize, Serialize};

/// What a generator makes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Made<'a> {
    /// Its text.
    pub text: Cow<'a, str>,
}

/// Makes things.
#[service]
pub trait Generator {
    /// Makes one, named by a word that later editions keep for themselves.
    async fn gen(&self, gen: u8) -> Result<String, u8>;
    /// Borrows in every way.
    async fn borrow(&self, a: &str, b: Option<&str>, c: Cow<'_, str>, d: Made<'_>) -> usize;
    /// Has a body.
    async fn twice(&self, a: u8) -> Result<String, u8> {
        let first = self.gen(a).await?;
        Ok(first + &self.gen(a).await?)
    }
}

/// Makes things, in boxes.
#[service]
#[async_trait]
pub trait Boxed {
    /// Borrows.
    async fn borrow(&self, a: &str, b: Option<&str>) -> usize;
}

/// Makes digits.
#[derive(Debug)]
pub struct Digits;

impl Generator for Digits {
    async fn gen(&self, gen: u8) -> Result<String, u8> {
        if gen < 10 {
            Ok(gen.to_string())
        } else {
            Err(gen)
        }
    }

    async fn borrow(&self, a: &str, b: Option<&str>, c: Cow<'_, str>, d: Made<'_>) -> usize {
        a.len() + b.map_or(0, str::len) + c.len() + d.text.len()
    }
}

#[async_trait]
impl Boxed for Digits {
    async fn borrow(&self, a: &str, b: Option<&str>) -> usize {
        a.len() + b.map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use rpc_core::Service;

    use super::*;

    #[test]
    fn stubs_are_there() {
        let server = GeneratorServer::new(DynGenerator::new(Digits));
        let names: Vec<_> = server
            .descriptor()
            .methods
            .iter()
            .map(|method| method.name)
            .collect();
        assert_eq!(names, ["gen", "borrow", "twice"]);
        assert_eq!(
            BoxedServer::new(DynBoxed::new(Digits)).descriptor().name,
            "Boxed"
        );
    }
}
