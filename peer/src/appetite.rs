//! How much more than is believed the path carries str0m may look for.
//!
//! str0m probes at twice what is wanted of it, within 15 ms: every 5 s while less is sent than is
//! believed, and whenever more is wanted than is believed. On a path that carries less, all of that
//! waits in front of the next frame. Rule: no more is ever wanted than is believed; nothing where
//! half of the most that is used is believed; and nothing if for [`LOOK_FOR`] neither more was found
//! nor half of it used.

use std::time::{Duration, Instant};

use crate::config::BitrateRange;

/// Longer than the time between two of str0m's probes.
const LOOK_FOR: Duration = Duration::from_secs(6);
/// So much more is another belief.
const MORE: f64 = 1.05;

/// What is believed, and since when it is enough.
#[derive(Debug, Default)]
pub(crate) struct Appetite {
    believed_bps: u64,
    /// What was believed when more was found last, or less since.
    found_bps: u64,
    enough_since: Option<Instant>,
}

impl Appetite {
    /// The path is believed to carry `believed_bps`, and `sent_bps` are sent.
    pub(crate) fn handle_belief(&mut self, believed_bps: u64, sent_bps: u64, now: Instant) {
        let more = believed_bps as f64 > self.found_bps as f64 * MORE;
        if more || sent_bps >= believed_bps / 2 {
            self.enough_since = Some(now);
        }
        if more || believed_bps < self.found_bps {
            self.found_bps = believed_bps;
        }
        self.believed_bps = believed_bps;
    }

    /// In bits per second.
    pub(crate) fn wanted_bps(&self, range: BitrateRange, now: Instant) -> u64 {
        let since = self.enough_since.unwrap_or(now);
        let enough = self.believed_bps >= range.max_bps / 2 || now >= since + LOOK_FOR;
        if enough { 0 } else { self.believed_bps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: BitrateRange = BitrateRange {
        start_bps: 10_000_000,
        min_bps: 300_000,
        max_bps: 50_000_000,
    };

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the epoch of a test"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn never_more_is_wanted_than_is_believed_and_nothing_where_that_is_plenty() {
        let (mut appetite, now) = (Appetite::default(), start());
        for (believed, wanted) in [
            (10_000_000, 10_000_000),
            (2_000_000, 2_000_000),
            (24_000_000, 24_000_000),
            (25_000_000, 0),
            (50_000_000, 0),
        ] {
            appetite.handle_belief(believed, believed, now);
            assert_eq!(appetite.wanted_bps(RANGE, now), wanted);
        }
    }

    #[test]
    fn who_uses_little_stops_looking_and_who_uses_half_begins_again() {
        let (mut appetite, now) = (Appetite::default(), start());
        appetite.handle_belief(10_000_000, 0, now);
        let later = now + LOOK_FOR;
        appetite.handle_belief(10_100_000, 1_000_000, later);
        assert_eq!(appetite.wanted_bps(RANGE, later), 0);
        appetite.handle_belief(10_000_000, 5_000_000, later);
        assert_eq!(appetite.wanted_bps(RANGE, later), 10_000_000);
        assert_eq!(appetite.wanted_bps(RANGE, later + LOOK_FOR), 0);
    }

    #[test]
    fn who_finds_more_goes_on_looking() {
        let (mut appetite, mut now) = (Appetite::default(), start());
        for believed in [2_000_000, 4_000_000, 8_000_000] {
            now += LOOK_FOR / 2;
            appetite.handle_belief(believed, 0, now);
        }
        assert_eq!(appetite.wanted_bps(RANGE, now + LOOK_FOR / 2), 8_000_000);
    }
}
