//! The time for calls that are made in quick succession.

use std::time::{Duration, Instant};

use super::now;

/// When the clock was last read, for calls that come so soon after that it need not be read again.
///
/// Reading it takes some 30 ns, a tenth of what a call takes among many. What the system itself notes
/// with each of its ticks, 1 to 10 ms apart, takes 4. It says whether a reading is of the same tick; the
/// reading is always of the one clock that connections go by, which tests may hold.
#[derive(Default)]
pub(super) struct Clock {
    read: Option<(Tick, Instant)>,
}

impl Clock {
    /// A call that is allowed less gets the exact time: a tick would be more than a hundredth of that.
    const LONG: Duration = Duration::from_secs(1);

    /// The time for a call that is allowed so much, not as long ago as a tick of the system.
    #[inline]
    pub(super) fn recent(&mut self, allowed: Duration) -> Instant {
        self.of_tick(Tick::now(), allowed)
    }

    #[inline]
    fn of_tick(&mut self, tick: Tick, allowed: Duration) -> Instant {
        if allowed < Self::LONG {
            return now();
        }
        match self.read {
            Some((last, time)) if last == tick => time,
            _ => {
                let time = now();
                self.read = Some((tick, time));
                time
            }
        }
    }

    /// The time, and no earlier one will do from here on.
    #[inline]
    pub(super) fn exact(&mut self) -> Instant {
        self.read = None;
        now()
    }
}

/// A tick of the system, by what its clock said then.
#[derive(Clone, Copy, PartialEq)]
struct Tick(coarsetime::Instant);

impl Tick {
    /// The last one.
    #[inline]
    fn now() -> Self {
        Self(coarsetime::Instant::now_without_cache_update())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const LONG: Duration = Clock::LONG;

    /// Two ticks that follow each other.
    fn ticks() -> (Tick, Tick) {
        let first = Tick::now();
        (first, Tick(first.0 + coarsetime::Duration::from_millis(4)))
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_one_tick_share_a_reading() {
        let mut clock = Clock::default();
        let (first, second) = ticks();
        let begin = now();
        assert_eq!(clock.of_tick(first, LONG), begin);
        tokio::time::advance(MILLISECOND).await;
        assert_eq!(clock.of_tick(first, LONG), begin);
        assert_eq!(clock.of_tick(second, LONG), begin + MILLISECOND);
        tokio::time::advance(MILLISECOND).await;
        assert_eq!(clock.of_tick(second, LONG), begin + MILLISECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn the_exact_time_is_for_who_has_little() {
        let mut clock = Clock::default();
        let (tick, _) = ticks();
        let begin = now();
        clock.of_tick(tick, LONG);
        tokio::time::advance(MILLISECOND).await;
        let later = begin + MILLISECOND;
        assert_eq!(clock.of_tick(tick, LONG - MILLISECOND), later);
        assert_eq!(clock.of_tick(tick, LONG), begin, "it is not for others");
        assert_eq!(clock.exact(), later);
        assert_eq!(clock.of_tick(tick, LONG), later, "from then on");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn ticks_come_and_each_is_seen_more_than_once() {
        let (mut ticks, mut looks) = (0, 0);
        let mut last = Tick::now();
        while ticks < 5 {
            let tick = Tick::now();
            ticks += u32::from(tick != last);
            looks += 1;
            last = tick;
        }
        assert!(looks > 10 * ticks, "{looks} looks");
    }
}
