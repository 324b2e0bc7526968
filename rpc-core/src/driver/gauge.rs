//! Bytes that a process holds for its peers, over all connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A sum that many parts contribute to. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicUsize>);

impl Gauge {
    #[inline]
    pub(crate) fn read(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// A part of the sum, of `bytes` bytes.
    pub(crate) fn charge(&self, bytes: usize) -> Charge {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Charge {
            gauge: self.clone(),
            bytes,
        }
    }
}

/// What one connection or one call contributes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    gauge: Gauge,
    bytes: usize,
}

impl Charge {
    pub(crate) fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.gauge
                .0
                .fetch_add(bytes - self.bytes, Ordering::Relaxed);
        } else if bytes < self.bytes {
            self.gauge
                .0
                .fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_shows_what_its_parts_hold_now() {
        let gauge = Gauge::default();
        let mut connection = gauge.charge(10);
        let call = gauge.charge(5);
        connection.set(100);
        assert_eq!(gauge.read(), 105);
        connection.set(1);
        drop(call);
        assert_eq!(gauge.read(), 1);
        drop(connection);
        assert_eq!(gauge.read(), 0);
    }
}
