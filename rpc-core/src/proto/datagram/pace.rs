//! When to send again what nothing was heard of.

use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::proto::later;

/// Follows how long the peer takes, and spreads what is sent again.
///
/// The estimate is that of RFC 6298. Only what was sent once counts: of the rest nobody knows which
/// of the copies was answered.
#[derive(Debug)]
pub(super) struct Pace {
    smoothed: Option<Duration>,
    variance: Duration,
    /// Given a seed, so that a run can be repeated.
    rng: Rng,
}

impl Pace {
    /// The first wait while nothing is known: ten times what a call in a local network takes.
    pub(super) const INITIAL: Duration = Duration::from_millis(100);

    /// The shortest wait: a peer that is busy for a moment gets no second copy.
    const MIN: Duration = Duration::from_millis(10);

    /// The longest wait between two copies. Even at 20 % of loss each way a call is heard of within
    /// a few of them, and a hundred thousand waiting calls are next to no traffic.
    pub(super) const MAX: Duration = Duration::from_secs(1);

    pub(super) fn new(seed: u64) -> Self {
        Self {
            smoothed: None,
            variance: Duration::ZERO,
            rng: Rng::with_seed(seed),
        }
    }

    /// Something that was sent once was answered after `took`.
    pub(super) fn sample(&mut self, took: Duration) {
        match self.smoothed {
            None => {
                self.smoothed = Some(took);
                self.variance = part(took, 2);
            }
            Some(smoothed) => {
                let off = smoothed.abs_diff(took);
                self.variance = part(self.variance.saturating_mul(3).saturating_add(off), 4);
                self.smoothed = Some(part(smoothed.saturating_mul(7).saturating_add(took), 8));
            }
        }
    }

    /// How long to wait for an answer to what is sent for the first time.
    pub(super) fn first(&self) -> Duration {
        let wait = self.smoothed.map_or(Self::INITIAL, |smoothed| {
            smoothed.saturating_add(self.variance.saturating_mul(4))
        });
        wait.clamp(Self::MIN, Self::MAX)
    }

    /// The wait after that of `before`: twice as long.
    pub(super) fn next(before: Duration) -> Duration {
        before.saturating_mul(2).min(Self::MAX)
    }

    /// The wait, up to a quarter shorter or longer, so that what was lost together does not come back
    /// together.
    pub(super) fn jitter(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(0.75 + self.rng.f64() / 2.0)
    }
}

/// When something is sent again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    /// When it was sent for the first time.
    first: Instant,
    pub(super) at: Instant,
    pub(super) wait: Duration,
    is_repeated: bool,
}

impl Again {
    /// It is being sent for the first time.
    pub(super) fn begin(now: Instant, pace: &mut Pace) -> Self {
        let wait = pace.first();
        Self {
            first: now,
            at: later(now, pace.jitter(wait)),
            wait,
            is_repeated: false,
        }
    }

    /// It is being sent again, and will be after twice the time.
    pub(super) fn repeat(&mut self, now: Instant, pace: &mut Pace) {
        self.is_repeated = true;
        self.wait = Pace::next(self.wait);
        self.at = later(now, pace.jitter(self.wait));
    }

    /// The answer is here. Where there were several copies, nobody knows which was answered.
    pub(super) fn answered(&self, now: Instant, pace: &mut Pace) {
        if !self.is_repeated {
            pace.sample(now.saturating_duration_since(self.first));
        }
    }
}

/// The `parts`-th part of it.
fn part(whole: Duration, parts: u32) -> Duration {
    whole.checked_div(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_the_peer() {
        let mut pace = Pace::new(1);
        assert_eq!(pace.first(), Pace::INITIAL);
        pace.sample(Duration::from_millis(40));
        assert_eq!(pace.first(), Duration::from_millis(120));
        for _ in 0..100 {
            pace.sample(Duration::from_micros(50));
        }
        assert_eq!(pace.first(), Pace::MIN);
        for _ in 0..100 {
            pace.sample(Duration::from_secs(100));
        }
        assert_eq!(pace.first(), Pace::MAX);
    }

    #[test]
    fn waits_double_up_to_a_second_and_are_spread() {
        let mut wait = Pace::INITIAL;
        let mut waits = Vec::new();
        for _ in 0..6 {
            waits.push(wait.as_millis());
            wait = Pace::next(wait);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000]);
        let mut pace = Pace::new(1);
        let spread: Vec<_> = (0..100)
            .map(|_| pace.jitter(Pace::INITIAL).as_millis())
            .collect();
        assert!(spread.iter().all(|wait| (75..=125).contains(wait)));
        assert!(spread.iter().min().unwrap() < &85 && spread.iter().max().unwrap() > &115);
    }
}
