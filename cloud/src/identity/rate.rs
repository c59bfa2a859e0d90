//! How often one network may ask for what costs us: a hash or a mail.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::lockout::Prefix;

/// Requests a network may make at once: an office that starts its day behind one address.
const BURST: u32 = 40;
/// One more per this much time.
const REFILL: Duration = Duration::from_secs(1);
/// Networks that are counted. When full, those that are whole again are forgotten, and if none is,
/// newcomers are refused: somebody is flooding.
const NETWORKS_MAX: usize = 50_000;

#[derive(Debug, Default)]
pub struct Rates {
    buckets_by_network: HashMap<Prefix, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    counted_at: Instant,
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.counted_at);
        let earned = u32::try_from(elapsed.as_nanos() / REFILL.as_nanos()).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(earned).min(BURST);
        if earned > 0 {
            self.counted_at = now;
        }
    }
}

impl Rates {
    /// Counts one request; `false` if it is one too many.
    pub fn allows(&mut self, network: Prefix, now: Instant) -> bool {
        if self.buckets_by_network.len() >= NETWORKS_MAX {
            self.buckets_by_network.retain(|_, bucket| {
                bucket.refill(now);
                bucket.left < BURST
            });
            if self.buckets_by_network.len() >= NETWORKS_MAX {
                return false;
            }
        }
        let bucket = self.buckets_by_network.entry(network).or_insert(Bucket {
            left: BURST,
            counted_at: now,
        });
        bucket.refill(now);
        let allowed = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts somewhere")]
mod tests {
    use super::*;

    #[test]
    fn one_network_runs_dry_and_recovers_while_others_do_not_notice() {
        let now = Instant::now();
        let here = Prefix::of("192.0.2.1".parse().unwrap());
        let there = Prefix::of("198.51.100.1".parse().unwrap());
        let mut rates = Rates::default();
        let allowed = (0..BURST + 5).filter(|_| rates.allows(here, now)).count();
        assert_eq!(allowed, 40);
        assert!(rates.allows(there, now));
        assert!(rates.allows(here, now + REFILL));
        assert!(!rates.allows(here, now + REFILL));
    }
}
