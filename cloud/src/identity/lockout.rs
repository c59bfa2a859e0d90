//! Guessing is slowed down, and nobody can be locked out by others.
//!
//! Failures are counted per account and place: a device that signed in before is a place of its
//! own, everything else is its network prefix (/24, /64). So a stranger's failures lock the
//! stranger's network for that account, never the owner's known browser. From the third failure a
//! lock lasts twice as long each time, at most fifteen minutes; none is for ever.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures that cost nothing: people mistype.
const FREE: u32 = 3;
/// The first lock.
const LOCK_FIRST: Duration = Duration::from_secs(2);
/// The longest lock.
const LOCK_MAX: Duration = Duration::from_secs(15 * 60);
/// Failures older than this are forgotten.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// Pairs that are counted, some 100 bytes each. When full, the one idle for longest is forgotten:
/// filling the table costs an attacker more guesses than it frees.
const PAIRS_MAX: usize = 50_000;

/// Where an attempt comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A browser that signed in to this account before.
    Device(String),
    Network(Prefix),
}

/// A /24 of IPv4 or a /64 of IPv6: what one customer of a provider has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(IpAddr);

impl Prefix {
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => (u32::from(v4) & !0xff).to_be_bytes().into(),
            IpAddr::V6(v6) => (u128::from(v6) >> 64 << 64).to_be_bytes().into(),
        })
    }
}

#[derive(Debug, Default)]
pub struct Lockout {
    failures_by_pair: HashMap<(String, Place), Failures>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    last: Instant,
    locked_until: Instant,
}

impl Lockout {
    /// How long this place must still wait; asked before anything is hashed.
    pub fn wait(&self, account: &str, place: &Place, now: Instant) -> Option<Duration> {
        let failures = self
            .failures_by_pair
            .get(&(account.to_owned(), place.clone()))?;
        let wait = failures.locked_until.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    pub fn handle_failure(&mut self, account: &str, place: Place, now: Instant) {
        if self.failures_by_pair.len() >= PAIRS_MAX {
            self.forget_one(now);
        }
        let failures = self
            .failures_by_pair
            .entry((account.to_owned(), place))
            .or_insert(Failures {
                count: 0,
                last: now,
                locked_until: now,
            });
        if now.saturating_duration_since(failures.last) > REMEMBERED {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        if let Some(doublings) = failures.count.checked_sub(FREE) {
            let lock = LOCK_FIRST.saturating_mul(2_u32.saturating_pow(doublings));
            failures.locked_until = now + lock.min(LOCK_MAX);
        }
    }

    pub fn handle_success(&mut self, account: &str, place: &Place) {
        self.failures_by_pair
            .remove(&(account.to_owned(), place.clone()));
    }

    /// Whether any place waits for this account; for the list of members.
    pub fn is_locked(&self, account: &str, now: Instant) -> bool {
        self.failures_by_pair
            .iter()
            .any(|((of, _), failures)| of == account && failures.locked_until > now)
    }

    /// An admin vouches for the owner.
    pub fn unlock(&mut self, account: &str) {
        self.failures_by_pair.retain(|(of, _), _| of != account);
    }

    /// Forgets what is old, and if nothing is, the pair idle for longest.
    fn forget_one(&mut self, now: Instant) {
        self.failures_by_pair
            .retain(|_, failures| now.saturating_duration_since(failures.last) <= REMEMBERED);
        if self.failures_by_pair.len() < PAIRS_MAX {
            return;
        }
        let oldest = self
            .failures_by_pair
            .iter()
            .min_by_key(|(_, failures)| failures.last)
            .map(|(pair, _)| pair.clone());
        if let Some(pair) = oldest {
            self.failures_by_pair.remove(&pair);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test starts somewhere")]
mod tests {
    use super::*;

    fn network(text: &str) -> Place {
        Place::Network(Prefix::of(text.parse().unwrap()))
    }

    #[test]
    fn a_stranger_locks_their_own_network_and_not_the_owners_browser() {
        let now = Instant::now();
        let mut lockout = Lockout::default();
        for _ in 0..50 {
            lockout.handle_failure("ada", network("198.51.100.7"), now);
        }
        assert_eq!(
            lockout.wait("ada", &network("198.51.100.9"), now),
            Some(LOCK_MAX)
        );
        assert_eq!(lockout.wait("ada", &Place::Device("d".into()), now), None);
        assert_eq!(lockout.wait("ada", &network("203.0.113.1"), now), None);
        assert_eq!(lockout.wait("bob", &network("198.51.100.7"), now), None);
    }

    #[test]
    fn a_lock_doubles_and_ends_by_itself() {
        let now = Instant::now();
        let place = network("2001:db8:1:2::1");
        let mut lockout = Lockout::default();
        lockout.handle_failure("ada", place.clone(), now);
        lockout.handle_failure("ada", place.clone(), now);
        assert_eq!(lockout.wait("ada", &place, now), None);
        lockout.handle_failure("ada", place.clone(), now);
        assert_eq!(lockout.wait("ada", &place, now), Some(LOCK_FIRST));
        lockout.handle_failure("ada", network("2001:db8:1:2:ffff::9"), now);
        assert_eq!(lockout.wait("ada", &place, now), Some(LOCK_FIRST * 2));
        assert_eq!(lockout.wait("ada", &place, now + LOCK_FIRST * 2), None);
    }

    #[test]
    fn an_admin_and_a_success_unlock() {
        let now = Instant::now();
        let place = network("192.0.2.1");
        let mut lockout = Lockout::default();
        for _ in 0..5 {
            lockout.handle_failure("ada", place.clone(), now);
        }
        assert!(lockout.is_locked("ada", now));
        lockout.unlock("ada");
        assert!(!lockout.is_locked("ada", now));
    }
}
