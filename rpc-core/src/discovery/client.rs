//! What all client stubs have in common, whatever their service.

use std::process::Command;

use crate::client::Channel;
use crate::error::Error;
#[cfg(feature = "patterns")]
use crate::server::CentralDispatch;
use crate::service::Descriptor;

/// A client stub of some service: every `..Client` that [`service`](crate::service) generates.
///
/// A trait, so that its functions take no name from the methods of a service: where a method is
/// called `spawn` too, `<CalculatorClient as Client>::spawn(..)` is this one.
pub trait Client: Sized {
    /// A client over a channel that is there already.
    fn over(channel: Channel) -> Self;

    /// The service that it calls.
    fn service() -> &'static Descriptor;

    /// Starts a program and speaks to it over its standard input and output, as plug-in systems do.
    /// The program calls [`serve_stdio`](crate::serve_stdio); its standard error is this process's,
    /// and so is what it prints before that.
    ///
    /// The child ends with the client: dropping the last clone closes the child's standard input,
    /// and a child that has not ended 2 s later is killed. A child that ends by itself fails the
    /// calls that are under way, once all that it said is read, and the errors say how it ended. It
    /// is not started again; [`Channel::builder_for`] has the settings for both, and everything
    /// else that a channel can be told.
    ///
    /// Must be called within a tokio runtime. Dropping the future leaves no child behind.
    ///
    /// # Errors
    /// There is no such program, or this user may not run it, or the system has no room for it.
    fn spawn(command: Command) -> impl Future<Output = Result<Self, Error>> + Send {
        async { Ok(Self::over(Channel::builder_for(command).connect().await?)) }
    }
}

#[cfg(feature = "patterns")]
impl CentralDispatch {
    /// Lets handlers call this service of their [caller](crate::Context::caller), by the name of its
    /// client. A subserver must know the types, because the replies come from the client of the
    /// server. A call of any other service ends as [`Code::Unimplemented`](crate::Code::Unimplemented).
    ///
    /// ```
    /// # use rpc_core::{server::CentralDispatch, service};
    /// #[service]
    /// trait Progress {
    ///     async fn report(&self, done: u8);
    /// }
    ///
    /// let pattern = CentralDispatch::new().callbacks::<ProgressClient>();
    /// ```
    #[must_use]
    pub fn callbacks<C: Client>(self) -> Self {
        self.with_callbacks(C::service())
    }
}
