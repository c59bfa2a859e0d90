//! What waits for a client on a stream (TCP or TLS): bounded by time, so that a slow client sees
//! little that is old.
//!
//! A video frame arrives as one burst, and a fresh TCP connection needs several round trips to
//! carry it: [`BURST_LEN`] bytes always fit. Beyond that the queue holds what the client takes in
//! [`WAIT_MAX`] at its measured rate. When it is full the oldest whole media goes; answers to
//! requests never do.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Media waits at most so long at the rate the client takes it.
pub const WAIT_MAX: Duration = Duration::from_millis(100);
/// A burst that always fits, in bytes: a large key frame and the audio beside it.
pub const BURST_LEN: usize = 320 << 10;
/// Never more than this, in bytes, however fast the client was.
pub const QUEUE_LEN_MAX: usize = 4 << 20;
/// Media older than this is worth nothing.
const AGE_MAX: Duration = Duration::from_secs(1);
/// The rate is measured over spans of this length.
const RATE_SPAN: Duration = Duration::from_millis(100);

/// Messages in order, each whole, already framed for the stream.
#[derive(Debug, Default)]
pub struct SendQueue {
    entries: VecDeque<Entry>,
    /// Bytes of the first entry that have been written: such an entry is never dropped.
    written: usize,
    len: usize,
    rate: Rate,
}

#[derive(Debug)]
struct Entry {
    bytes: Vec<u8>,
    at: Instant,
    kind: Kind,
}

/// What may be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Relayed data: late is useless.
    Media,
    /// Answers, HTTP: dropping one breaks the client.
    Control,
}

impl SendQueue {
    /// Adds a message and returns how many old ones had to go for it.
    pub fn push(&mut self, bytes: Vec<u8>, kind: Kind, now: Instant) -> usize {
        self.len += bytes.len();
        self.entries.push_back(Entry {
            bytes,
            at: now,
            kind,
        });
        self.drop_stale(now)
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.len - self.written
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes to write next.
    pub fn front(&self) -> Option<&[u8]> {
        self.entries.front()?.bytes.get(self.written..)
    }

    /// So many bytes of [`SendQueue::front`] have been written.
    pub fn advance(&mut self, count: usize, now: Instant) {
        self.rate.count(count, now);
        self.written += count;
        if let Some(front) = self.entries.front()
            && self.written >= front.bytes.len()
        {
            self.len -= front.bytes.len();
            self.written = 0;
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            // An idle connection holds no buffer.
            self.entries = VecDeque::new();
        }
    }

    fn drop_stale(&mut self, now: Instant) -> usize {
        let mut dropped = 0;
        while let Some(at) = self.oldest_media() {
            let age = self
                .entries
                .get(at)
                .map(|entry| now.saturating_duration_since(entry.at));
            let full = self.len() > self.limit();
            if !full && age.is_none_or(|age| age <= AGE_MAX) {
                break;
            }
            let gone = self.entries.remove(at);
            self.len -= gone.map_or(0, |entry| entry.bytes.len());
            dropped += 1;
        }
        dropped
    }

    fn limit(&self) -> usize {
        let by_time = self.rate.bytes_in(WAIT_MAX);
        by_time.clamp(BURST_LEN, QUEUE_LEN_MAX)
    }

    /// The newest is not looked at: one message always fits.
    fn oldest_media(&self) -> Option<usize> {
        let begun = usize::from(self.written > 0);
        let last = self.entries.len().checked_sub(1)?;
        let mut candidates = self.entries.iter().enumerate().take(last).skip(begun);
        let (at, _) = candidates.find(|(_, entry)| entry.kind == Kind::Media)?;
        Some(at)
    }
}

/// Bytes per span, smoothed over a few.
#[derive(Debug, Default)]
struct Rate {
    since: Option<Instant>,
    bytes: usize,
    per_span: usize,
}

impl Rate {
    fn count(&mut self, bytes: usize, now: Instant) {
        let since = *self.since.get_or_insert(now);
        self.bytes += bytes;
        if now.saturating_duration_since(since) >= RATE_SPAN {
            self.per_span = (self.per_span * 3 + self.bytes) / 4;
            self.bytes = 0;
            self.since = Some(now);
        }
    }

    fn bytes_in(&self, time: Duration) -> usize {
        let spans = time.as_millis() as usize;
        self.per_span * spans / RATE_SPAN.as_millis() as usize
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
mod tests {
    use super::*;

    // coturn#1289 drops a TURN/TLS burst past 32 KiB; this is the frame it drops.
    #[test]
    fn a_burst_of_256_kib_fits_on_a_connection_that_has_sent_nothing_yet() {
        let now = Instant::now();
        let mut queue = SendQueue::default();
        let dropped: usize = (0..219)
            .map(|_| queue.push(vec![0; 1200], Kind::Media, now))
            .sum();
        assert_eq!(dropped, 0);
        assert_eq!(queue.len(), 219 * 1200);
    }

    #[test]
    fn the_oldest_media_goes_first_and_answers_never_do() {
        let now = Instant::now();
        let mut queue = SendQueue::default();
        queue.push(vec![1; 1000], Kind::Control, now);
        let dropped: usize = (0..1000)
            .map(|_| queue.push(vec![2; 1000], Kind::Media, now))
            .sum();
        assert!(dropped > 500, "{dropped}");
        assert!(queue.len() <= BURST_LEN);
        assert_eq!(queue.front(), Some(&[1; 1000][..]));
    }

    #[test]
    fn a_message_that_is_half_written_is_finished() {
        let now = Instant::now();
        let mut queue = SendQueue::default();
        queue.push(vec![1; 1000], Kind::Media, now);
        queue.advance(1, now);
        for _ in 0..1000 {
            queue.push(vec![2; 1000], Kind::Media, now);
        }
        assert_eq!(queue.front(), Some(&[1; 999][..]));
    }

    #[test]
    fn media_that_nobody_took_for_a_second_is_dropped() {
        let now = Instant::now();
        let mut queue = SendQueue::default();
        queue.push(vec![1; 10], Kind::Media, now);
        let late = now + Duration::from_millis(1001);
        assert_eq!(queue.push(vec![2; 10], Kind::Media, late), 1);
        assert_eq!(queue.front(), Some(&[2; 10][..]));
    }

    #[test]
    fn a_fast_client_may_have_more_waiting_than_a_slow_one() {
        let start = Instant::now();
        let mut queue = SendQueue::default();
        for span in 0..20 {
            let now = start + RATE_SPAN * span;
            queue.push(vec![0; 1 << 20], Kind::Control, now);
            queue.advance(1 << 20, now);
        }
        assert!(queue.limit() > 2 * BURST_LEN, "{}", queue.limit());
        assert!(queue.limit() <= QUEUE_LEN_MAX);
    }
}
