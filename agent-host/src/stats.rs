//! What the last frames cost, told to the viewers as medians, five times a second at most.

use std::time::{Duration, Instant};

use protocol::control::{Chroma, HostStats};

/// Shortest time between two messages.
const INTERVAL: Duration = Duration::from_millis(200);
/// Frames a message looks back on; 60 per second for a fifth of one, and some room.
const FRAMES_MAX: usize = 32;

/// The stages of one frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameCost {
    /// Damage seen → reading began: a slot was awaited, or the encoder was busy.
    pub wait: Duration,
    pub read: Duration,
    pub convert: Duration,
    pub encode: Duration,
    pub coded_at: Instant,
}

/// The frames since the last message.
#[derive(Debug)]
pub struct StatsWindow {
    encoder: u8,
    chroma: Chroma,
    frames: u32,
    recent: Vec<[u32; 3]>,
    told_at: Option<Instant>,
}

impl StatsWindow {
    pub fn new(encoder: u8) -> Self {
        Self {
            encoder,
            chroma: Chroma::default(),
            frames: 0,
            recent: Vec::with_capacity(FRAMES_MAX),
            told_at: None,
        }
    }

    /// `queue` is how long the frame took from the encoder to the socket.
    pub fn handle_frame(&mut self, cost: FrameCost, chroma: Chroma, queue: Duration) {
        self.chroma = chroma;
        self.frames = self.frames.wrapping_add(1);
        let capture = cost.wait + cost.read + cost.convert;
        let micros = |d: Duration| u32::try_from(d.as_micros()).unwrap_or(u32::MAX);
        if self.recent.len() < FRAMES_MAX {
            self.recent.push([capture, cost.encode, queue].map(micros));
        }
    }

    /// The message, if one is due and there is something to tell.
    pub fn poll(&mut self, now: Instant) -> Option<HostStats> {
        let too_soon = self.told_at.is_some_and(|at| now < at + INTERVAL);
        if too_soon || self.recent.is_empty() {
            return None;
        }
        self.told_at = Some(now);
        let median = |stage: usize| {
            let mut column: Vec<u32> = self.recent.iter().map(|frame| frame[stage]).collect();
            column.sort_unstable();
            column[column.len() / 2]
        };
        let stats = HostStats {
            capture_us: median(0),
            encode_us: median(1),
            queue_us: median(2),
            frames: self.frames,
            encoder: self.encoder,
            chroma: self.chroma,
        };
        self.recent.clear();
        Some(stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_told_at_most_five_times_a_second() {
        let now = Instant::now();
        let mut window = StatsWindow::new(1);
        for us in [100, 200, 900] {
            let cost = FrameCost {
                wait: Duration::from_micros(us),
                read: Duration::from_micros(10),
                convert: Duration::from_micros(5),
                encode: Duration::from_micros(2 * us),
                coded_at: now,
            };
            window.handle_frame(cost, Chroma::Yuv444, Duration::from_micros(30));
        }
        let stats = window.poll(now).unwrap();
        assert_eq!(
            (
                stats.capture_us,
                stats.encode_us,
                stats.queue_us,
                stats.frames
            ),
            (215, 400, 30, 3)
        );
        assert_eq!(stats.chroma, Chroma::Yuv444);
        assert_eq!(window.poll(now + INTERVAL), None);
    }
}
