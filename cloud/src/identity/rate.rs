//! How often one network may ask for what costs us a hash or a mail, and one device for what costs a
//! write.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Requests at once: an office that starts its day behind one address.
const BURST: u32 = 40;
/// One more per this much time.
const REFILL: Duration = Duration::from_secs(1);
/// Askers that are counted. When full, those that are whole again are forgotten, and if none is,
/// newcomers are refused: somebody is flooding.
const ASKERS_MAX: usize = 50_000;

/// Counts by who asks: a network, or a device.
#[derive(Debug)]
pub struct Rates<A> {
    buckets_by_asker: HashMap<A, Bucket>,
}

impl<A> Default for Rates<A> {
    fn default() -> Self {
        let buckets_by_asker = HashMap::new();
        Self { buckets_by_asker }
    }
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

impl<A: Eq + Hash> Rates<A> {
    /// Counts one request; `false` if it is one too many.
    pub fn allows(&mut self, asker: A, now: Instant) -> bool {
        if self.buckets_by_asker.len() >= ASKERS_MAX {
            self.buckets_by_asker.retain(|_, bucket| {
                bucket.refill(now);
                bucket.left < BURST
            });
            if self.buckets_by_asker.len() >= ASKERS_MAX {
                return false;
            }
        }
        let bucket = self.buckets_by_asker.entry(asker).or_insert(Bucket {
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
    use crate::identity::lockout::Prefix;

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
