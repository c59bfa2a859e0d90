//! When to look at which allocation again.
//!
//! Deadlines are lazy: a refresh only moves the time inside the allocation, and the entry here is
//! checked against it when it comes up. So a refresh costs nothing and `next` is O(1). Only a life
//! that becomes shorter than its entry gets another one; the old one is dropped when it comes up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Whole seconds since the server was made: 4 bytes where an `Instant` has 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick at or after `self + duration`: nothing ends earlier than promised.
    pub fn after(self, duration: Duration) -> Self {
        let secs = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
        Self(
            self.0
                .saturating_add(u32::try_from(secs).unwrap_or(u32::MAX)),
        )
    }

    /// Time until `later`, zero if it has passed.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_secs(later.0.saturating_sub(self.0).into())
    }
}

/// Turns instants into ticks.
#[derive(Clone, Copy, Debug)]
pub struct Epoch(Instant);

impl Epoch {
    pub fn new(now: Instant) -> Self {
        Self(now)
    }

    pub fn tick(&self, now: Instant) -> Tick {
        let secs = now.saturating_duration_since(self.0).as_secs();
        Tick(u32::try_from(secs).unwrap_or(u32::MAX))
    }

    pub fn instant(&self, tick: Tick) -> Instant {
        self.0 + Duration::from_secs(tick.0.into())
    }
}

/// Deadlines in order. `K` says whose it is.
#[derive(Debug)]
pub struct Deadlines<K> {
    heap: BinaryHeap<Reverse<(Tick, K)>>,
}

impl<K: Ord> Default for Deadlines<K> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
        }
    }
}

impl<K: Ord> Deadlines<K> {
    pub fn insert(&mut self, at: Tick, key: K) {
        self.heap.push(Reverse((at, key)));
    }

    /// The earliest deadline. O(1).
    pub fn next(&self) -> Option<Tick> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Outdated ones included.
    pub fn entries(&self) -> usize {
        self.heap.len()
    }

    /// Takes one entry whose time has come. O(log n).
    pub fn pop_expired(&mut self, now: Tick) -> Option<K> {
        let due = self.next().is_some_and(|at| at <= now);
        let Reverse((_, key)) = due.then(|| self.heap.pop()).flatten()?;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fraction_of_a_second_is_never_cut_from_a_promise() {
        let start = Tick(10);
        assert_eq!(start.after(Duration::from_secs(300)), Tick(310));
        assert_eq!(start.after(Duration::from_millis(1)), Tick(11));
    }

    #[test]
    fn entries_come_up_in_the_order_of_their_time_and_not_before_it() {
        let mut deadlines = Deadlines::default();
        deadlines.insert(Tick(5), 'b');
        deadlines.insert(Tick(3), 'a');
        assert_eq!(deadlines.next(), Some(Tick(3)));
        assert_eq!(deadlines.pop_expired(Tick(2)), None);
        assert_eq!(deadlines.pop_expired(Tick(5)), Some('a'));
        assert_eq!(deadlines.pop_expired(Tick(5)), Some('b'));
        assert_eq!(deadlines.pop_expired(Tick(5)), None);
    }
}
