//! Notices a peer that is gone without saying so.

use std::time::Instant;

use super::Fault;
use crate::limits::Limits;

/// Silence is measured from the last byte received; a ping after some of it, the end after more.
#[derive(Debug)]
pub(super) struct Keepalive {
    heard: Instant,
    /// When the ping that is not yet answered was sent.
    asked: Option<Instant>,
    number: u64,
}

impl Keepalive {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            asked: None,
            number: 0,
        }
    }

    /// Any byte proves that the peer lives.
    #[inline]
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    pub(super) fn timeout(&self, limits: &Limits, busy: bool) -> Option<Instant> {
        match self.asked {
            Some(asked) => asked.checked_add(limits.ping_wait),
            None => {
                let silence = if busy {
                    limits.ping_busy
                } else {
                    limits.ping_idle
                };
                self.heard.checked_add(silence)
            }
        }
    }

    /// At a timeout: the number of the ping to send, if one is due.
    pub(super) fn check(
        &mut self,
        now: Instant,
        limits: &Limits,
        busy: bool,
    ) -> Result<Option<u64>, Fault> {
        if self.timeout(limits, busy).is_none_or(|due| now < due) {
            return Ok(None);
        }
        if self.asked.is_some() {
            return Err(Fault::Silent(limits.ping_wait));
        }
        self.asked = Some(now);
        self.number = self.number.wrapping_add(1);
        Ok(Some(self.number))
    }
}
