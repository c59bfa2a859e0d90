//! How fast one socket may talk: a token bucket.
//!
//! An opening burst of an offer and its candidates fits; a flood closes its own socket and nobody
//! else's.

use std::time::{Duration, Instant};

/// Messages a socket may send at once: an offer, an answer and twice all candidates, with room.
pub const BURST: u32 = 256;
/// One more message is allowed per this much time: 32 a second, far above any honest client.
pub const REFILL: Duration = Duration::from_millis(1000 / 32);

/// The allowance of one socket.
#[derive(Debug)]
pub struct Rate {
    /// Messages left.
    left: u32,
    counted_at: Instant,
}

impl Rate {
    pub fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            counted_at: now,
        }
    }

    /// Counts one message; `false` if it is one too many.
    pub fn allows(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.counted_at);
        let earned = u32::try_from(elapsed.as_nanos() / REFILL.as_nanos()).unwrap_or(BURST);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.counted_at += REFILL * earned;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as the epoch of a test"
)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_the_message_after_it_does_not() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        assert!((0..BURST).all(|_| rate.allows(start)));
        assert!(!rate.allows(start));
    }

    #[test]
    fn allowance_returns_with_time_and_never_exceeds_the_burst() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        while rate.allows(start) {}
        assert!(rate.allows(start + REFILL));
        assert!(!rate.allows(start + REFILL));

        let later = start + Duration::from_secs(1_000_000);
        assert_eq!((0..1000).filter(|_| rate.allows(later)).count(), 256);
    }
}
