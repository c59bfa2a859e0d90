//! How much more than the estimate str0m may probe for.
//!
//! str0m probes at twice the desired bitrate, within 15 ms: every 5 s while less is sent than the
//! estimate, and whenever more is desired than that. On a path that carries less, all of it waits in
//! front of the next frame. Rule: never more is desired than the estimate; nothing from half of the
//! most that is used on; nothing if for [`PROBE_FOR`] neither the estimate rose nor half of it was
//! used; and nothing for [`PAUSE_AFTER_FALL`], while what was too much still waits on the path.

use std::time::{Duration, Instant};

use crate::config::BitrateRange;

/// Longer than the time between two of str0m's probes.
const PROBE_FOR: Duration = Duration::from_secs(6);
/// So much more is a rise, and so much less a fall. To find less is not worth the next probe.
const STEP: f64 = 1.1;
/// What waits has left by then, and the estimate has settled.
const PAUSE_AFTER_FALL: Duration = Duration::from_secs(4);

/// The estimate, and when there was a reason to probe last.
#[derive(Debug, Default)]
pub(crate) struct Probing {
    estimate_bps: u64,
    /// The estimate after its last rise or fall.
    level_bps: u64,
    reason_at: Option<Instant>,
    fallen_at: Option<Instant>,
}

impl Probing {
    /// The path is said to carry `estimate_bps`, and `sent_bps` are sent.
    pub(crate) fn handle_estimate(&mut self, estimate_bps: u64, sent_bps: u64, now: Instant) {
        let rises = estimate_bps as f64 > self.level_bps as f64 * STEP;
        let falls = self.level_bps as f64 > estimate_bps as f64 * STEP;
        if rises || falls {
            self.level_bps = estimate_bps;
        }
        if rises || sent_bps >= estimate_bps / 2 {
            self.reason_at = Some(now);
        }
        if falls {
            self.fallen_at = Some(now);
        }
        self.estimate_bps = estimate_bps;
    }

    /// In bits per second; 0 ends probing.
    pub(crate) fn desired_bps(&self, range: BitrateRange, now: Instant) -> u64 {
        let has_reason = self.reason_at.is_some_and(|at| now < at + PROBE_FOR);
        let fell = self.fallen_at.is_some_and(|at| now < at + PAUSE_AFTER_FALL);
        if has_reason && !fell && self.estimate_bps < range.max_bps / 2 {
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
            (2_000_000, 2_000_000),
            (10_000_000, 10_000_000),
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
    fn nothing_is_probed_for_until_what_waits_on_a_path_that_became_thinner_has_left() {
        let (mut probing, now) = (Probing::default(), start());
        probing.handle_estimate(10_000_000, 2_500_000, now);
        probing.handle_estimate(2_000_000, 2_500_000, now);
        assert_eq!(probing.desired_bps(RANGE, now), 0);
        let later = now + PAUSE_AFTER_FALL;
        probing.handle_estimate(2_100_000, 1_500_000, later);
        assert_eq!(probing.desired_bps(RANGE, later), 2_100_000);
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
