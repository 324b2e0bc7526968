//! The methods of a server, by their numbers. Knows neither requests nor connections.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::service::Method;

/// Where the calls of a method go.
pub(super) struct Route {
    /// The number of the service among those of the server.
    pub(super) service: usize,
    pub(super) method: &'static Method,
    /// [`Method::fingerprint`].
    pub(super) fingerprint: u64,
    /// So many calls of the method are to be quick, one after the other, before one is polled on the task
    /// of its connection again; 0 while all are.
    probation: AtomicU32,
    /// The number of the method, beside what is compared next.
    number: u64,
}

impl Route {
    pub(super) fn new(service: usize, method: &'static Method) -> Self {
        Self {
            service,
            method,
            fingerprint: method.fingerprint(),
            probation: AtomicU32::new(0),
            number: method.id.0,
        }
    }

    /// Quick calls after which a method that computed for long is trusted again. Each of them costs a task,
    /// some 1 us, and all together a millisecond: little enough where it was only the system that took the
    /// processor away. With fewer, a method that is long now and then would hold up its connection more
    /// often.
    pub(super) const PROBATION: u32 = 1024;

    /// Whether its calls get tasks of their own, where there are other threads to run them.
    #[inline]
    pub(super) fn is_slow(&self) -> bool {
        self.probation.load(Ordering::Relaxed) > 0
    }

    /// A call computed for long without waiting.
    #[cold]
    pub(super) fn was_slow(&self) {
        self.probation.store(Self::PROBATION, Ordering::Relaxed);
    }

    /// One that had a task of its own did not.
    pub(super) fn was_quick(&self) {
        let quick = |left: u32| left.checked_sub(1);
        // Where nothing is left to count, another has counted it.
        let _ = self
            .probation
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, quick);
    }
}

/// A table that is made once and then asked with every call.
///
/// Numbers of methods are hashes already. So each route stands in the place that the end of its number
/// names, or in the first free one behind it; behind the last there is always a free one. The routes
/// are those of this program: no peer can make them crowd.
pub(super) struct Routes {
    places: Box<[Option<Route>]>,
    /// Of a number, the bits that name a place.
    mask: u64,
}

impl Routes {
    /// # Errors
    /// Two methods of one number.
    pub(super) fn new(routes: Vec<Route>) -> Result<Self, [&'static Method; 2]> {
        // Half of the places stay empty.
        let named = routes.len().saturating_mul(2).next_power_of_two();
        let mut table = Self {
            places: (0..=named + routes.len()).map(|_| None).collect(),
            mask: named as u64 - 1,
        };
        for route in routes {
            if let Some(other) = table.find(route.number) {
                return Err([other.method, route.method]);
            }
            let from = table.place(route.number);
            let mut places = table.places.iter_mut().skip(from);
            if let Some(free) = places.find(|place| place.is_none()) {
                *free = Some(route);
            }
        }
        Ok(table)
    }

    #[inline]
    pub(super) fn find(&self, number: u64) -> Option<&Route> {
        let places = self.places.get(self.place(number)..)?;
        places
            .iter()
            .map_while(Option::as_ref)
            .find(|route| route.number == number)
    }

    #[inline]
    fn place(&self, number: u64) -> usize {
        (number & self.mask) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::MethodId;
    use crate::shape::{MethodShape, Shape};

    fn method(number: u64) -> &'static Method {
        let mut method = Method::new("Service", "method", &[], "", || MethodShape {
            arguments: Vec::new(),
            returns: Shape::Unit,
            error: None,
        });
        method.id = MethodId(number);
        Box::leak(Box::new(method))
    }

    fn routes(numbers: &[u64]) -> Result<Routes, [u64; 2]> {
        let routes = numbers.iter().map(|&number| Route::new(0, method(number)));
        Routes::new(routes.collect()).map_err(|methods| methods.map(|method| method.id.0))
    }

    #[test]
    fn each_method_is_found_by_its_number_and_nothing_else() {
        let spread: Vec<u64> = (1..=100)
            .map(|n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .collect();
        let crowded: Vec<u64> = (1..=100).map(|n| n << 32).collect();
        let last = [u64::MAX, u64::MAX >> 1, u64::MAX >> 2];
        for numbers in [&spread[..], &crowded, &last, &[0], &[]] {
            let routes = routes(numbers).unwrap();
            for number in numbers {
                assert_eq!(routes.find(*number).unwrap().number, *number);
            }
            for number in [7, (7 << 32) + 1, u64::MAX - 1] {
                assert!(routes.find(number).is_none(), "{number}");
            }
        }
    }

    #[test]
    fn two_methods_of_one_number_are_refused() {
        assert_eq!(routes(&[5, 3, 5]).err(), Some([5, 5]));
    }
}
