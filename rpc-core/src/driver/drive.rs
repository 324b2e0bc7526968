//! The task of a connection, over whatever it goes.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

#[cfg(feature = "udp")]
use super::datagrams::DatagramDriver;
use super::task::Driver;

/// The task of one connection. It ends when the connection has.
///
/// Behind a pointer either way: whoever runs it moves it into a future, and that into a task, and a
/// driver has more than a kilobyte.
pub(crate) enum Drive {
    Stream(Box<Driver>),
    #[cfg(feature = "udp")]
    Datagrams(Box<DatagramDriver>),
}

impl Drive {
    /// Whether both sides have agreed on how they speak, whatever has become of it.
    #[inline]
    pub(crate) fn has_agreed(&self) -> bool {
        match self {
            Self::Stream(driver) => driver.has_agreed(),
            #[cfg(feature = "udp")]
            Self::Datagrams(driver) => driver.has_agreed(),
        }
    }

    /// Whether the connection has ended, though its last words may not be said.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Stream(driver) => driver.has_ended(),
            #[cfg(feature = "udp")]
            Self::Datagrams(driver) => driver.has_ended(),
        }
    }
}

impl Future for Drive {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self {
            Self::Stream(driver) => Pin::new(driver).poll(cx),
            #[cfg(feature = "udp")]
            Self::Datagrams(driver) => Pin::new(driver).poll(cx),
        }
    }
}
