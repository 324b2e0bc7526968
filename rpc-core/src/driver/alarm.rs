//! Wakes the task of a connection when the protocol wants to be asked.

use std::future::Future as _;
use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use tokio::task::coop::has_budget_remaining;
use tokio::time::Sleep;

/// A timer that is moved seldom: it may fire early, never late. Moving it for every call would cost
/// more than one idle wake-up now and then.
pub(super) struct Alarm {
    /// Made when it is set for the first time.
    timer: Option<Pin<Box<Sleep>>>,
    /// When `timer` fires.
    at: Instant,
}

impl Alarm {
    /// One that has fired by `now`.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            timer: None,
            at: now,
        }
    }

    /// Whether it has fired, so that something may be due.
    pub(super) fn has_fired(&self, now: Instant) -> bool {
        self.at <= now
    }

    /// Sees to it that the task is woken at `due`, or before.
    pub(super) fn set(&mut self, due: Instant, now: Instant, cx: &mut Context<'_>) {
        if self.at <= due && !self.has_fired(now) {
            return;
        }
        // In a task that has had its turn, tokio's timers do not even note whom to wake.
        if !has_budget_remaining() {
            cx.waker().wake_by_ref();
            return;
        }
        self.at = due;
        let timer = match &mut self.timer {
            Some(timer) => {
                timer.as_mut().reset(due.into());
                timer
            }
            empty => empty.insert(Box::pin(tokio::time::sleep_until(due.into()))),
        };
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;
    use crate::driver::now;

    const HOUR: Duration = Duration::from_secs(3600);

    /// What tokio's timers round to, and more.
    const MOMENT: Duration = Duration::from_millis(10);

    /// Waits until the alarm has fired for `due`, and sets it first in a poll that has used up the
    /// task's budget if `spent`.
    async fn wait(alarm: &mut Alarm, due: Instant, spent: bool) {
        let mut spent = spent;
        poll_fn(|cx| {
            while std::mem::take(&mut spent) {
                let mut unit = pin!(tokio::task::consume_budget());
                spent = unit.as_mut().poll(cx).is_ready();
            }
            match alarm.has_fired(now()) && due <= now() {
                true => Poll::Ready(()),
                false => {
                    alarm.set(due, now(), cx);
                    Poll::Pending
                }
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_fires_in_time_and_again() {
        let mut alarm = Alarm::new(now());
        for _ in 0..3 {
            let due = now() + HOUR;
            wait(&mut alarm, due, false).await;
            assert!(now() < due + MOMENT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_fires_for_a_task_that_had_used_up_its_turn() {
        let mut alarm = Alarm::new(now());
        // Once it has fired, it has forgotten whom it woke: so once more.
        for _ in 0..2 {
            let due = now() + HOUR;
            let waiting = wait(&mut alarm, due, true);
            // The clock stops at whatever comes first, and who is polled then sees that it is late.
            let _ = tokio::time::timeout(2 * HOUR, waiting).await;
            assert!(now() < due + MOMENT, "nobody was woken");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_time_leaves_it_where_it_is() {
        let mut alarm = Alarm::new(now());
        let first = now() + HOUR;
        poll_fn(|cx| {
            alarm.set(first, now(), cx);
            alarm.set(first + HOUR, now(), cx);
            Poll::Ready(())
        })
        .await;
        assert!(!alarm.has_fired(now()));
        assert!(alarm.has_fired(first));
    }
}
