//! How far the host's clock is from ours, learned from pings.
//!
//! The answer that came back fastest says most: the host's stamp lies somewhere inside its round
//! trip, so half the round trip is the greatest possible error. With it, the time from capture to
//! decoded picture can be told across two machines, together with how wrong it may be.

use std::time::Duration;

/// Pings remembered. Older ones are forgotten, because clocks drift (up to 50 µs a second).
const SAMPLES_MAX: usize = 32;
/// A larger possible error than this makes one-way times meaningless; they are not shown.
pub const ERROR_MAX: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
struct Sample {
    /// Host's clock minus ours, in µs.
    offset_us: i64,
    round_trip_us: u64,
}

/// The host's clock as seen from here. All stamps are µs since the Unix epoch.
#[derive(Debug, Default)]
pub struct HostClock {
    samples: std::collections::VecDeque<Sample>,
}

impl HostClock {
    /// A ping sent at `sent_us` was answered by the host at `host_us` and arrived at `now_us`.
    pub fn handle_pong(&mut self, sent_us: u64, host_us: u64, now_us: u64) {
        let Some(round_trip_us) = now_us.checked_sub(sent_us) else {
            return;
        };
        let middle = sent_us.saturating_add(round_trip_us / 2);
        let sample = Sample {
            offset_us: host_us.cast_signed().saturating_sub(middle.cast_signed()),
            round_trip_us,
        };
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The newest round trip of a ping.
    pub fn round_trip(&self) -> Option<Duration> {
        let newest = self.samples.back()?;
        Some(Duration::from_micros(newest.round_trip_us))
    }

    /// How wrong [`since`](Self::since) may be; `None` before the first answer.
    pub fn error(&self) -> Option<Duration> {
        let best = self.best()?;
        Some(Duration::from_micros(best.round_trip_us / 2))
    }

    /// Time from the host's `host_us` to our `now_us`; `None` if the clocks cannot be compared.
    ///
    /// Never negative: a stamp from the future is one from just now.
    pub fn since(&self, host_us: u64, now_us: u64) -> Option<Duration> {
        let best = self.best()?;
        if Duration::from_micros(best.round_trip_us / 2) > ERROR_MAX {
            return None;
        }
        let ours = host_us.cast_signed().saturating_sub(best.offset_us);
        let elapsed = now_us.cast_signed().saturating_sub(ours);
        Some(Duration::from_micros(u64::try_from(elapsed).unwrap_or(0)))
    }

    fn best(&self) -> Option<&Sample> {
        self.samples
            .iter()
            .min_by_key(|sample| sample.round_trip_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_ping_tells_the_offset() {
        let mut clock = HostClock::default();
        // The host is 1 s ahead; the slow ping was delayed on its way back only.
        clock.handle_pong(0, 1_005_000, 90_000);
        clock.handle_pong(100_000, 1_101_000, 102_000);
        assert_eq!(clock.error(), Some(Duration::from_millis(1)));
        assert_eq!(
            clock.since(1_200_000, 212_000),
            Some(Duration::from_millis(12))
        );
    }

    #[test]
    fn without_a_ping_nothing_is_claimed() {
        assert_eq!(HostClock::default().since(0, 1_000), None);
    }

    #[test]
    fn a_round_trip_that_allows_100_ms_of_error_makes_no_claim() {
        let mut clock = HostClock::default();
        clock.handle_pong(0, 0, 200_000);
        assert_eq!(clock.since(0, 200_000), None);
    }

    #[test]
    fn absurd_stamps_do_not_overflow() {
        let mut clock = HostClock::default();
        clock.handle_pong(u64::MAX, u64::MAX, 5);
        clock.handle_pong(0, u64::MAX, 5);
        assert_eq!(clock.since(u64::MAX, 0), Some(Duration::ZERO));
    }

    #[test]
    fn old_pings_are_forgotten() {
        let mut clock = HostClock::default();
        clock.handle_pong(0, 0, 2);
        for n in 0..SAMPLES_MAX as u64 {
            clock.handle_pong(n, n, n + 10);
        }
        assert_eq!(clock.error(), Some(Duration::from_micros(5)));
    }
}
