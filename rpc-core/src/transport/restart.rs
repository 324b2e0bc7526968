//! Whether a child that has ended is started again. Knows no processes.

use std::time::Duration;

/// Whether a child that has ended is started again. It is the next call that needs it that starts
/// it; the calls that were under way when it ended are not repeated by this.
///
/// The default is [`never`](Self::never): what a program did before it ended is not known here, and
/// doing it again may be worse than not doing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    when: When,
    attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Never,
    OnFailure,
    Always,
}

impl Default for Restart {
    fn default() -> Self {
        Self::never()
    }
}

impl Restart {
    /// The default of [`attempts`](Self::attempts): with the pauses between them a child gets some
    /// three seconds to find what it needs.
    pub const ATTEMPTS: u32 = 5;

    /// A child that lived so long was a good one: what went wrong before it is forgotten. 30 s, as
    /// for a connection over a network.
    pub const HEALTHY: Duration = Duration::from_secs(30);

    /// The pause before the first start in a row that follows upon a short life. It doubles with
    /// each, and is at most [`PAUSE_MAX`](Self::PAUSE_MAX).
    pub const PAUSE_MIN: Duration = Duration::from_millis(100);

    /// The longest pause: well within the time that a handshake may take.
    pub const PAUSE_MAX: Duration = Duration::from_secs(2);

    /// It is not: once the child has ended, all calls fail, and say how it ended.
    pub const fn never() -> Self {
        Self::new(When::Never)
    }

    /// It is, unless it exited with code 0: if it exited otherwise, was killed, or ended the
    /// connection and goes on.
    pub const fn on_failure() -> Self {
        Self::new(When::OnFailure)
    }

    /// It is, however it ended.
    pub const fn always() -> Self {
        Self::new(When::Always)
    }

    const fn new(when: When) -> Self {
        Self {
            when,
            attempts: Self::ATTEMPTS,
        }
    }

    /// How often in a row it is started again after lives shorter than [`HEALTHY`](Self::HEALTHY),
    /// with a pause before each; then it is given up for good. 5 by default.
    #[must_use]
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Whether it goes for a child that failed, or one that did not.
    pub(super) fn is_meant(self, failed: bool) -> bool {
        match self.when {
            When::Never => false,
            When::OnFailure => failed,
            When::Always => true,
        }
    }

    /// How many short lives in a row are too many.
    pub(super) fn short_lives_max(self) -> u32 {
        self.attempts
    }
}
