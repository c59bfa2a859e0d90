//! The steps in which a bitrate is followed where every change of it costs a key frame.

/// A step: 500 kb/s, then √2 times as much each, up to 90 Mb/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rung(u32);

impl Rung {
    const LOWEST_BPS: f64 = 500_000.0;
    const HIGHEST: u32 = 15;
    /// Two steps double the rate.
    const PER_DOUBLING: f64 = 2.0;

    pub(super) fn of(bitrate_bps: u64) -> Self {
        let steps = (bitrate_bps as f64 / Self::LOWEST_BPS).log2() * Self::PER_DOUBLING;
        // Negative and -inf become 0.
        Self((steps as u32).min(Self::HIGHEST))
    }

    /// Down at once, up only by two steps or more: an estimate that trembles about a step must not
    /// cost a key frame each time.
    pub(super) fn towards(self, bitrate_bps: u64) -> Self {
        let wanted = Self::of(bitrate_bps);
        let keeps = wanted.0 == self.0 + 1 && wanted.0 != Self::HIGHEST;
        if keeps { self } else { wanted }
    }

    pub(super) fn bitrate_bps(self) -> u64 {
        (Self::LOWEST_BPS * (f64::from(self.0) / Self::PER_DOUBLING).exp2()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_trembles_changes_nothing_and_a_fall_is_followed_at_once() {
        let rung = Rung::of(8_000_000);
        assert_eq!(rung.bitrate_bps(), 8_000_000);
        assert_eq!(rung.towards(8_100_000), rung);
        assert_eq!(rung.towards(11_500_000), rung);
        assert_eq!(rung.towards(16_000_000).bitrate_bps(), 16_000_000);
        assert_eq!(rung.towards(7_900_000), Rung(rung.0 - 1));
        assert_eq!(rung.towards(0).bitrate_bps(), 500_000);
        assert_eq!(Rung(14).towards(u64::MAX), Rung(15));
    }
}
