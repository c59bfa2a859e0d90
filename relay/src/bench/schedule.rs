//! When each burst is due: open-loop, evenly spaced, phases of the flows spread over one interval.
//!
//! Rule: a late burst is still due at its own instant and none is skipped or merged, so what the
//! server missed shows up as latency or loss and not as a lower rate. A ramp raises the rate from
//! step to step and starts each step on a whole interval.

use std::time::{Duration, Instant};

/// The load of one flow during one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Packets per second of one flow, above zero.
    pub packets_per_second: f64,
    /// Packets handed over together, at least one.
    pub burst: u32,
}

impl Rate {
    /// Time from one burst to the next.
    pub fn interval(self) -> Duration {
        Duration::from_secs_f64(f64::from(self.burst.max(1)) / self.packets_per_second.max(0.001))
    }
}

/// A burst that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    pub flow: usize,
    /// Latency counts from here.
    pub at: Instant,
    pub packets: u32,
}

/// Bursts of all flows, in order of time.
#[derive(Debug)]
pub struct Schedule {
    rate: Rate,
    flows: u64,
    start: Instant,
    end: Instant,
    /// Bursts handed out so far: burst `n` belongs to flow `n % flows`.
    handed_out: u64,
}

impl Schedule {
    /// `flows` flows send at `rate` each from `start` for `length`.
    pub fn new(rate: Rate, flows: usize, length: Duration, start: Instant) -> Self {
        Self {
            rate,
            flows: flows.max(1) as u64,
            start,
            end: start + length,
            handed_out: 0,
        }
    }

    /// The next burst, once its time has come.
    pub fn poll_due(&mut self, now: Instant) -> Option<Due> {
        let at = self.poll_timeout().filter(|&at| at <= now)?;
        let flow = (self.handed_out % self.flows) as usize;
        self.handed_out += 1;
        Some(Due {
            flow,
            at,
            packets: self.rate.burst.max(1),
        })
    }

    /// When the next burst is due; `None` when all have been handed out.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let spacing = self.rate.interval().as_nanos() / u128::from(self.flows);
        let offset = spacing * u128::from(self.handed_out);
        let at = self.start + Duration::from_nanos(u64::try_from(offset).ok()?);
        (at < self.end).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_take_turns_inside_one_interval() {
        let start = Instant::now_for_tests();
        let mut schedule = Schedule::new(rate(1000.0, 10), 2, ms(100), start);

        assert_eq!(schedule.poll_due(start).map(|due| due.flow), Some(0));
        assert_eq!(schedule.poll_due(start), None);
        assert_eq!(schedule.poll_timeout(), Some(start + ms(5)));
        assert_eq!(
            schedule.poll_due(start + ms(5)).map(|due| due.flow),
            Some(1)
        );
    }

    #[test]
    fn a_late_caller_gets_every_missed_burst_at_its_own_instant() {
        let start = Instant::now_for_tests();
        let mut schedule = Schedule::new(rate(100.0, 1), 1, ms(50), start);
        let late = start + ms(1000);

        let due: Vec<_> =
            std::iter::from_fn(|| schedule.poll_due(late).map(|due| due.at - start)).collect();

        assert_eq!(due, [ms(0), ms(10), ms(20), ms(30), ms(40)]);
        assert_eq!(schedule.poll_timeout(), None);
    }

    #[test]
    fn the_number_of_packets_is_rate_times_time() {
        let start = Instant::now_for_tests();
        let mut schedule = Schedule::new(rate(1200.0, 30), 20, ms(10_000), start);
        let mut packets = 0;
        while let Some(due) = schedule.poll_due(start + ms(10_000)) {
            packets += due.packets;
        }

        assert_eq!(packets, 1200 * 20 * 10);
    }

    /// Tests need some instant to count from; any will do.
    trait AnyInstant {
        fn now_for_tests() -> Instant;
    }

    impl AnyInstant for Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "an arbitrary origin for the test"
        )]
        fn now_for_tests() -> Instant {
            Instant::now()
        }
    }

    fn rate(packets_per_second: f64, burst: u32) -> Rate {
        Rate {
            packets_per_second,
            burst,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}
