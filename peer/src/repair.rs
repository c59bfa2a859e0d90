//! No more than the other side can repair.
//!
//! str0m, with which our own viewers receive, asks for a packet that is missing every 33 ms at best,
//! and takes it only while it is among the last 100; browsers remember 1,000. Beyond that every loss
//! costs a key frame, and at 1 % no picture is shown at all.
//!
//! Rule: while packets are lost on the way to str0m, no more is sent than [`PACKETS`] until one that
//! is sent again can be there.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sdp;

/// Of the last 100, with room for what goes beside the picture.
const PACKETS: f64 = 80.0;
/// What of a packet is picture.
const PACKET_BITS: f64 = 1_150.0 * 8.0;
/// Until the other side asks.
const ASKED_AFTER: Duration = Duration::from_millis(33);
/// Reports of losses within [`MEMORY`] that make a lossy path: one loss is a matter of chance.
const REPORTS: usize = 3;
const MEMORY: Duration = Duration::from_secs(10);

/// What the other side remembers, and when packets were lost.
#[derive(Debug, Default)]
pub(crate) struct Repair {
    forgets: bool,
    lossy: VecDeque<Instant>,
}

impl Repair {
    /// The other side's description, which says who wrote it (RFC 8866 §5.2).
    pub(crate) fn handle_description(&mut self, sdp: &str) {
        self.forgets = sdp::value(sdp, "o=").is_some_and(|who| who.starts_with("str0m-"));
    }

    /// A report told of packets that did not arrive.
    pub(crate) fn handle_losses(&mut self, now: Instant) {
        if self.lossy.len() == REPORTS {
            self.lossy.pop_front();
        }
        self.lossy.push_back(now);
    }

    /// In bits per second, where a round trip takes so long; `None` if all that fits may be sent.
    pub(crate) fn limit_bps(&self, round_trip: Duration, now: Instant) -> Option<u64> {
        let first = self.lossy.front()?;
        let is_lossy = self.lossy.len() == REPORTS && now < *first + MEMORY;
        let time = round_trip + ASKED_AFTER;
        let bps = PACKETS * PACKET_BITS / time.as_secs_f64();
        (self.forgets && is_lossy).then_some(bps as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const ROUND_TRIP: Duration = Duration::from_millis(40);

    fn lossy(description: &str) -> (Repair, Instant) {
        let (mut repair, now) = (Repair::default(), start());
        repair.handle_description(description);
        for _ in 0..REPORTS {
            repair.handle_losses(now);
        }
        (repair, now)
    }

    #[test]
    fn on_a_lossy_path_what_can_be_repaired_limits_what_is_sent_to_str0m() {
        let (repair, now) = lossy("v=0\r\no=str0m-0.25.0 1 2 IN IP4 0.0.0.0\r\n");
        // 80 packets in 73 ms.
        assert_eq!(repair.limit_bps(ROUND_TRIP, now), Some(10_082_191));
        assert_eq!(repair.limit_bps(ROUND_TRIP, now + MEMORY), None);
        let (browser, now) = lossy("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n");
        assert_eq!(browser.limit_bps(ROUND_TRIP, now), None);
    }

    #[test]
    fn one_loss_now_and_then_limits_nothing() {
        let mut repair = Repair::default();
        repair.handle_description("o=str0m-0.25.0 1 2 IN IP4 0.0.0.0\r\n");
        for step in 0..10 {
            let now = start() + MEMORY / 2 * step;
            repair.handle_losses(now);
            assert_eq!(repair.limit_bps(ROUND_TRIP, now), None);
        }
    }
}
