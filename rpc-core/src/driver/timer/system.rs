//! A timer that the system keeps.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::io::read;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::driver::now;

/// A timer that the system keeps, for a task that often waits for short times.
///
/// While a runtime has timers of its own it says with each wait for events how long that may last, and
/// the system sets up a timer around the wait and takes it down again: 0.3 us for each batch of calls.
/// This one is an event like others, and is set once for many waits. It costs a descriptor.
pub(in crate::driver) struct Timer(AsyncFd<OwnedFd>);

/// How many there are.
static TIMERS: AtomicUsize = AtomicUsize::new(0);

impl Timer {
    /// The most of a process, which may have few descriptors. What so many busy connections have to do
    /// between two waits is long beside what this saves.
    const MAX: usize = 64;

    /// It is late by so much, as are those of runtimes: a server is told in whole milliseconds, rounded
    /// down, what time is left, and must not give up before the client does.
    const LATE: Duration = Duration::from_millis(1);

    /// One that is not set; `None` where it cannot be had or would not do. The runtime must have events.
    #[allow(
        deprecated,
        reason = "its successor is unsafe; what is asked of its caller, the type `OwnedFd` promises"
    )]
    pub(in crate::driver) fn new() -> Option<Self> {
        if is_clock_held() || TIMERS.load(Ordering::Relaxed) >= Self::MAX {
            return None;
        }
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let descriptor = timerfd_create(TimerfdClockId::Monotonic, flags).ok()?;
        let events = AsyncFd::with_interest(descriptor, Interest::READABLE).ok()?;
        TIMERS.fetch_add(1, Ordering::Relaxed);
        Some(Self(events))
    }

    /// Wakes the task after so long, and no more for what it was set to before.
    ///
    /// # Errors
    /// It is of no use.
    pub(in crate::driver) fn set(
        &mut self,
        after: Duration,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        if is_clock_held() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let spec = |time: Duration| Timespec {
            tv_sec: time.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        };
        let new = Itimerspec {
            it_interval: spec(Duration::ZERO),
            it_value: spec(after.saturating_add(Self::LATE)),
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &new)?;
        // Until it is known that it has not fired, so that the task is woken when it does.
        while let Poll::Ready(ready) = self.0.poll_read_ready(cx) {
            let fired = ready?.try_io(|timer| Ok(read(timer.get_ref(), &mut [0; 8])?));
            if let Ok(fired) = fired {
                fired?;
                cx.waker().wake_by_ref();
                break;
            }
        }
        Ok(())
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        TIMERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the clock that connections go by is not the system's: a test may hold it, or may have.
fn is_clock_held() -> bool {
    let before = Instant::now();
    let time = now();
    time < before || time > Instant::now()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const MOMENT: Duration = Duration::from_millis(5);

    /// Sets it, and waits until the task is woken.
    async fn wait(timer: &mut Timer, after: &[Duration]) {
        let mut is_set = false;
        poll_fn(|cx| {
            if is_set {
                return Poll::Ready(());
            }
            is_set = true;
            for after in after {
                timer.set(*after, cx).unwrap();
            }
            Poll::Pending
        })
        .await;
    }

    #[tokio::test]
    async fn it_wakes_for_what_it_was_set_to_last_and_can_be_set_again() {
        let mut timer = Timer::new().unwrap();
        for after in [MOMENT, 2 * MOMENT, Duration::ZERO, MOMENT] {
            let begin = Instant::now();
            wait(&mut timer, &[100 * MOMENT, after]).await;
            assert!(begin.elapsed() >= after && begin.elapsed() < 100 * MOMENT);
        }
    }

    #[tokio::test]
    async fn one_that_has_fired_unseen_is_as_good_as_new() {
        let mut timer = Timer::new().unwrap();
        for _ in 0..3 {
            wait(&mut timer, &[MOMENT]).await;
            // Nobody has read it, and the runtime remembers.
            let begin = Instant::now();
            wait(&mut timer, &[MOMENT]).await;
            assert!(begin.elapsed() >= MOMENT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_none_where_a_test_holds_the_clock() {
        assert!(Timer::new().is_none());
        tokio::time::advance(MOMENT).await;
        assert!(Timer::new().is_none());
    }
}
