//! Rates, in fixed memory: replies to strangers per address prefix, bytes per allocation.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::deadlines::Tick;
use crate::endpoint::KeyedHash;

/// Cells of the stranger table: 64 Ki × 8 bytes. Prefixes that fall into one cell share its
/// budget, which only ever makes the limit stricter.
const CELLS: usize = 1 << 16;

/// How many replies strangers get per second and prefix (a /32 of IPv4, a /64 of IPv6).
///
/// A request that is not yet authenticated may carry any source address; the limit is what keeps
/// the relay useless as a reflector. When a budget is empty the reply is dropped and counted.
pub struct StrangerLimiter {
    cells: Box<[Cell]>,
    hash: KeyedHash,
    per_second: u32,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    second: Tick,
    used: u32,
}

impl StrangerLimiter {
    /// `per_second` of 0 means no limit.
    pub fn new(per_second: u32, hash: KeyedHash) -> Self {
        Self {
            cells: vec![Cell::default(); CELLS].into_boxed_slice(),
            hash,
            per_second,
        }
    }

    pub fn set_rate(&mut self, per_second: u32) {
        self.per_second = per_second;
    }

    /// Takes one reply out of the budget of this source; false if it is spent.
    pub fn admit(&mut self, source: IpAddr, now: Tick) -> bool {
        let hash = self.hash.hash_one(prefix(source)) as usize;
        let Some(cell) = self.cells.get_mut(hash % CELLS) else {
            return false;
        };
        if cell.second != now {
            *cell = Cell {
                second: now,
                used: 0,
            };
        }
        cell.used = cell.used.saturating_add(1);
        self.per_second == 0 || cell.used <= self.per_second
    }
}

// The port is left out: a reflection attack names one victim and many ports.
fn prefix(source: IpAddr) -> u64 {
    match source {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
    }
}

/// A byte budget that refills with time; holds at most one second's worth.
#[derive(Clone, Copy, Debug)]
pub struct ByteBudget {
    bytes_per_second: u64,
    left: u64,
    filled_at: Option<Instant>,
}

impl ByteBudget {
    /// 0 means no limit.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            left: bytes_per_second,
            filled_at: None,
        }
    }

    /// Takes the bytes out of the budget; false if they do not fit, and nothing is taken then.
    pub fn admit(&mut self, bytes: usize, now: Instant) -> bool {
        if self.bytes_per_second == 0 {
            return true;
        }
        self.refill(now);
        match self.left.checked_sub(bytes as u64) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    fn refill(&mut self, now: Instant) {
        let filled_at = *self.filled_at.get_or_insert(now);
        let elapsed = now
            .saturating_duration_since(filled_at)
            .min(Duration::from_secs(1));
        let gained = self.bytes_per_second as u128 * elapsed.as_micros() / 1_000_000;
        if gained > 0 {
            self.left = self.bytes_per_second.min(self.left + gained as u64);
            self.filled_at = Some(now);
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_gets_his_replies_per_second_whatever_port_he_uses_and_others_keep_theirs() {
        let mut limiter = StrangerLimiter::new(2, KeyedHash::new([1, 2]));
        let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert!(limiter.admit(one, Tick(1)));
        assert!(limiter.admit(one, Tick(1)));
        assert!(!limiter.admit(one, Tick(1)));
        assert!(limiter.admit(other, Tick(1)));
        assert!(limiter.admit(one, Tick(2)));
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_share_one_budget() {
        let mut limiter = StrangerLimiter::new(1, KeyedHash::new([1, 2]));
        assert!(limiter.admit(ip("2001:db8::1"), Tick(1)));
        assert!(!limiter.admit(ip("2001:db8::2"), Tick(1)));
        assert!(limiter.admit(ip("2001:db8:0:1::2"), Tick(1)));
    }

    #[test]
    fn a_byte_budget_refills_with_time_and_never_above_one_second() {
        let start = Instant::now();
        let mut budget = ByteBudget::new(1000);
        assert!(budget.admit(1000, start));
        assert!(!budget.admit(1, start));
        assert!(budget.admit(500, start + Duration::from_millis(500)));
        assert!(!budget.admit(1, start + Duration::from_millis(500)));
        assert!(budget.admit(1000, start + Duration::from_secs(60)));
        assert!(!budget.admit(1, start + Duration::from_secs(60)));
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }
}
