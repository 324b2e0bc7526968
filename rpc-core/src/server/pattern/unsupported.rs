//! The patterns with subservers on systems that have none: they are refused when the server starts.

use std::future::ready;
use std::sync::Arc;

use super::{CentralDispatch, Forking, Host, Strategy};
use crate::error::{Code, Error};
use crate::server::reception::Reception;
use crate::service::BoxFuture;
use crate::transport::Address;

impl Strategy for Forking {
    fn hands_over(&self) -> bool {
        true
    }

    fn host(
        self: Box<Self>,
        _: Arc<Reception>,
        _: Vec<String>,
    ) -> BoxFuture<Result<Arc<dyn Host>, Error>> {
        Box::pin(ready(Err(needs_linux())))
    }
}

impl Strategy for CentralDispatch {
    fn hands_over(&self) -> bool {
        true
    }

    fn listens(&self, address: &Address) -> bool {
        matches!(address, Address::Fifo { .. })
    }

    fn host(
        self: Box<Self>,
        _: Arc<Reception>,
        _: Vec<String>,
    ) -> BoxFuture<Result<Arc<dyn Host>, Error>> {
        Box::pin(ready(Err(needs_linux())))
    }
}

fn needs_linux() -> Error {
    Error::new(Code::Unimplemented, "subservers need Linux")
        .with_hint("use the pattern `Concurrent` on this system")
}
