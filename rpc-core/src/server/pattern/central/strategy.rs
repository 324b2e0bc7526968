//! The pattern put to work: in the main process, and in a subserver.

use std::future::ready;
use std::sync::Arc;

use super::CentralDispatch;
use super::dispatcher::Dispatcher;
use super::subserver::serve;
use crate::error::Error;
use crate::server::pattern::{Host, Strategy};
use crate::server::reception::Reception;
use crate::server::subserver::{self, Duty, Kind};
use crate::service::BoxFuture;
use crate::transport::{Address, ListenOptions};

impl Strategy for CentralDispatch {
    fn hands_over(&self) -> bool {
        true
    }

    /// The first subserver reads the well-known pipes itself.
    fn listens(&self, address: &Address) -> bool {
        matches!(address, Address::Fifo { .. })
    }

    fn host(
        self: Box<Self>,
        reception: Arc<Reception>,
        elsewhere: Vec<String>,
    ) -> BoxFuture<Result<Arc<dyn Host>, Error>> {
        Box::pin(async move {
            let dispatcher = Dispatcher::start(*self, &reception, elsewhere).await?;
            Ok(Arc::new(dispatcher) as Arc<dyn Host>)
        })
    }

    fn duty(&self) -> Result<Option<&'static Duty>, Error> {
        Ok(subserver::duty())
    }

    fn perform(
        self: Box<Self>,
        duty: &'static Duty,
        reception: Arc<Reception>,
        options: ListenOptions,
    ) -> BoxFuture<()> {
        let router = &reception.router;
        let Some(orders) = duty.orders(Kind::Central, router.signature()) else {
            return Box::pin(ready(()));
        };
        let services = router.descriptors().collect();
        Box::pin(async move { serve(*self, services, options, orders).await })
    }
}
