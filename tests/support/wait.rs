//! Waits that end: with what was waited for, or with a failure that says what did not come.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything may take that has no promise of its own. Far more than it takes, so that a
/// busy machine fails no test, and far less than people would wait.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(2);

/// Waits until `condition` gives a value and returns it, with the time that it took.
///
/// # Panics
/// It gives none within `limit`.
#[track_caller]
pub fn eventually<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> (T, Duration) {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition() {
            return (value, begin.elapsed());
        }
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// As [`eventually`], for a condition that must be asked for; other tasks run meanwhile.
///
/// # Panics
/// It gives no value within `limit`.
pub async fn eventually_async<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> (T, Duration) {
    let begin = Instant::now();
    loop {
        let found = tokio::time::timeout(limit, condition()).await;
        match found {
            Ok(Some(value)) => return (value, begin.elapsed()),
            Ok(None) => {}
            Err(_) => panic!("nothing was answered within {limit:?}: {what}"),
        }
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Whether a promise about time was kept nine times of ten; `times` are sorted. The others may have
/// met a pause of the machine.
#[must_use]
pub fn nearly_all_within(times: &mut [Duration], limit: Duration) -> bool {
    times.sort_unstable();
    let outliers = times.len().div_ceil(10);
    times.iter().rev().skip(outliers).all(|time| *time < limit)
}

/// The output of `future`.
///
/// # Panics
/// It has none within `limit`.
pub async fn within<F: Future>(what: &str, limit: Duration, future: F) -> F::Output {
    match tokio::time::timeout(limit, future).await {
        Ok(output) => output,
        Err(_) => panic!("not within {limit:?}: {what}"),
    }
}
