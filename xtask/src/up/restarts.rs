//! When a part that died is started again, and when that is given up: a part that keeps dying right
//! after its start will not be helped by another start.

use std::time::{Duration, Instant};

/// A part that ran for so long counts as having worked.
const STEADY_AFTER: Duration = Duration::from_secs(60);
/// The first wait; it doubles with every quick failure.
const WAIT_FIRST: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// Quick failures in a row after which we give up.
const QUICK_FAILURES_MAX: u32 = 5;

/// What to do about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    RestartAt(Instant),
    GiveUp,
}

/// The memory of one part's failures.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    quick_failures: u32,
}

impl Restarts {
    /// The part started at `started` has died.
    pub(crate) fn handle_death(&mut self, started: Instant, now: Instant) -> Verdict {
        if now.duration_since(started) >= STEADY_AFTER {
            self.quick_failures = 0;
        }
        self.quick_failures += 1;
        if self.quick_failures > QUICK_FAILURES_MAX {
            return Verdict::GiveUp;
        }
        let doubled = WAIT_FIRST * 2u32.pow(self.quick_failures - 1);
        Verdict::RestartAt(now + doubled.min(WAIT_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_after_five_quick_failures_it_gives_up() {
        let mut restarts = Restarts::default();
        let start = Instant::now();
        let waits: Vec<Verdict> = (0..6)
            .map(|_| restarts.handle_death(start, start))
            .collect();
        let at = |ms| Verdict::RestartAt(start + Duration::from_millis(ms));
        assert_eq!(
            waits,
            [
                at(200),
                at(400),
                at(800),
                at(1600),
                at(3200),
                Verdict::GiveUp
            ]
        );
    }

    #[test]
    fn a_part_that_ran_for_a_minute_starts_with_a_clean_slate() {
        let mut restarts = Restarts::default();
        let start = Instant::now();
        for _ in 0..5 {
            restarts.handle_death(start, start);
        }
        let now = start + STEADY_AFTER;
        assert_eq!(
            restarts.handle_death(start, now),
            Verdict::RestartAt(now + WAIT_FIRST)
        );
    }
}
