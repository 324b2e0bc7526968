//! The lives of one program: how they ended, and whether there may be another. Knows no processes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{Code, Error};
use crate::transport::Restart;

/// The lives of one program so far.
#[derive(Default)]
pub(super) struct History(Mutex<Lives>);

#[derive(Default)]
struct Lives {
    /// How many there were. The last one may go on.
    number: u64,
    /// How that one ended, once it is known.
    end: Option<End>,
    /// Short lives in a row.
    short: u32,
}

/// How a life ended.
struct End {
    /// In words: "exited with code 3".
    how: String,
    is_failure: bool,
}

/// One life. Dropping it says that it ended the connection, and goes on perhaps.
pub(super) struct Life {
    history: Arc<History>,
    number: u64,
    began: Instant,
    is_over: bool,
}

impl History {
    /// The pause after which it may be started now.
    ///
    /// # Errors
    /// It may not.
    pub(super) fn admit(&self, policy: Restart, program: &str) -> Result<Duration, Error> {
        match self.refuse(policy, program) {
            Some(refused) => Err(refused),
            None => Ok(pause(self.lives().short)),
        }
    }

    /// Why it may not be started, if so.
    pub(super) fn refuse(&self, policy: Restart, program: &str) -> Option<Error> {
        let lives = self.lives();
        if lives.number == 0 {
            return None;
        }
        let failed = lives.end.as_ref().is_none_or(|end| end.is_failure);
        let is_meant = policy.is_meant(failed);
        if is_meant && lives.short <= policy.short_lives_max() {
            return None;
        }
        let how = lives
            .end
            .as_ref()
            .map_or("ended the connection", |end| &end.how);
        let (again, hint) = match is_meant {
            true => (
                format!("after {} short lives in a row it is given up", lives.short),
                "see what it says on its standard error, and connect anew",
            ),
            false => (
                "it is not started again".to_owned(),
                "connect anew, or choose a `Restart` policy",
            ),
        };
        let text = format!("the child `{program}` {how}; {again}");
        Some(Error::new(Code::Disconnected, text).with_hint(hint))
    }

    /// It was started.
    pub(super) fn begin(self: &Arc<Self>) -> Life {
        let mut lives = self.lives();
        lives.number += 1;
        lives.end = None;
        Life {
            history: Arc::clone(self),
            number: lives.number,
            began: Instant::now(),
            is_over: false,
        }
    }

    fn lives(&self) -> MutexGuard<'_, Lives> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Life {
    /// It is over.
    pub(super) fn end(&mut self, how: &str, is_failure: bool) {
        self.close(Some(End {
            how: how.to_owned(),
            is_failure,
        }));
    }

    fn close(&mut self, end: Option<End>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let mut lives = self.history.lives();
        lives.short = match self.began.elapsed() < Restart::HEALTHY {
            true => lives.short.saturating_add(1),
            false => 0,
        };
        // The next one may have begun already.
        if lives.number == self.number {
            lives.end = end;
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.close(None);
    }
}

/// The pause after so many short lives in a row.
fn pause(short: u32) -> Duration {
    match short.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => Restart::PAUSE_MIN
            .saturating_mul(1 << doublings.min(16))
            .min(Restart::PAUSE_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that lives for a moment, again and again.
    fn live(
        history: &Arc<History>,
        policy: Restart,
        end: Option<(&str, bool)>,
    ) -> Result<Duration, String> {
        let pause = history.admit(policy, "calc");
        let pause = pause.map_err(|error| error.message().to_owned())?;
        let mut life = history.begin();
        if let Some((how, is_failure)) = end {
            life.end(how, is_failure);
        }
        Ok(pause)
    }

    const FINE: Option<(&str, bool)> = Some(("exited with code 0", false));
    const FAILED: Option<(&str, bool)> = Some(("exited with code 3", true));

    #[test]
    fn by_default_it_lives_once() {
        for end in [FINE, FAILED, None] {
            let history: Arc<History> = Arc::default();
            let policy = Restart::default();
            assert_eq!(live(&history, policy, end), Ok(Duration::ZERO));
            let refused = live(&history, policy, end).unwrap_err();
            let how = end.map_or("ended the connection", |(how, _)| how);
            assert_eq!(
                refused,
                format!("the child `calc` {how}; it is not started again")
            );
        }
    }

    #[test]
    fn on_failure_means_what_it_says() {
        let history: Arc<History> = Arc::default();
        let policy = Restart::on_failure();
        for end in [FAILED, None, FINE] {
            live(&history, policy, end).unwrap();
        }
        live(&history, policy, FINE).unwrap_err();
    }

    #[test]
    fn short_lives_are_counted_and_their_pauses_grow() {
        let history: Arc<History> = Arc::default();
        let policy = Restart::always().attempts(7);
        let pauses = [0, 100, 200, 400, 800, 1600, 2000, 2000];
        for pause in pauses.map(Duration::from_millis) {
            assert_eq!(live(&history, policy, FINE), Ok(pause));
        }
        let refused = live(&history, policy, FINE).unwrap_err();
        assert!(
            refused.ends_with("after 8 short lives in a row it is given up"),
            "{refused}"
        );
    }

    #[test]
    fn a_long_life_forgives_all_before_it() {
        let history: Arc<History> = Arc::default();
        let policy = Restart::always();
        for _ in 0..3 {
            live(&history, policy, FAILED).unwrap();
        }
        let mut life = history.begin();
        // A machine that has just been started has no instant so long ago.
        if let Some(long_ago) = Instant::now().checked_sub(Restart::HEALTHY) {
            life.began = long_ago;
            drop(life);
            assert_eq!(live(&history, policy, FAILED), Ok(Duration::ZERO));
        }
    }

    /// A child that is told to leave takes its time, and the next one is there meanwhile.
    #[test]
    fn a_life_that_ends_late_says_nothing_of_the_next() {
        let history: Arc<History> = Arc::default();
        let mut first = history.begin();
        let mut second = history.begin();
        second.end("exited with code 3", true);
        first.end("exited with code 0", false);
        let refused = live(&history, Restart::never(), FINE).unwrap_err();
        assert!(refused.contains("exited with code 3"), "{refused}");
    }

    #[test]
    fn what_was_never_started_may_be_tried_again() {
        let history: Arc<History> = Arc::default();
        for _ in 0..2 {
            let pause = history.admit(Restart::never(), "calc").unwrap();
            assert_eq!(pause, Duration::ZERO);
        }
    }
}
