//! When sessions arrive: at a fixed rate or as strangers do (Poisson), decided before the first.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// How arrivals follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spacing {
    /// Each the same time after the one before.
    Fixed,
    /// Independent of each other: exponential gaps.
    Poisson,
}

/// The offsets of `count` arrivals from the start, at `per_second` on average. The first arrives at
/// once. The same seed gives the same timetable.
pub fn timetable(spacing: Spacing, count: usize, per_second: f64, seed: u64) -> Vec<Duration> {
    let mut random = StdRng::seed_from_u64(seed);
    let mean = 1.0 / per_second.max(f64::MIN_POSITIVE);
    let mut at = 0.0;
    (0..count)
        .map(|_| {
            let this = at;
            at += match spacing {
                Spacing::Fixed => mean,
                Spacing::Poisson => exponential(mean, &mut random),
            };
            Duration::try_from_secs_f64(this).unwrap_or(Duration::MAX)
        })
        .collect()
}

/// Gaps of a Poisson process. Also for clicks and pictures: in step with nothing.
pub fn exponential(mean: f64, random: &mut StdRng) -> f64 {
    let uniform: f64 = random.random();
    -mean * (1.0 - uniform).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_arrivals_keep_their_distance() {
        let ms: Vec<_> = timetable(Spacing::Fixed, 4, 8.0, 1)
            .iter()
            .map(Duration::as_millis)
            .collect();
        assert_eq!(ms, [0, 125, 250, 375]);
    }

    #[test]
    fn strangers_come_at_the_rate_on_average_and_unevenly() {
        let times = timetable(Spacing::Poisson, 10_001, 50.0, 7);
        let last = times.last().unwrap().as_secs_f64();
        assert!((last - 200.0).abs() < 10.0, "{last}");
        let gaps: Vec<_> = times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect();
        // Exponential: 1 − 1/e of the gaps are below the mean.
        let short = gaps.iter().filter(|gap| **gap < 0.02).count() as f64 / gaps.len() as f64;
        assert!((short - 0.632).abs() < 0.02, "{short}");
    }

    #[test]
    fn a_seed_gives_the_same_timetable_again() {
        let table = |seed| timetable(Spacing::Poisson, 100, 3.0, seed);
        assert_eq!(table(5), table(5));
        assert_ne!(table(5), table(6));
    }
}
