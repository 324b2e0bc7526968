//! A call that was made and has no reply yet.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::attempt::{Course, Plan};
use crate::codec::{Budget, CodecId};
use crate::error::{Code, Error};
use crate::service::Method;
use crate::wire::Reply;

/// A call that was made and has no reply yet. Nothing is sent before the first poll, and dropping it
/// cancels the call.
///
/// It points to where the call is written down. On its way to the place where it is awaited a future is
/// moved twice, and the processor waits when it moves in large pieces what it has just written in small
/// ones. The places are used again, so that nothing is allocated for them.
pub(crate) struct Pending {
    /// There until it is dropped.
    place: Option<Place>,
    method: &'static Method,
}

type Place = Box<Option<Course>>;

thread_local! {
    /// Places of calls that are over.
    static SPARE: Cell<Vec<Place>> = const { Cell::new(Vec::new()) };
}

impl Pending {
    /// Places that a thread keeps. A task that makes one call after the other needs one, and so do all
    /// such tasks of a thread together.
    const SPARE_MAX: usize = 64;

    #[inline]
    pub(super) fn new(plan: Plan) -> Self {
        let method = plan.method;
        let mut place = spare().unwrap_or_default();
        *place = Some(Course::new(plan));
        Self {
            place: Some(place),
            method,
        }
    }

    pub(super) fn method(&self) -> &'static Method {
        self.method
    }

    /// How a reply of `length` bytes is to be decoded.
    #[inline]
    pub(super) fn codec(&self, length: usize) -> (CodecId, Budget) {
        match self.place.as_deref() {
            Some(Some(course)) => course.codec(length),
            _ => (CodecId::BINCODE, Budget::of_message(length, 0, 0)),
        }
    }
}

impl Future for Pending {
    type Output = Reply;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        match self.place.as_deref_mut() {
            Some(Some(course)) => Pin::new(course).poll(cx),
            _ => Poll::Ready(Reply::Failure(Error::new(
                Code::Internal,
                "the call is over",
            ))),
        }
    }
}

impl Drop for Pending {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut place) = self.place.take() {
            // What a user's type does when it is dropped may be a call.
            *place = None;
            keep(place);
        }
    }
}

/// A place that is free. There is none while a thread ends.
#[inline]
fn spare() -> Option<Place> {
    let take = |spare: &Cell<Vec<Place>>| {
        let mut places = spare.take();
        let place = places.pop();
        spare.set(places);
        place
    };
    SPARE.try_with(take).ok().flatten()
}

#[inline]
fn keep(place: Place) {
    let put = |spare: &Cell<Vec<Place>>| {
        let mut places = spare.take();
        if places.len() < Pending::SPARE_MAX {
            places.push(place);
        }
        spare.set(places);
    };
    // A thread that ends keeps nothing.
    let _ = SPARE.try_with(put);
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use rpc_macros::service;

    use super::*;

    #[service]
    #[allow(dead_code, reason = "its client is all that is needed")]
    trait Work {
        async fn add(&self, a: i64, b: i64) -> i64;
        async fn keep(&self, what: Vec<u8>);
    }

    fn places() -> Vec<*const Option<Course>> {
        let places = SPARE.take();
        let found = places.iter().map(|place| ptr::from_ref(&**place)).collect();
        SPARE.set(places);
        found
    }

    #[tokio::test]
    async fn the_place_of_a_call_is_that_of_an_earlier_one_and_holds_nothing_of_it() {
        let work = WorkClient::connect_lazy("memory:pending-place").unwrap();
        assert!(places().is_empty());
        drop(work.keep(vec![1; 1000]));
        let kept = places();
        assert_eq!(kept.len(), 1);
        let call = work.add(1, 2);
        assert!(places().is_empty(), "it is in use");
        drop(call);
        assert_eq!(places(), kept);
        assert!(SPARE.take().iter().all(|place| place.is_none()));
    }

    #[tokio::test]
    async fn a_thread_keeps_so_many_places() {
        let work = WorkClient::connect_lazy("memory:pending-places").unwrap();
        let calls: Vec<_> = (0..200).map(|number| work.add(number, 1)).collect();
        assert!(places().is_empty());
        drop(calls);
        assert_eq!(places().len(), Pending::SPARE_MAX);
    }
}
