//! Which threads compute without a pause, judged by samples of them. Pure: it neither reads a clock
//! nor asks the system.

use std::time::Duration;

/// What is known of a thread at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Its number.
    pub(super) thread: u32,
    /// It runs, or would if there were a processor for it.
    pub(super) is_ready: bool,
    /// How often it has gone to sleep since it began.
    pub(super) sleeps: u64,
    /// For how long it has computed since it began.
    pub(super) computed: Duration,
}

/// What is to become of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is to step down.
    StepDown(u32),
    /// It is calm, and may step up again.
    StepUp(u32),
    /// It was down, and has ended.
    Forget(u32),
}

/// The threads of one process, from one look to the next.
///
/// A thread is restless once it has computed for [`least`](Self::new) without going to sleep, while
/// nothing was answered. That is processor time: who gets but a share of one, among many, is found
/// later, and who waits for one and gets none is not.
#[derive(Debug)]
pub(super) struct Restless {
    least: Duration,
    /// What the last look saw.
    last: Vec<Seen>,
    /// Those that have stepped down, and at how many looks in a row they were calm.
    down: Vec<(u32, u32)>,
}

/// A thread as the last look saw it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    sample: Sample,
    /// What it had computed when it last slept, or something was answered, as far as looks can tell.
    rested: Duration,
}

/// A thread that is down may step up after so many looks at which it was calm.
const CALM_LOOKS: u32 = 20;

/// One that is calm takes less of a processor than this part.
const CALM_PART: u32 = 2;

impl Restless {
    pub(super) fn new(least: Duration) -> Self {
        Self {
            least,
            last: Vec::new(),
            down: Vec::new(),
        }
    }

