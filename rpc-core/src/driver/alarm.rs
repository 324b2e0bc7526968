//! Wakes the task of a connection when the protocol wants to be asked.

use std::future::Future as _;
use std::mem;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::task::coop::has_budget_remaining;
use tokio::time::Sleep;

use super::timer::Timer;

/// A timer that is moved seldom: it may fire early, never late. Moving it for every call would cost
/// more than one idle wake-up now and then.
pub(super) struct Alarm {
    /// Made when it is set for the first time.
    timer: Option<Pin<Box<Sleep>>>,
    /// In its place while the task is busy.
    busy: Option<Timer>,
    /// There may be one.
    has_events: bool,
    /// When it fires.
    at: Instant,
    /// How many reads brought something to do.
    reads: u32,
    /// When they are counted from.
    since: Instant,
}

impl Alarm {
    /// A task that has so many reads with something to do in [a while](Self::WHILE) is busy: it waits so
    /// often that its timer should be [the system's](Timer).
    pub(super) const BUSY: u32 = 1024;
    const WHILE: Duration = Duration::from_secs(1);

    /// One that has fired by `now`. The task may wait for events that the runtime has from the system.
    pub(super) fn new(now: Instant, has_events: bool) -> Self {
        Self {
            timer: None,
            busy: None,
            has_events,
            at: now,
            reads: 0,
            since: now,
        }
    }

    /// Whether it has fired, so that something may be due.
    pub(super) fn has_fired(&self, now: Instant) -> bool {
        self.at <= now
    }

    /// A read has brought something to do.
    #[inline]
    pub(super) fn note_read(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.reads += 1;
        if self.reads >= Self::BUSY {
            self.look(now, cx);
        }
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
        if now.saturating_duration_since(self.since) > Self::WHILE {
            self.busy = None;
        }
        if self.busy.is_some() && self.set_busy(now, cx) {
            return;
        }
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

    /// Looks whether the task is busy.
    #[cold]
    fn look(&mut self, now: Instant, cx: &mut Context<'_>) {
        self.reads = 0;
        let took = now.saturating_duration_since(mem::replace(&mut self.since, now));
        let is_busy = took <= Self::WHILE;
        // In a task that has had its turn it could not be set.
        let can_be = self.has_events && self.busy.is_none() && self.timer.is_some();
        if is_busy && can_be && has_budget_remaining() {
            self.busy = Timer::new();
            if self.busy.is_some() && self.set_busy(now, cx) {
                self.timer = None;
            }
        }
    }

    /// Sets the timer of a busy task; `false` if there is none any more.
    #[cold]
    fn set_busy(&mut self, now: Instant, cx: &mut Context<'_>) -> bool {
        let after = self.at.saturating_duration_since(now);
        let set = self.busy.as_mut().map(|timer| timer.set(after, cx));
        let is_set = matches!(set, Some(Ok(())));
        if !is_set {
            self.busy = None;
        }
        is_set
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

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
            while mem::take(&mut spent) {
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
        let mut alarm = Alarm::new(now(), false);
        for _ in 0..3 {
            let due = now() + HOUR;
            wait(&mut alarm, due, false).await;
            assert!(now() < due + MOMENT);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_fires_for_a_task_that_had_used_up_its_turn() {
        let mut alarm = Alarm::new(now(), false);
        // Once it has fired, it has forgotten whom it woke: so once more.
        for _ in 0..2 {
            let due = now() + HOUR;
            let waiting = wait(&mut alarm, due, true);
            // The clock stops at whatever comes first, and who is polled then sees that it is late.
            let _ = tokio::time::timeout(2 * HOUR, waiting).await;
            assert!(now() < due + MOMENT, "nobody was woken");
        }
    }

    /// Sets it, and notes so many reads that the task is busy.
    async fn keep_busy(alarm: &mut Alarm, due: Instant) {
        poll_fn(|cx| {
            alarm.set(due, now(), cx);
            (0..Alarm::BUSY).for_each(|_| alarm.note_read(now(), cx));
            Poll::Ready(())
        })
        .await;
    }

    #[cfg(all(target_os = "linux", feature = "unix"))]
    #[tokio::test]
    async fn while_the_task_is_busy_it_is_a_timer_of_the_system() {
        let mut alarm = Alarm::new(now(), true);
        let due = now() + 4 * MOMENT;
        keep_busy(&mut alarm, due).await;
        assert!(alarm.busy.is_some() && alarm.timer.is_none());
        // Soon after it has fired the task is still busy.
        for due in [due, due + MOMENT] {
            wait(&mut alarm, due, false).await;
            assert!(alarm.busy.is_some() && alarm.timer.is_none());
        }
        alarm.since = now() - 2 * Alarm::WHILE;
        wait(&mut alarm, now() + MOMENT, false).await;
        assert!(alarm.busy.is_none() && alarm.timer.is_some());
    }

    #[tokio::test]
    async fn without_events_it_is_one_of_the_runtime() {
        let mut alarm = Alarm::new(now(), false);
        keep_busy(&mut alarm, now() + HOUR).await;
        assert!(alarm.busy.is_none() && alarm.timer.is_some());
    }

    /// The turns of a whole day are no sign of it.
    #[tokio::test]
    async fn a_task_that_has_its_turns_seldom_is_not_busy() {
        let mut alarm = Alarm::new(now() - 2 * Alarm::WHILE, true);
        keep_busy(&mut alarm, now() + HOUR).await;
        assert!(alarm.busy.is_none() && alarm.timer.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_later_time_leaves_it_where_it_is() {
        let mut alarm = Alarm::new(now(), false);
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
