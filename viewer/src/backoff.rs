//! How long to wait before trying again.
//!
//! One rule: the wait doubles from [`WAIT_MIN`] to [`WAIT_MAX`], and each is drawn at random from
//! its upper half ("equal jitter"), so that a thousand viewers of one service that restarts come
//! back spread out and none comes back at once.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// Wait after the first failure, before jitter.
pub const WAIT_MIN: Duration = Duration::from_millis(500);
/// Longest wait: a person notices that a service is back within this time.
pub const WAIT_MAX: Duration = Duration::from_secs(15);

/// Counts failures in a row and draws the next wait.
#[derive(Debug)]
pub struct Backoff {
    rng: SmallRng,
    failures: u32,
}

impl Backoff {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            failures: 0,
        }
    }

    /// It worked: the next failure waits the shortest time again.
    pub fn handle_success(&mut self) {
        self.failures = 0;
    }

    /// It failed: how long to wait before the next try.
    pub fn handle_failure(&mut self) -> Duration {
        let ceiling = WAIT_MIN
            .saturating_mul(1 << self.failures.min(16))
            .min(WAIT_MAX);
        self.failures = self.failures.saturating_add(1);
        let half = ceiling / 2;
        half + half.mul_f64(self.rng.random::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_stay_in_their_upper_half() {
        let mut backoff = Backoff::new(7);
        for ceiling_ms in [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000] {
            let wait = backoff.handle_failure().as_millis();
            assert!(
                (ceiling_ms / 2..=ceiling_ms).contains(&wait),
                "{wait} ms of {ceiling_ms} ms"
            );
        }
    }

    #[test]
    fn a_success_starts_over() {
        let mut backoff = Backoff::new(7);
        for _ in 0..5 {
            backoff.handle_failure();
        }
        backoff.handle_success();
        assert!(backoff.handle_failure() <= WAIT_MIN);
    }

    #[test]
    fn two_viewers_do_not_come_back_together() {
        let (mut one, mut other) = (Backoff::new(1), Backoff::new(2));
        assert_ne!(one.handle_failure(), other.handle_failure());
    }
}
