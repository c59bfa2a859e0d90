//! Latencies with a bounded relative error: 128 linear steps in every power of two (HdrHistogram's
//! layout), so a percentile is exact to 0.8 % from nanoseconds to minutes in a fixed 37 KB.
//!
//! Source: Gil Tene, HdrHistogram, "bucket and sub-bucket" layout.

use std::time::Duration;

const STEP_BITS: u32 = 7;
const STEPS: usize = 1 << STEP_BITS;
/// Values from 2^42 ns (73 minutes) up share the last step: no run lasts that long.
const BITS_MAX: u32 = 42;
const SLOTS: usize = STEPS * (BITS_MAX - STEP_BITS + 1) as usize;

/// Counts of durations. Recording allocates nothing and costs a few nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    sum_ns: u128,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; SLOTS].into_boxed_slice(),
            total: 0,
            sum_ns: 0,
            max_ns: 0,
        }
    }
}

impl Histogram {
    pub fn record(&mut self, value: Duration) {
        let ns = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(slot(ns)) {
            *count += 1;
        }
        self.total += 1;
        self.sum_ns += u128::from(ns);
        self.max_ns = self.max_ns.max(ns);
    }

    pub fn len(&self) -> u64 {
        self.total
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    pub fn mean(&self) -> Duration {
        let mean = self.sum_ns.checked_div(u128::from(self.total)).unwrap_or(0);
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// The smallest recorded value that at least `share` (0.0..=1.0) of all values do not exceed,
    /// rounded up to its step; zero when nothing was recorded.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = ((share.clamp(0.0, 1.0) * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (slot, &count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(slot_end(slot).min(self.max_ns));
            }
        }
        Duration::ZERO
    }
}

fn slot(ns: u64) -> usize {
    let exponent = (u64::BITS - ns.leading_zeros()).saturating_sub(STEP_BITS + 1);
    let step = (ns >> exponent) as usize;
    (step + exponent as usize * STEPS).min(SLOTS - 1)
}

/// The largest value that falls into `slot`.
fn slot_end(slot: usize) -> u64 {
    let exponent = (slot / STEPS).saturating_sub(1);
    let step = (slot - exponent * STEPS) as u64;
    ((step + 1) << exponent) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_are_exact() {
        let histogram = of(&[1, 2, 3, 100]);

        assert_eq!(ns(histogram.quantile(0.5)), 2);
        assert_eq!(ns(histogram.quantile(1.0)), 100);
        assert_eq!(ns(histogram.mean()), 26);
    }

    #[test]
    fn every_percentile_is_within_one_percent_and_never_below_the_value() {
        for shift in 0..40 {
            let value = 201_u64 << shift;
            let mut histogram = of(&[value]);
            histogram.record(Duration::from_secs(3600));
            let found = ns(histogram.quantile(0.5));

            assert!(found >= value.min(1 << 41), "{value} gave {found}");
            assert!(found as f64 <= value as f64 * 1.01, "{value} gave {found}");
        }
    }

    #[test]
    fn slots_are_contiguous_and_ordered() {
        for index in 0..SLOTS - 1 {
            assert_eq!(slot(slot_end(index)), index);
            assert_eq!(slot(slot_end(index) + 1), index + 1);
        }
    }

    #[test]
    fn an_absurd_value_is_counted_in_the_last_slot() {
        let histogram = of(&[u64::MAX]);

        assert_eq!(histogram.len(), 1);
        assert!(histogram.quantile(0.99) > Duration::from_secs(4000));
    }

    #[test]
    fn nothing_recorded_is_zero() {
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
        assert_eq!(Histogram::default().mean(), Duration::ZERO);
    }

    fn of(values_ns: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        for &value in values_ns {
            histogram.record(Duration::from_nanos(value));
        }
        histogram
    }

    fn ns(duration: Duration) -> u64 {
        duration.as_nanos() as u64
    }
}
