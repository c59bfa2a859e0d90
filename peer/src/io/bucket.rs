//! How many packets may leave at once.
//!
//! A near path is not paced by str0m, and a frame of 300 packets in one burst overflows the receive
//! buffer of a browser (256 KiB) or of a relay (the kernel's default holds about 90 packets) that is
//! not scheduled at that moment. So a burst has a size, and the rest follows at 300 Mbit/s.

use std::time::{Duration, Instant};

/// Packets that leave at once: well below what a default receive buffer holds.
const BURST_PACKETS: usize = 64;
/// Packets that follow in each interval: about 300 Mbit/s.
const REFILL_PACKETS: usize = 32;

pub(super) struct Bucket {
    tokens: usize,
    filled_at: Instant,
}

impl Bucket {
    pub(super) const INTERVAL: Duration = Duration::from_millis(1);

    pub(super) fn new(now: Instant) -> Self {
        Self {
            tokens: BURST_PACKETS,
            filled_at: now,
        }
    }

    /// How many of `wanted` packets may leave now.
    pub(super) fn take(&mut self, wanted: usize, now: Instant) -> usize {
        let since = now.saturating_duration_since(self.filled_at);
        let intervals = since.as_micros() / Self::INTERVAL.as_micros();
        if intervals > 0 {
            let intervals = usize::try_from(intervals).unwrap_or(usize::MAX);
            let refill = intervals.saturating_mul(REFILL_PACKETS);
            self.tokens = self.tokens.saturating_add(refill).min(BURST_PACKETS);
            self.filled_at = now;
        }
        let taken = wanted.min(self.tokens);
        self.tokens -= taken;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_leaves_at_once_and_the_rest_at_the_refill_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        assert_eq!(bucket.take(300, start), BURST_PACKETS);
        assert_eq!(bucket.take(236, start), 0);
        let mut left = 300 - BURST_PACKETS;
        for interval in 1..=3u32 {
            left -= bucket.take(left, start + Bucket::INTERVAL * interval);
        }
        assert_eq!(left, 300 - BURST_PACKETS - 3 * REFILL_PACKETS);
        let later = start + Duration::from_secs(1);
        assert_eq!(bucket.take(300, later), BURST_PACKETS);
    }
}
