//! The task of a connection, over whatever it goes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The task of one connection. It ends when the connection has.
///
/// Behind a pointer that says nothing of its type: whoever runs it moves it into a future, and that
/// into a task, and a driver has more than a kilobyte; and what drops a driver is large, too, and would
/// be compiled wherever one is moved.
pub(crate) struct Drive(Pin<Box<dyn Driven>>);

/// What runs a connection.
pub(super) trait Driven: Future<Output = ()> + Send {
    /// Whether both sides have agreed on how they speak, whatever has become of it.
    fn has_agreed(&self) -> bool;

    /// Whether the connection has ended, though its last words may not be said.
    fn has_ended(&self) -> bool;
}

impl Drive {
    pub(super) fn new(driver: impl Driven + 'static) -> Self {
        Self(Box::pin(driver))
    }

    /// Whether both sides have agreed on how they speak, whatever has become of it.
    #[inline]
    pub(crate) fn has_agreed(&self) -> bool {
        self.0.has_agreed()
    }

    /// Whether the connection has ended, though its last words may not be said.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.0.has_ended()
    }
}

impl Future for Drive {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
