//! The shortest round trip of late: what the path takes where nothing waits.

use std::time::{Duration, Instant};

/// Of one period and of the one before.
#[derive(Debug, Default)]
pub(crate) struct Shortest {
    since: Option<Instant>,
    here: Option<Duration>,
    before: Option<Duration>,
}

impl Shortest {
    pub(crate) fn handle_round_trip(
        &mut self,
        round_trip: Duration,
        period: Duration,
        now: Instant,
    ) {
        let since = *self.since.get_or_insert(now);
        if now >= since + period {
            self.since = Some(now);
            self.before = self.here.take();
        }
        let here = self.here.map_or(round_trip, |here| here.min(round_trip));
        self.here = Some(here);
    }

    pub(crate) fn get(&self) -> Option<Duration> {
        self.here.into_iter().chain(self.before).min()
    }

    /// Of a whole period at least.
    pub(crate) fn settled(&self) -> Option<Duration> {
        self.before.and_then(|_| self.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const PERIOD: Duration = Duration::from_secs(1);

    #[test]
    fn the_shortest_counts_for_one_to_two_periods() {
        let mut shortest = Shortest::default();
        let ms = Duration::from_millis;
        let mut after = |round_trip, at| {
            shortest.handle_round_trip(ms(round_trip), PERIOD, start() + ms(at));
            (shortest.get(), shortest.settled())
        };
        assert_eq!(after(20, 0), (Some(ms(20)), None));
        assert_eq!(after(10, 900), (Some(ms(10)), None));
        assert_eq!(after(30, 1_000), (Some(ms(10)), Some(ms(10))));
        assert_eq!(after(40, 1_999), (Some(ms(10)), Some(ms(10))));
        assert_eq!(after(40, 2_000), (Some(ms(30)), Some(ms(30))));
    }
}
