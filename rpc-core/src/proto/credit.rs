//! Flow control of chunks: who may still send how much.

use super::Fault;

/// The two windows of a connection. Conservation is the invariant: what we have granted and not yet
/// received is never negative, and never more than the window we announced.
#[derive(Debug)]
pub(super) struct Credit {
    /// Bytes of chunks that we may send.
    send: u64,
    /// Bytes of chunks that the peer may still send.
    granted: u64,
    /// Bytes taken and not yet granted anew.
    owed: u32,
    /// The window that we announced.
    window: u32,
}

impl Credit {
    pub(super) fn new(window: u32) -> Self {
        Self {
            send: 0,
            granted: window.into(),
            owed: 0,
            window,
        }
    }

    /// The peer announced its window.
    pub(super) fn open(&mut self, window: u32) {
        self.send = self.send.saturating_add(window.into());
    }

    /// The peer granted more.
    pub(super) fn replenish(&mut self, bytes: u32) -> Result<(), Fault> {
        // No honest peer grants more than a window that fits the field, so a sum beyond 2^32 is an
        // attack on the counter.
        let send = self.send.saturating_add(bytes.into());
        if bytes == 0 || send > u64::from(u32::MAX) {
            return Err(Fault::Violation("credit of nothing or beyond all windows"));
        }
        self.send = send;
        Ok(())
    }

    /// How much of `wanted` may be sent now; it counts as sent.
    pub(super) fn spend(&mut self, wanted: usize) -> usize {
        let allowed = usize::try_from(self.send).unwrap_or(usize::MAX).min(wanted);
        self.send = self.send.saturating_sub(allowed as u64);
        allowed
    }

    #[inline]
    pub(super) fn is_exhausted(&self) -> bool {
        self.send == 0
    }

    /// Whether the peer may send so many bytes.
    pub(super) fn covers(&self, bytes: usize) -> bool {
        self.granted >= bytes as u64
    }

    /// A chunk arrived and its bytes are taken.
    pub(super) fn receive(&mut self, bytes: usize) -> Result<(), Fault> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        match self.granted.checked_sub(bytes.into()) {
            Some(rest) => self.granted = rest,
            None => return Err(Fault::Violation("more chunk bytes than were granted")),
        }
        self.owed = self.owed.saturating_add(bytes);
        Ok(())
    }

    /// Whether bytes were taken that are not granted anew.
    pub(super) fn is_owed(&self) -> bool {
        self.owed > 0
    }

    /// What to grant now: nothing until half of the window is due, so that credit costs one small
    /// frame for many chunks.
    pub(super) fn grant(&mut self) -> Option<u32> {
        if self.owed == 0 || self.owed < self.window / 2 {
            return None;
        }
        let bytes = std::mem::take(&mut self.owed);
        self.granted = self.granted.saturating_add(bytes.into());
        Some(bytes)
    }

    /// What we may send, and what the peer may.
    #[cfg(test)]
    pub(super) fn balance(&self) -> (u64, u64) {
        (self.send, self.granted)
    }

    #[cfg(test)]
    pub(super) fn is_conserved(&self) -> bool {
        self.granted + u64::from(self.owed) <= u64::from(self.window)
    }
}
