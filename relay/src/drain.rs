//! When a draining relay may stop: nobody holds an allocation, nobody has used one for a while, or
//! the deadline is over.
//!
//! Browsers keep allocations they have stopped using until these run out; waiting for them would
//! only delay the new version. A session that lives is never quiet: ICE checks its path every few
//! seconds (RFC 7675 §5.1).

use std::time::{Duration, Instant};

/// A relay that has carried nothing for so long is not in use: three consent checks were missed.
pub const QUIET: Duration = Duration::from_secs(15);

/// A drain under way.
#[derive(Debug)]
pub struct Drain {
    deadline: Instant,
    payload_bytes: u64,
    quiet_since: Instant,
}

impl Drain {
    pub fn new(limit: Duration, now: Instant) -> Self {
        Self {
            deadline: now + limit,
            payload_bytes: 0,
            quiet_since: now,
        }
    }

    /// Whether the relay may stop, given the allocations alive and the bytes it has ever carried.
    pub fn is_over(&mut self, allocations: usize, payload_bytes: u64, now: Instant) -> bool {
        if payload_bytes != self.payload_bytes {
            self.payload_bytes = payload_bytes;
            self.quiet_since = now;
        }
        let quiet = now.saturating_duration_since(self.quiet_since) >= QUIET;
        allocations == 0 || quiet || now >= self.deadline
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "any instant will do as the epoch of a test"
)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(100);

    #[test]
    fn an_empty_relay_stops_at_once() {
        let now = Instant::now();
        assert!(Drain::new(LIMIT, now).is_over(0, 0, now));
    }

    #[test]
    fn allocations_that_nobody_uses_do_not_hold_the_relay() {
        let now = Instant::now();
        let mut drain = Drain::new(LIMIT, now);
        let last_used = now + Duration::from_secs(5);
        assert!(!drain.is_over(1, 700, last_used));
        assert!(!drain.is_over(1, 700, last_used + QUIET - Duration::from_secs(1)));
        assert!(drain.is_over(1, 700, last_used + QUIET));
    }

    #[test]
    fn a_session_that_lives_keeps_the_relay_until_the_deadline() {
        let now = Instant::now();
        let mut drain = Drain::new(LIMIT, now);
        for second in 0..100 {
            assert!(!drain.is_over(1, second + 1, now + Duration::from_secs(second)));
        }
        assert!(drain.is_over(1, 1000, now + LIMIT));
    }
}
