//! What waits for a relay's TCP or TLS stream, in whole messages.
//!
//! The rule it owns: a stream that is too slow loses the oldest media first, because the newest
//! picture is the one worth showing. STUN is never dropped for media: a lost Refresh would end the
//! allocation, and a stream has no retransmission of its own for it. A message that has begun to
//! leave is finished, or the relay would lose the frame (RFC 8656 §12.5).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Two large key frames. When full the oldest media goes; STUN that alone fills it is refused,
/// because then the relay has taken nothing for minutes.
pub const BYTES_MAX: usize = 512 * 1024;
/// A burst of 256 KiB through a fresh connection at 40 ms round trip needs five of them; what is
/// twice as old shows a past screen.
pub const MEDIA_AGE_MAX: Duration = Duration::from_millis(500);
/// Leaves in one write: a full TLS record.
const CHUNK_LEN: usize = 16 * 1024;

/// Messages in the order they came, none half.
#[derive(Debug, Default)]
pub struct StreamQueue {
    waiting: VecDeque<Waiting>,
    len: usize,
}

#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    since: Instant,
}

impl Waiting {
    /// ChannelData begins with 0b01, STUN with 0b00 (RFC 8656 §12).
    fn is_media(&self) -> bool {
        self.bytes.first().is_some_and(|byte| byte >> 6 == 1)
    }
}

impl StreamQueue {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes one framed TURN message.
    pub fn push(&mut self, bytes: Vec<u8>, now: Instant) {
        self.drop_late(now);
        let message = Waiting { bytes, since: now };
        while self.len + message.bytes.len() > BYTES_MAX {
            let Some(oldest) = self.waiting.iter().position(Waiting::is_media) else {
                return;
            };
            self.remove(oldest);
        }
        self.len += message.bytes.len();
        self.waiting.push_back(message);
    }

    /// Moves what leaves next behind `chunk`'s end, up to 16 KiB and at least one message.
    pub fn fill(&mut self, chunk: &mut Vec<u8>, now: Instant) {
        self.drop_late(now);
        while let Some(next) = self.waiting.front()
            && (chunk.is_empty() || chunk.len() + next.bytes.len() <= CHUNK_LEN)
        {
            chunk.extend_from_slice(&next.bytes);
            self.remove(0);
        }
    }

    fn drop_late(&mut self, now: Instant) {
        let late = |message: &Waiting| {
            message.is_media() && now.saturating_duration_since(message.since) > MEDIA_AGE_MAX
        };
        // In the order they came: when the oldest media is not late, none is.
        while let Some(oldest) = self.waiting.iter().position(Waiting::is_media)
            && self.waiting.get(oldest).is_some_and(late)
        {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, index: usize) {
        if let Some(message) = self.waiting.remove(index) {
            self.len -= message.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const STUN: u8 = 0x00;

    #[test]
    fn messages_leave_whole_and_in_order() {
        let (mut queue, now) = (StreamQueue::default(), start());
        queue.push(vec![STUN; 20], now);
        queue.push(vec![0x40; 1200], now);
        assert_eq!(drained(&mut queue, now), [(STUN, 20), (0x40, 1200)]);
    }

    #[test]
    fn a_burst_of_256_kib_waits_200_ms_and_loses_nothing() {
        let (mut queue, now) = (StreamQueue::default(), start());
        (0..219).for_each(|_| queue.push(vec![0x40; 1200], now));
        let later = now + Duration::from_millis(200);
        assert_eq!(drained(&mut queue, later).len(), 219);
    }

    #[test]
    fn a_full_queue_drops_the_oldest_media_and_never_stun() {
        let (mut queue, now) = (StreamQueue::default(), start());
        queue.push(vec![STUN; 20], now);
        queue.push(vec![0x40; 1200], now);
        queue.push(vec![0x41; BYTES_MAX - 1220], now);
        queue.push(vec![0x42; 4], now);
        let left = [(STUN, 20), (0x41, BYTES_MAX - 1220), (0x42, 4)];
        assert_eq!(drained(&mut queue, now), left);
    }

    #[test]
    fn media_that_waited_too_long_is_dropped_and_stun_is_not() {
        let (mut queue, now) = (StreamQueue::default(), start());
        queue.push(vec![0x40; 1200], now);
        queue.push(vec![STUN; 20], now);
        let later = now + MEDIA_AGE_MAX + Duration::from_millis(1);
        queue.push(vec![0x41; 1200], later);
        assert_eq!(drained(&mut queue, later), [(STUN, 20), (0x41, 1200)]);
    }

    #[test]
    fn a_queue_full_of_stun_refuses_the_newest() {
        let (mut queue, now) = (StreamQueue::default(), start());
        queue.push(vec![STUN; BYTES_MAX], now);
        queue.push(vec![0x40; 4], now);
        queue.push(vec![STUN; 20], now);
        assert_eq!(drained(&mut queue, now), [(STUN, BYTES_MAX)]);
    }

    #[test]
    fn a_chunk_is_at_most_a_tls_record_unless_one_message_is_longer() {
        let (mut queue, now) = (StreamQueue::default(), start());
        (0..20).for_each(|_| queue.push(vec![0x40; 1200], now));
        let mut chunk = Vec::new();
        queue.fill(&mut chunk, now);
        assert_eq!(chunk.len(), 13 * 1200);
    }

    /// First byte and length of every message, each taken by a chunk of its own.
    fn drained(queue: &mut StreamQueue, now: Instant) -> Vec<(u8, usize)> {
        let mut found = Vec::new();
        queue.drop_late(now);
        while let Some(message) = queue.waiting.front() {
            found.push((message.bytes[0], message.bytes.len()));
            queue.remove(0);
        }
        assert_eq!(queue.len, 0);
        found
    }
}
