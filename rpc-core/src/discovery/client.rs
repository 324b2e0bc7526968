//! What all client stubs have in common, whatever their service.

use std::process::Command;

use crate::client::Channel;
use crate::error::Error;

/// A client stub of some service: every `..Client` that [`service`](crate::service) generates.
///
/// A trait, so that its functions take no name from the methods of a service: where a method is
/// called `spawn` too, `<CalculatorClient as Client>::spawn(..)` is this one.
pub trait Client: Sized {
    /// A client over a channel that is there already.
    fn over(channel: Channel) -> Self;

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
