//! What a sender does while nothing moves on the screen: nothing.
//!
//! str0m pads a quiet stream at 50 kbit/s and probes the path every 5 s with hundreds of kilobytes,
//! which on a still desktop is all the traffic there is and 280 wake-ups a second. After
//! [`REST_AFTER`] without movement the stream rests: nothing more is wanted of the bandwidth
//! estimate, its timers are honoured [`TURN_INTERVAL`] at a time, and reports of the other side wait
//! until then: each would be answered with padding, of which the next report would tell. A lone
//! small frame, like the keep-alive every 2 s, does not end the rest; movement does.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::path::Datagram;

/// Still for so long means at rest. Longer than the pauses of a person who types.
pub(crate) const REST_AFTER: Duration = Duration::from_secs(3);
/// Timers of the engine and reports are late by at most this much at rest. Other packets that arrive
/// and all that are sent are not: each brings a turn of its own.
pub(crate) const TURN_INTERVAL: Duration = Duration::from_millis(200);
/// After any frame the timers are exact for so long: its packets are paced, and one that is lost
/// nearby is sent again.
const EXACT_AFTER_FRAME: Duration = Duration::from_millis(60);
/// Reports that wait; a viewer sends at most one in 50 ms. When full the next one is taken at once.
const REPORTS_MAX: usize = 16;
/// A frame of more bytes than this is movement, whenever it comes: about three packets.
const MOVEMENT_LEN_MIN: usize = 4_000;
/// Two frames within this time are movement. The keep-alive comes every 2 s.
const MOVEMENT_INTERVAL: Duration = Duration::from_secs(1);

/// Whether the stream rests, and since when it could.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    resting: bool,
    last_frame: Option<Instant>,
    last_movement: Option<Instant>,
    last_turn: Option<Instant>,
    /// SRTCP, still encrypted.
    reports: Vec<Datagram>,
}

/// What to do with a packet that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reception {
    Now,
    /// It is kept until [`Rest::take_reports`].
    NextTurn,
}

impl Rest {
    pub(crate) fn is_resting(&self) -> bool {
        self.resting
    }

    /// A frame of `len` bytes is sent; `true` if that ends the rest.
    pub(crate) fn handle_frame(&mut self, len: usize, now: Instant) -> bool {
        let before = self.last_frame.replace(now);
        let close = before.is_some_and(|at| now.duration_since(at) < MOVEMENT_INTERVAL);
        if self.last_movement.is_none() || close || len >= MOVEMENT_LEN_MIN {
            self.last_movement = Some(now);
            return std::mem::take(&mut self.resting);
        }
        false
    }

    /// The engine gets a turn now; `true` if the rest begins.
    pub(crate) fn handle_turn(&mut self, now: Instant) -> bool {
        self.last_turn = Some(now);
        let still = self.rest_at().is_some_and(|at| now >= at);
        let begins = still && !self.resting;
        self.resting |= still;
        begins
    }

    /// When the engine, which asks for `wanted`, gets its next turn.
    pub(crate) fn poll_timeout(&self, wanted: Option<Instant>) -> Option<Instant> {
        if !self.resting {
            return wanted.into_iter().chain(self.rest_at()).min();
        }
        let exact_until = self.exact_until();
        let earliest = self.last_turn.map(|at| at + TURN_INTERVAL);
        match (wanted, exact_until, earliest) {
            (Some(wanted), Some(exact_until), _) if wanted < exact_until => Some(wanted),
            (Some(wanted), _, Some(earliest)) => Some(wanted.max(earliest)),
            (wanted, _, _) => wanted,
        }
    }

    /// A packet arrived: at rest, a report waits for the next turn.
    pub(crate) fn handle_datagram(
        &mut self,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) -> Reception {
        let exact = self.exact_until().is_some_and(|at| now < at);
        if !self.resting || exact || !is_report(bytes) || self.reports.len() == REPORTS_MAX {
            return Reception::Now;
        }
        let bytes = bytes.to_vec();
        self.reports.push(Datagram { from, to, bytes });
        Reception::NextTurn
    }

    /// Those that waited, oldest first.
    pub(crate) fn take_reports(&mut self) -> Vec<Datagram> {
        std::mem::take(&mut self.reports)
    }

    fn exact_until(&self) -> Option<Instant> {
        self.last_frame.map(|at| at + EXACT_AFTER_FRAME)
    }

    fn rest_at(&self) -> Option<Instant> {
        self.last_movement.map(|at| at + REST_AFTER)
    }
}

