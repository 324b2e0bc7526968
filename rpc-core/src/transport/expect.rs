//! A connector that lets only the right peer through, whichever transport leads there.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Conduit, ConnectOptions, Connector, Identity, identity};
use crate::error::{Code, Error};

impl ConnectOptions {
    /// Lets `connector` through to those only whom the options expect.
    ///
    /// # Errors
    /// [`Code::InvalidAddress`]: they expect what nobody can be.
    pub(crate) fn guard(&self, connector: Box<dyn Connector>) -> Result<Box<dyn Connector>, Error> {
        let expected = Arc::clone(self.expected());
        if expected.is_empty() {
            return Ok(connector);
        }
        for name in &*expected {
            identity::check_name(name)?;
        }
        Ok(Box::new(ExpectingConnector {
            inner: connector,
            expected,
        }))
    }
}

/// Connects as `inner` does, and hangs up on whoever is not all of `expected`, before a byte was
/// sent.
struct ExpectingConnector {
    inner: Box<dyn Connector>,
    expected: Arc<[Arc<str>]>,
}

#[async_trait]
impl Connector for ExpectingConnector {
    async fn connect(&self) -> Result<Conduit, Error> {
        let conduit = self.inner.connect().await?;
        let found = conduit.peer.identity();
        match self.expected.iter().find(|name| !found.is(name)) {
            None => Ok(conduit),
            Some(missing) => Err(wrong_identity(found, missing).with_address(self.inner.address())),
        }
    }

    fn address(&self) -> &str {
        self.inner.address()
    }

    fn awaits_answer(&self) -> bool {
        self.inner.awaits_answer()
    }

    fn spent(&self) -> Option<Error> {
        self.inner.spent()
    }

    fn is_lasting(&self) -> bool {
        self.inner.is_lasting()
    }
}

/// The peer is who it is, and not whom the calls are for.
pub(super) fn wrong_identity(found: &Identity, expected: &str) -> Error {
    Error::new(
        Code::Unauthenticated,
        format!("{expected} must be there, and {found} is; no call was sent"),
    )
    .with_hint("see who listens there and who registered the address, or correct what is expected")
}
