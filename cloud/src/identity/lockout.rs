//! Guessing is slowed down, and nobody can be locked out by others.
//!
//! Failures are counted per account and place: a device that signed in before is a place of its
//! own, everything else is its network prefix (/24, /64). So a stranger's failures lock the
//! stranger's network for that account, never the owner's known browser. From the third failure a
//! lock lasts twice as long each time, at most fifteen minutes; none is for ever. The counts are in
//! the database, so that it makes no difference which node is asked.
//!
//! An attempt counts as a failure from its beginning, so that many at once gain nothing. One is left
//! out: the first of a pair that nobody failed at lately counts once it has failed. So whoever knows
//! their password writes nothing, and a guesser gains one guess per node and hour.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::Email;
use super::sign_in::HandleHash;

/// Failures that cost nothing: people mistype.
const FREE: u32 = 3;
/// The first lock.
const LOCK_FIRST: Duration = Duration::from_secs(2);
/// The longest lock.
const LOCK_MAX: Duration = Duration::from_secs(15 * 60);
/// Failures older than this are forgotten.
pub const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// Pairs that are counted, some 200 bytes each. Beyond, those idle for longest are forgotten, now
/// and then: filling the table costs an attacker more guesses than it frees.
pub const PAIRS_MAX: usize = 50_000;
/// Attempts under way at one node that nobody counted yet, some 200 bytes each: as many as sign in at
/// the same time. When full, attempts are counted at once.
const UNCOUNTED_MAX: usize = 10_000;
/// How far the clocks of two nodes may be apart. What is further in the future was written before
/// the clock went back.
const SKEW_MAX: Duration = Duration::from_secs(60);

/// Where an attempt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A browser that signed in to this account before, by the hash of its cookie.
    Device(HandleHash),
    Network(Prefix),
}

/// As the database knows it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(hash) => {
                f.write_str("device ")?;
                hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Network(Prefix(address)) => write!(f, "network {address}"),
        }
    }
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

/// The attempts under way at this node that count only if they fail.
#[derive(Debug, Default)]
pub struct Uncounted(HashSet<(Email, Place)>);

impl Uncounted {
    /// Whether this one may be left uncounted; then [`Uncounted::end`] has to be told of its end.
    #[must_use]
    pub fn begin(&mut self, email: &Email, place: Place) -> bool {
        self.0.len() < UNCOUNTED_MAX && self.0.insert((email.clone(), place))
    }

    pub fn end(&mut self, email: &Email, place: Place) {
        self.0.remove(&(email.clone(), place));
    }
}

/// What is remembered of one account and place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    pub count: u32,
    pub last_unix: u64,
    pub locked_until_unix: u64,
}

impl Failures {
    /// How long this place must still wait; asked before anything is hashed.
    pub fn wait(self, unix_now: Duration) -> Option<Duration> {
        let until = Duration::from_secs(self.locked_until_unix);
        let wait = until.saturating_sub(unix_now);
        (!wait.is_zero() && !self.is_of_the_future(unix_now)).then_some(wait)
    }

    /// One more attempt, which counts as a failure until it is known to be none: so many at once
    /// gain nothing.
    #[must_use]
    pub fn and_one_more(self, unix_now: Duration) -> Self {
        let last = Duration::from_secs(self.last_unix);
        let forgotten = unix_now.saturating_sub(last) > REMEMBERED;
        let count = if forgotten {
            1
        } else {
            self.count.saturating_add(1)
        };
        let lock = count.checked_sub(FREE).map(|doublings| {
            let lock = LOCK_FIRST.saturating_mul(2_u32.saturating_pow(doublings));
            lock.min(LOCK_MAX)
        });
        Self {
            count,
            last_unix: unix_now.as_secs(),
            // Whole seconds are stored; no lock is shorter for it.
            locked_until_unix: lock.map_or(0, |lock| {
                let until = unix_now + lock;
                until.as_secs() + u64::from(until.subsec_nanos() > 0)
            }),
        }
    }

    /// The clock went back since: nobody can tell how long ago this was, and a lock that was to last
    /// minutes would last for as long as the clock went back. The count stays.
    fn is_of_the_future(self, unix_now: Duration) -> bool {
        Duration::from_secs(self.last_unix) > unix_now + SKEW_MAX
    }

    /// The latest time of a failure that can lock anybody now.
    pub fn latest_unix(unix_now: Duration) -> Duration {
        unix_now + SKEW_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn after(failures: u32) -> Failures {
        (0..failures).fold(Failures::default(), |so_far, _| so_far.and_one_more(NOW))
    }

    #[test]
    fn a_lock_doubles_to_a_quarter_of_an_hour_and_ends_by_itself() {
        for (failures, wait) in [
            (0, None),
            (2, None),
            (3, Some(LOCK_FIRST)),
            (4, Some(LOCK_FIRST * 2)),
            (11, Some(LOCK_FIRST * 256)),
            (12, Some(LOCK_MAX)),
            (1000, Some(LOCK_MAX)),
        ] {
            assert_eq!(after(failures).wait(NOW), wait, "{failures} failures");
            let later = NOW + wait.unwrap_or_default();
            assert_eq!(after(failures).wait(later), None, "{failures} failures");
        }
        let forgotten = after(1000).and_one_more(NOW + REMEMBERED * 2);
        assert_eq!(forgotten.wait(NOW + REMEMBERED * 2), None);
    }

    #[test]
    fn a_clock_that_goes_back_locks_nobody_for_longer_and_forgives_nobody() {
        let before = after(12);
        for back in [3600, 1_000_000_000] {
            let now = NOW - Duration::from_secs(back);
            assert_eq!(before.wait(now), None);
            assert_eq!(before.and_one_more(now).wait(now), Some(LOCK_MAX));
        }
        // Two nodes whose clocks are not quite the same.
        let now = NOW - Duration::from_secs(10);
        assert!(before.wait(now).is_some());
    }

    #[test]
    fn one_attempt_of_a_pair_at_a_time_is_left_uncounted() {
        let ada = Email::parse("ada@example.org").unwrap();
        let place = |text: &str| Place::Network(Prefix::of(text.parse().unwrap()));
        let mut uncounted = Uncounted::default();
        assert!(uncounted.begin(&ada, place("198.51.100.7")));
        assert!(!uncounted.begin(&ada, place("198.51.100.9")));
        assert!(uncounted.begin(&ada, place("203.0.113.1")));
        uncounted.end(&ada, place("198.51.100.9"));
        assert!(uncounted.begin(&ada, place("198.51.100.7")));
        let crowd = (0..UNCOUNTED_MAX).filter(|number| {
            let email = Email::parse(&format!("a{number}@example.org")).unwrap();
            uncounted.begin(&email, place("198.51.100.7"))
        });
        assert_eq!(crowd.count(), UNCOUNTED_MAX - 2);
    }

    #[test]
    fn a_network_is_a_24_or_a_64_and_no_device() {
        let place = |text: &str| Place::Network(Prefix::of(text.parse().unwrap())).to_string();
        assert_eq!(place("198.51.100.7"), place("198.51.100.9"));
        assert_eq!(place("::ffff:198.51.100.7"), "network 198.51.100.0");
        assert_eq!(place("2001:db8:1:2::1"), place("2001:db8:1:2:ffff::9"));
        assert_ne!(place("2001:db8:1:2::1"), place("2001:db8:1:3::1"));
        assert_eq!(
            Place::Device([0xab; 32]).to_string(),
            format!("device {}", "ab".repeat(32))
        );
    }
}
