//! Which way the packets go, how long a round trip takes, and whether the other side lives.
//!
//! str0m keeps a pair alive for 15 s after the last check of the other side, and tells round trips
//! once a second. Both ends check every 0.8 s here, so silence means something earlier than that;
//! and every answered check is a round trip, known before the first frame is sent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// After so much silence on a connected path it is told as disconnected. Three missed checks.
const SILENCE_MAX: Duration = Duration::from_millis(2500);
/// Checks remembered until their answer; the oldest is forgotten.
const CHECKS_MAX: usize = 32;
/// Weight of a round trip in the usual one (RFC 6298 §2).
const SMOOTHING: f64 = 0.125;
/// Transaction id of a STUN message: bytes 8 to 20.
type Transaction = [u8; 12];

#[derive(Default)]
pub(crate) struct Liveness {
    heard_at: Option<Instant>,
    silent: bool,
    round_trip: Option<Duration>,
    usual: Option<Duration>,
    checks: VecDeque<Check>,
}

/// Waits for its answer.
struct Check {
    transaction: Transaction,
    at: Instant,
    /// Nothing was on the way in front of it.
    is_alone: bool,
}

/// A datagram, where it came from and where it goes to.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// The path of the last packet that was not a connectivity check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selected {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// What a change of silence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    FellSilent,
    SpokeAgain,
}

impl Liveness {
    /// A packet leaves, alone if no video is on the way in front of it.
    pub(crate) fn handle_sent(&mut self, bytes: &[u8], is_alone: bool, now: Instant) {
        // RFC 8489 §5: a Binding request is 0x0001.
        if let Some(transaction) = transaction(bytes, [0, 1]) {
            if self.checks.len() >= CHECKS_MAX {
                self.checks.pop_front();
            }
            self.checks.push_back(Check {
                transaction,
                at: now,
                is_alone,
            });
        }
    }

    /// A packet of the other side came that the engine took.
    pub(crate) fn handle_heard(&mut self, bytes: &[u8], now: Instant) -> Option<Change> {
        self.heard_at = Some(now);
        // A Binding success is 0x0101.
        if let Some(transaction) = transaction(bytes, [1, 1]) {
            self.handle_answer(transaction, now);
        }
        std::mem::take(&mut self.silent).then_some(Change::SpokeAgain)
    }

    fn handle_answer(&mut self, transaction: Transaction, now: Instant) {
        let known = |check: &Check| check.transaction == transaction;
        let index = self.checks.iter().position(known);
        let Some(check) = index.and_then(|index| self.checks.remove(index)) else {
            return;
        };
        let round_trip = now.saturating_duration_since(check.at);
        self.round_trip = Some(round_trip);
        if check.is_alone {
            let usual = self.usual.unwrap_or(round_trip);
            self.usual = Some(usual.mul_f64(1.0 - SMOOTHING) + round_trip.mul_f64(SMOOTHING));
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<Change> {
        let due = self.poll_timeout().is_some_and(|at| at <= now);
        if due {
            self.silent = true;
        }
        due.then_some(Change::FellSilent)
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.heard_at
            .filter(|_| !self.silent)
            .map(|at| at + SILENCE_MAX)
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    pub(crate) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// Smoothed, of checks behind no video.
    pub(crate) fn usual_round_trip(&self) -> Option<Duration> {
        self.usual
    }
}

fn transaction(bytes: &[u8], kind: [u8; 2]) -> Option<Transaction> {
    let (found, rest) = bytes.split_first_chunk::<2>()?;
    if *found != kind {
        return None;
    }
    rest.get(6..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    fn stun(kind: [u8; 2], id: u8) -> Vec<u8> {
        let mut bytes = vec![kind[0], kind[1], 0, 0, 0x21, 0x12, 0xA4, 0x42];
        bytes.extend([id; 12]);
        bytes
    }

    #[test]
    fn the_answer_to_a_check_tells_the_round_trip() {
        let mut liveness = Liveness::default();
        let start = start();
        liveness.handle_sent(&stun([0, 1], 1), true, start);
        liveness.handle_sent(&stun([0, 1], 2), true, start + Duration::from_millis(5));
        let now = start + Duration::from_millis(20);
        liveness.handle_heard(&stun([1, 1], 2), now);
        assert_eq!(liveness.round_trip(), Some(Duration::from_millis(15)));
        // The same answer again, or one to nothing, changes nothing.
        liveness.handle_heard(&stun([1, 1], 2), now + Duration::from_secs(1));
        assert_eq!(liveness.round_trip(), Some(Duration::from_millis(15)));
    }

    #[test]
    fn the_usual_round_trip_is_that_of_checks_behind_no_video() {
        let mut liveness = Liveness::default();
        let start = start();
        for (id, is_alone, millis) in [(1, true, 8), (2, false, 100), (3, true, 16)] {
            liveness.handle_sent(&stun([0, 1], id), is_alone, start);
            let answered_at = start + Duration::from_millis(millis);
            liveness.handle_heard(&stun([1, 1], id), answered_at);
        }
        assert_eq!(liveness.usual_round_trip(), Some(Duration::from_millis(9)));
    }

    #[test]
    fn silence_is_told_once_and_so_is_its_end() {
        let mut liveness = Liveness::default();
        let start = start();
        assert_eq!(liveness.handle_timeout(start), None);
        liveness.handle_heard(&[0x80], start);
        assert_eq!(liveness.handle_timeout(start + SILENCE_MAX / 2), None);
        let late = start + SILENCE_MAX;
        assert_eq!(liveness.handle_timeout(late), Some(Change::FellSilent));
        assert_eq!(liveness.handle_timeout(late), None);
        assert_eq!(liveness.poll_timeout(), None);
        assert_eq!(
            liveness.handle_heard(&[0x80], late),
            Some(Change::SpokeAgain)
        );
        assert_eq!(liveness.handle_heard(&[0x80], late), None);
    }
}
