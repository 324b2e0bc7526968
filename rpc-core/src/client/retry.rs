//! Which failures may be tried again, how often, and how soon.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Code, Error, Executed};

/// The most attempts of one call: 3, the number that Google's SRE book settles on; more only feed
/// an overload.
pub(super) const ATTEMPTS_MAX: u32 = 3;

/// The bounds of the wait before the second attempt, which doubles from then on: 50 ms to 2 s.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Whether another attempt does no harm and may help.
pub(super) fn is_worthwhile(error: &Error, idempotent: bool) -> bool {
    let harmless = match error.executed() {
        Executed::No => true,
        Executed::Maybe => idempotent,
        Executed::Yes => false,
    };
    let transient = matches!(
        error.code(),
        Code::Overloaded
            | Code::Refused
            | Code::Unreachable
            | Code::Disconnected
            | Code::Draining
            | Code::Unauthenticated
            | Code::Io
    );
    harmless && transient
}

/// Whether another attempt adds nothing to the load of any server, so that it needs no budget: the
/// call never left this process, or reached a server that was leaving and did not look at it. A
/// drain moves all calls that wait on a connection at once, far more than a budget allows.
pub(super) fn is_free(error: &Error) -> bool {
    error.executed() == Executed::No && matches!(error.code(), Code::Draining | Code::Disconnected)
}

/// How long to wait before attempt number `next` (2 or more): full jitter, so that callers who
/// failed together do not come back together, and never less than the peer asked for.
pub(super) fn wait(next: u32, error: &Error) -> Duration {
    let doubled = WAIT_MIN.saturating_mul(1 << next.saturating_sub(2).min(16));
    let jittered = doubled.min(WAIT_MAX).mul_f64(fastrand::f64());
    error
        .retry_after()
        .map_or(jittered, |asked| asked.saturating_add(jittered))
}

/// What a channel may spend on retries: a tenth of its calls, and ten a second besides, so that
/// little traffic may always retry and much traffic never doubles itself.
#[derive(Debug)]
pub(super) struct Budget {
    /// In tenths of a retry. A successful call finds it full nearly always, and then only reads it.
    tenths: AtomicU32,
    /// Up to when the seconds are paid out.
    filled: Mutex<Instant>,
}

impl Budget {
    /// In tenths, as all that follows.
    const RETRY: u32 = 10;
    const PER_SECOND: u32 = 10 * Self::RETRY;
    const PER_CALL: u32 = 1;
    /// Ten seconds' worth: a burst after a calm may not last longer.
    const MAX: u32 = 10 * Self::PER_SECOND;

    pub(super) fn new(now: Instant) -> Self {
        Self {
            tenths: AtomicU32::new(Self::PER_SECOND),
            filled: Mutex::new(now),
        }
    }

    /// Pays for one retry; `false` if nothing is left.
    pub(super) fn withdraw(&self, now: Instant) -> bool {
        let mut filled = self.filled.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(*filled).as_secs_f64();
        // The cast saturates, and the fraction of a tenth stays to be paid out.
        let earned = (elapsed * f64::from(Self::PER_SECOND)) as u32;
        if earned > 0 {
            *filled = now;
        }
        let change = |tenths: u32| {
            let full = tenths.saturating_add(earned).min(Self::MAX);
            Some(full.checked_sub(Self::RETRY).unwrap_or(full))
        };
        let before = self
            .tenths
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, change)
            .unwrap_or_default();
        before.saturating_add(earned) >= Self::RETRY
    }

    /// A call succeeded and earns its share.
    #[inline]
    pub(super) fn deposit(&self) {
        if self.tenths.load(Ordering::Relaxed) < Self::MAX {
            // At most a call for each thread can pass it by, and the next withdrawal corrects that.
            self.tenths.fetch_add(Self::PER_CALL, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_not_to_have_run_is_repeated() {
        let error = |executed| Error::new(Code::Disconnected, "").with_executed(executed);
        assert!(is_worthwhile(&error(Executed::No), false));
        assert!(!is_worthwhile(&error(Executed::Maybe), false));
        assert!(is_worthwhile(&error(Executed::Maybe), true));
        assert!(!is_worthwhile(&error(Executed::Yes), true));
    }

    #[test]
    fn what_will_fail_again_is_not_repeated() {
        for code in [
            Code::Skew,
            Code::TooLarge,
            Code::Unimplemented,
            Code::DeadlineExceeded,
        ] {
            assert!(!is_worthwhile(&Error::new(code, ""), true), "{code:?}");
        }
    }

    #[test]
    fn only_what_no_server_has_worked_on_is_repeated_without_a_budget() {
        let error = |code, executed| Error::new(code, "").with_executed(executed);
        assert!(is_free(&error(Code::Draining, Executed::No)));
        assert!(is_free(&error(Code::Disconnected, Executed::No)));
        assert!(!is_free(&error(Code::Disconnected, Executed::Maybe)));
        assert!(!is_free(&error(Code::Overloaded, Executed::No)));
    }

    #[test]
    fn the_peer_decides_the_least_wait() {
        let asked = Duration::from_millis(300);
        let error = Error::new(Code::Overloaded, "").with_retry_after(asked);
        for next in 2..60 {
            let waited = wait(next, &error);
            assert!(waited >= asked && waited <= asked + WAIT_MAX);
        }
    }

    #[test]
    fn a_budget_runs_dry_and_fills_with_time_and_with_success() {
        let start = Instant::now();
        let budget = Budget::new(start);
        assert_eq!((0..100).filter(|_| budget.withdraw(start)).count(), 10);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| budget.withdraw(later)).count(), 10);
        for _ in 0..10 {
            budget.deposit();
        }
        assert!(!budget.withdraw(later) || !budget.withdraw(later));
    }
}
