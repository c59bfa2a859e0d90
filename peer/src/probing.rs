//! How much more than the estimate str0m may probe for.
//!
//! str0m probes at twice the desired bitrate, within 15 ms: every 5 s while less is sent than the
//! estimate, and whenever more is desired than that. On a path that carries less, all of it waits in
//! front of the next frame. Rule: never more is desired than the estimate; nothing from half of the
//! most that is used on; and nothing if for [`PROBE_FOR`] neither the estimate rose nor half of it
//! was used.

use std::time::{Duration, Instant};

use crate::config::BitrateRange;

/// Longer than the time between two of str0m's probes.
const PROBE_FOR: Duration = Duration::from_secs(6);
/// So much more is a rise.
const RISE: f64 = 1.05;

/// The estimate, and when there was a reason to probe last.
#[derive(Debug, Default)]
pub(crate) struct Probing {
    estimate_bps: u64,
    /// The estimate after its last rise, or what it fell to since.
    risen_bps: u64,
    reason_at: Option<Instant>,
}

impl Probing {
    /// The path is said to carry `estimate_bps`, and `sent_bps` are sent.
    pub(crate) fn handle_estimate(&mut self, estimate_bps: u64, sent_bps: u64, now: Instant) {
        let rises = estimate_bps as f64 > self.risen_bps as f64 * RISE;
        if rises || sent_bps >= estimate_bps / 2 {
            self.reason_at = Some(now);
        }
        if rises || estimate_bps < self.risen_bps {
            self.risen_bps = estimate_bps;
        }
        self.estimate_bps = estimate_bps;
    }

    /// In bits per second; 0 ends probing.
    pub(crate) fn desired_bps(&self, range: BitrateRange, now: Instant) -> u64 {
        let has_reason = self.reason_at.is_some_and(|at| now < at + PROBE_FOR);
        if has_reason && self.estimate_bps < range.max_bps / 2 {
            self.estimate_bps
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const RANGE: BitrateRange = BitrateRange {
        start_bps: 10_000_000,
        min_bps: 300_000,
        max_bps: 50_000_000,
    };

    #[test]
    fn never_more_is_desired_than_the_estimate_and_nothing_where_that_is_plenty() {
        let (mut probing, now) = (Probing::default(), start());
        for (estimate, desired) in [
            (10_000_000, 10_000_000),
            (2_000_000, 2_000_000),
            (24_000_000, 24_000_000),
            (25_000_000, 0),
            (50_000_000, 0),
        ] {
            probing.handle_estimate(estimate, estimate, now);
            assert_eq!(probing.desired_bps(RANGE, now), desired);
        }
    }

    #[test]
    fn who_uses_little_stops_probing_and_who_uses_half_begins_again() {
        let (mut probing, now) = (Probing::default(), start());
        probing.handle_estimate(10_000_000, 0, now);
        let later = now + PROBE_FOR;
        probing.handle_estimate(10_100_000, 1_000_000, later);
        assert_eq!(probing.desired_bps(RANGE, later), 0);
        probing.handle_estimate(10_000_000, 5_000_000, later);
        assert_eq!(probing.desired_bps(RANGE, later), 10_000_000);
        assert_eq!(probing.desired_bps(RANGE, later + PROBE_FOR), 0);
    }

    #[test]
    fn who_finds_more_goes_on_probing() {
        let (mut probing, mut now) = (Probing::default(), start());
        for estimate in [2_000_000, 4_000_000, 8_000_000] {
            now += PROBE_FOR / 2;
            probing.handle_estimate(estimate, 0, now);
        }
        assert_eq!(probing.desired_bps(RANGE, now + PROBE_FOR / 2), 8_000_000);
    }
}