    /// Judges by all threads as they are now, `window` after the last look.
    pub(super) fn look(
        &mut self,
        threads: &[Sample],
        window: Duration,
        has_answered: bool,
    ) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        let mut seen = Vec::new();
        for now in threads {
            let thread = now.thread;
            let last = self.last.iter().find(|last| last.sample.thread == thread);
            let never_slept = last.is_some_and(|Seen { sample: last, .. }| {
                last.is_ready && now.is_ready && last.sleeps == now.sleeps
            });
            let rested = match last {
                Some(last) if never_slept && !has_answered => last.rested,
                _ => now.computed,
            };
            let place = self.down.iter().position(|(down, _)| *down == thread);
            let calm = place.and_then(|place| self.down.get_mut(place));
            if let (Some((_, calm)), Some(last)) = (calm, last) {
                let computed = now.computed.saturating_sub(last.sample.computed);
                let is_calm = !never_slept && computed < window / CALM_PART;
                *calm = if is_calm { *calm + 1 } else { 0 };
                if *calm >= CALM_LOOKS {
                    self.down.retain(|(down, _)| *down != thread);
                    verdicts.push(Verdict::StepUp(thread));
                }
            } else if now.computed.saturating_sub(rested) >= self.least {
                self.down.retain(|(down, _)| *down != thread);
                self.down.push((thread, 0));
                verdicts.push(Verdict::StepDown(thread));
            }
            let sample = *now;
            seen.push(Seen { sample, rested });
        }
        self.down.retain(|(thread, _)| {
            let is_alive = seen.iter().any(|seen| seen.sample.thread == *thread);
            if !is_alive {
                verdicts.push(Verdict::Forget(*thread));
            }
            is_alive
        });
        self.last = seen;
        verdicts
    }

    /// What the last look saw says nothing about the next.
    pub(super) fn forget(&mut self) {
        self.last.clear();
    }

    /// What the one that may be restless next has still to compute for that: the time that passes until
    /// then at least. `None` if nobody computes but those that are down.
    pub(super) fn lacks(&self) -> Option<Duration> {
        let is_down = |thread| self.down.iter().any(|(down, _)| *down == thread);
        let suspects = self
            .last
            .iter()
            .filter(|seen| seen.sample.is_ready && !is_down(seen.sample.thread));
        let computed = suspects.map(|seen| seen.sample.computed.saturating_sub(seen.rested));
        computed
            .max()
            .map(|computed| self.least.saturating_sub(computed))
    }

    /// Whether any thread is down.
    pub(super) fn has_some_down(&self) -> bool {
        !self.down.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(100);

    fn restless() -> Restless {
        Restless::new(WINDOW / 2)
    }

    /// A thread that has slept so often, and computed for so many milliseconds.
    fn sample(is_ready: bool, sleeps: u64, computed: u64) -> Sample {
        Sample {
            thread: 7,
            is_ready,
            sleeps,
            computed: Duration::from_millis(computed),
        }
    }

    /// What the last of several looks says, at each of which something was answered or not.
    fn last_verdict(looks: &[(Sample, bool)]) -> Vec<Verdict> {
        let mut restless = restless();
        let judged = looks
            .iter()
            .map(|(sample, has_answered)| restless.look(&[*sample], WINDOW, *has_answered));
        judged.last().unwrap()
    }

    /// What was seen of a thread that has just been told to step down.
    fn stepped_down() -> Restless {
        let mut restless = restless();
        assert_eq!(restless.look(&[sample(true, 3, 0)], WINDOW, true), []);
        let verdicts = restless.look(&[sample(true, 3, 100)], WINDOW, false);
        assert_eq!(verdicts, [Verdict::StepDown(7)]);
        restless
    }

    #[test]
    fn who_never_sleeps_steps_down_once() {
        let mut restless = stepped_down();
        assert!(restless.has_some_down());
        let goes_on = restless.look(&[sample(true, 3, 200)], WINDOW, false);
        assert_eq!(goes_on, []);
    }

    #[test]
    fn who_has_but_a_share_of_a_processor_is_found_later() {
        let mut looks = vec![(sample(true, 3, 40), true)];
        for look in 1..5 {
            looks.push((sample(true, 3, 40 + look * 10), false));
            assert_eq!(last_verdict(&looks), [], "{look}");
        }
        looks.push((sample(true, 3, 90), false));
        assert_eq!(last_verdict(&looks), [Verdict::StepDown(7)]);
    }

    #[test]
    fn who_answers_sleeps_or_waits_is_left_alone() {
        let begins = (sample(true, 3, 40), true);
        for (what, next) in [
            ("it answers", (sample(true, 3, 140), true)),
            ("it has slept", (sample(true, 4, 139), false)),
            ("it sleeps", (sample(false, 4, 139), false)),
            ("it gets no processor", (sample(true, 3, 40), false)),
        ] {
            assert_eq!(last_verdict(&[begins, next]), [], "{what}");
        }
        let (slept, woke) = ((sample(false, 3, 40), false), (sample(true, 3, 130), false));
        assert_eq!(last_verdict(&[slept, woke]), [], "it was not ready before");
        let half = (sample(true, 3, 80), false);
        let answers = (sample(true, 3, 85), true);
        let goes_on = (sample(true, 3, 125), false);
        let looks = [begins, half, answers, goes_on];
        assert_eq!(last_verdict(&looks), [], "an answer begins the count anew");
    }

    #[test]
    fn who_may_be_restless_soon_says_when() {
        let mut restless = restless();
        assert_eq!(restless.lacks(), None, "nobody was looked at");
        for (what, now, lacks) in [
            ("it was just seen", sample(true, 3, 40), Some(50)),
            ("it went on", sample(true, 3, 70), Some(20)),
            ("it slept between", sample(true, 4, 75), Some(50)),
            ("it sleeps", sample(false, 5, 80), None),
            ("it is awake", sample(true, 5, 90), Some(50)),
            ("it stepped down", sample(true, 5, 140), None),
        ] {
            restless.look(&[now], WINDOW, false);
            assert_eq!(restless.lacks(), lacks.map(Duration::from_millis), "{what}");
        }
    }

    #[test]
    fn what_was_forgotten_is_not_compared_with() {
        let mut restless = restless();
        restless.look(&[sample(true, 3, 40)], WINDOW, false);
        restless.forget();
        let verdicts = restless.look(&[sample(true, 3, 140)], WINDOW, false);
        assert_eq!(verdicts, []);
    }

    #[test]
    fn who_is_calm_for_long_steps_up() {
        let mut restless = stepped_down();
        for (from, computed) in [(10, 200), (30, 300)] {
            // After the first time it computes once more, and all begins anew.
            restless.look(&[sample(true, from, computed)], WINDOW, false);
            for look in 1..CALM_LOOKS {
                let calm = sample(false, from + u64::from(look), computed);
                assert_eq!(restless.look(&[calm], WINDOW, false), [], "{look}");
            }
        }
        let verdicts = restless.look(&[sample(false, 50, 300)], WINDOW, false);
        assert_eq!(verdicts, [Verdict::StepUp(7)]);
        assert!(!restless.has_some_down());
    }

    #[test]
    fn who_ends_below_is_forgotten() {
        let mut restless = stepped_down();
        assert_eq!(restless.look(&[], WINDOW, false), [Verdict::Forget(7)]);
        assert!(!restless.has_some_down());
    }
}
