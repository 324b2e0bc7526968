//! A call that was made and has no reply yet.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::attempt::{Course, Plan};
use super::channel::Path;
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

type Place = Box<Course>;

thread_local! {
    /// Places of calls that are over.
    static SPARE: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

impl Pending {
    /// Places that a thread keeps. A task that makes one call after the other needs one, and so do all
    /// such tasks of a thread together.
    const SPARE_MAX: usize = 64;

    /// A call that goes there, of which `write` writes the rest.
    #[inline]
    pub(super) fn new(
        path: &Arc<Path>,
        method: &'static Method,
        write: impl FnOnce(&mut Plan),
    ) -> Self {
        let mut place = spare().unwrap_or_else(|| Box::new(Course::empty(method)));
        place.begin(path, method, write);
        Self {
            place: Some(place),
            method,
        }
    }

    /// Places of this thread no longer hold on to the paths that are meant.
    #[cold]
    pub(super) fn let_go(is_meant: impl Fn(&Path) -> bool) {
        let mut places = SPARE.try_with(RefCell::take).unwrap_or_default();
        places.retain(|place| !place.goes_by(|path| is_meant(path)));
        places.into_iter().for_each(keep);
    }

    pub(super) fn method(&self) -> &'static Method {
        self.method
    }

    /// How a reply of `length` bytes is to be decoded.
    #[inline]
    pub(super) fn codec(&self, length: usize) -> (CodecId, Budget) {
        match self.place.as_deref() {
            Some(course) => course.codec(length),
            None => (CodecId::BINCODE, Budget::of_message(length, 0, 0)),
        }
    }
}

impl Future for Pending {
    type Output = Reply;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        match self.place.as_deref_mut() {
            Some(course) => Pin::new(course).poll(cx),
            None => Poll::Ready(Reply::Failure(Error::new(
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
            place.end();
            keep(place);
        }
    }
}

/// A place that is free. There is none while a thread ends.
#[inline]
fn spare() -> Option<Place> {
    SPARE
        .try_with(|spare| spare.borrow_mut().pop())
        .ok()
        .flatten()
}

#[inline]
fn keep(place: Place) {
    let put = |spare: &RefCell<Vec<Place>>| {
        let mut places = spare.borrow_mut();
        if places.len() < Pending::SPARE_MAX {
            places.push(place);
            return None;
        }
        Some(place)
    };
    // A thread that ends keeps nothing. One place too many is dropped when the others can be had again.
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

    fn places() -> Vec<*const Course> {
        SPARE.with_borrow(|places| places.iter().map(|place| ptr::from_ref(&**place)).collect())
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
        assert!(SPARE.take().iter().all(|place| place.is_over()));
    }

    /// Places that hold on to the path of their last call.
    fn held() -> usize {
        SPARE.with_borrow(|places| {
            places
                .iter()
                .filter(|place| place.goes_by(|_| true))
                .count()
        })
    }

    #[tokio::test]
    async fn a_place_keeps_the_path_until_the_last_clone_of_the_client_is_gone() {
        let work = WorkClient::connect_lazy("memory:pending-path").unwrap();
        let clone = work.clone();
        drop([work.add(1, 2), clone.add(1, 2)]);
        assert_eq!(held(), 2);
        drop(work);
        assert_eq!(held(), 2);
        drop(clone);
        assert_eq!(held(), 0);
    }

    /// As where there are several threads, between which the places of a task would wander, and where the
    /// server lives no longer than its connection.
    #[test]
    fn calls_are_counted_where_that_is_better() {
        let call = |address: &str| drop(WorkClient::connect_lazy(address).unwrap().add(1, 2));
        let threads = tokio::runtime::Builder::new_multi_thread().build().unwrap();
        threads.block_on(async { call("memory:pending-threads") });
        assert_eq!((places().len(), held()), (1, 0));
        #[cfg(all(unix, feature = "pipes"))]
        call("exec:cat");
        assert_eq!((places().len(), held()), (1, 0));
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