/// SRTCP travels among SRTP and is told from it by its type (RFC 5761 §4).
pub(crate) fn is_report(bytes: &[u8]) -> bool {
    matches!(bytes, [128..=191, 192..=223, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const KEEP_ALIVE_LEN: usize = 120;
    const REPORT: [u8; 2] = [175, 205];

    #[test]
    fn a_stream_rests_three_seconds_after_the_last_movement_and_says_so_once() {
        let (mut rest, start) = moving();
        assert!(!rest.handle_turn(start + REST_AFTER - ms(1)));
        assert!(rest.handle_turn(start + REST_AFTER));
        assert!(!rest.handle_turn(start + REST_AFTER + ms(1)));
    }

    #[test]
    fn a_keep_alive_every_two_seconds_does_not_end_the_rest() {
        let (mut rest, start) = resting();
        for n in 1..10 {
            assert!(!rest.handle_frame(KEEP_ALIVE_LEN, start + ms(2_000 * n)));
        }
    }

    #[test]
    fn two_frames_in_a_row_or_a_large_one_end_the_rest() {
        let (mut rest, start) = resting();
        assert!(!rest.handle_frame(KEEP_ALIVE_LEN, start + ms(2_000)));
        assert!(rest.handle_frame(KEEP_ALIVE_LEN, start + ms(2_100)));
        let (mut rest, start) = resting();
        assert!(rest.handle_frame(MOVEMENT_LEN_MIN, start + ms(2_000)));
    }

    #[test]
    fn at_rest_the_engine_gets_five_turns_a_second_whatever_it_asks_for() {
        let (mut rest, start) = resting();
        let mut now = start + ms(1_000);
        let mut turns = 0;
        while now < start + ms(2_000) {
            rest.handle_turn(now);
            turns += 1;
            now = rest.poll_timeout(Some(now + ms(4))).unwrap();
        }
        assert_eq!(turns, 5);
    }

    #[test]
    fn timers_are_exact_while_something_moves_and_shortly_after_a_lone_frame() {
        let (rest, start) = moving();
        assert_eq!(rest.poll_timeout(Some(start + ms(4))), Some(start + ms(4)));
        let (mut rest, start) = resting();
        let frame = start + ms(2_000);
        rest.handle_frame(KEEP_ALIVE_LEN, frame);
        assert_eq!(rest.poll_timeout(Some(frame + ms(4))), Some(frame + ms(4)));
    }

    #[test]
    fn reports_wait_at_rest_but_not_shortly_after_a_frame() {
        let (mut rest, start) = resting();
        assert_eq!(receive(&mut rest, &REPORT, start), Reception::NextTurn);
        assert_eq!(rest.take_reports().len(), 1);
        let frame = start + ms(2_000);
        rest.handle_frame(KEEP_ALIVE_LEN, frame);
        assert_eq!(receive(&mut rest, &REPORT, frame), Reception::Now);
        let (mut rest, start) = moving();
        assert_eq!(receive(&mut rest, &REPORT, start), Reception::Now);
    }

    #[test]
    fn nothing_else_waits_and_not_more_reports_than_there_is_room_for() {
        let (mut rest, start) = resting();
        // STUN, DTLS, SRTP, and nothing.
        for packet in [&[0, 1][..], &[22, 254], &[144, 103], &[]] {
            assert_eq!(receive(&mut rest, packet, start), Reception::Now);
        }
        for _ in 0..REPORTS_MAX {
            assert_eq!(receive(&mut rest, &REPORT, start), Reception::NextTurn);
        }
        assert_eq!(receive(&mut rest, &REPORT, start), Reception::Now);
    }

    #[test]
    fn nothing_rests_before_the_first_frame() {
        let (_, start) = moving();
        let mut rest = Rest::default();
        assert!(!rest.handle_turn(start + REST_AFTER * 2));
    }

    fn moving() -> (Rest, Instant) {
        let start = start();
        let mut rest = Rest::default();
        rest.handle_frame(MOVEMENT_LEN_MIN, start);
        (rest, start)
    }

    /// At rest since the returned instant.
    fn resting() -> (Rest, Instant) {
        let (mut rest, start) = moving();
        assert!(rest.handle_turn(start + REST_AFTER));
        (rest, start + REST_AFTER)
    }

    fn receive(rest: &mut Rest, bytes: &[u8], now: Instant) -> Reception {
        let address = SocketAddr::from(([192, 0, 2, 1], 1));
        rest.handle_datagram(address, address, bytes, now)
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }
}
