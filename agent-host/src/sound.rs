//! What the desktop plays, cut into packets' worth: samples in, frames of 10 ms out.
//!
//! Rule: silence costs nothing. After [`SILENCE_MAX`] of it nothing comes out until something
//! sounds again. Frames have the times of an even clock, which follows the sound server's from
//! afar; sound that is late is dropped, oldest first, for nobody wants to hear it then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use platform::sound::{FRAME_BYTES, FRAME_TIME};

/// A fifth of a second, so that the pauses of speech and the end of a tone are sent as they are.
pub const SILENCE_MAX: Duration = Duration::from_millis(200);
/// Samples up to this are silence: programs that dither round to it.
const SILENCE_LEVEL: u16 = 2;
/// Frames that wait to be coded, 80 ms. When full the oldest is dropped: this thread was late.
const FRAMES_MAX: usize = 8;
/// How far the even clock and the sound server's may be apart.
const DRIFT_MAX: Duration = Duration::from_millis(40);

/// 10 ms of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub samples: Box<[i16]>,
    /// When its first sample was played.
    pub captured_at: Instant,
    /// Before it was silence.
    pub begins: bool,
}

/// Cuts what the sound server gives into [`Frame`]s.
#[derive(Debug, Default)]
pub struct Cutter {
    /// Less than a frame.
    rest: Vec<u8>,
    frames: VecDeque<Frame>,
    /// Since something sounded; `None` while nothing is sent.
    silent: Option<Duration>,
    next_at: Option<Instant>,
    dropped: u64,
}

impl Cutter {
    /// Samples that were played until `now`, 16 bits little-endian, left and right in turn.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Instant) {
        self.rest.extend_from_slice(bytes);
        let waiting = std::mem::take(&mut self.rest);
        let (whole, rest) = waiting.split_at(waiting.len() - waiting.len() % FRAME_BYTES);
        let count = u32::try_from(whole.len() / FRAME_BYTES).unwrap_or(u32::MAX);
        for (index, bytes) in (0..).zip(whole.chunks_exact(FRAME_BYTES)) {
            let heard_at = now.checked_sub(FRAME_TIME * (count - index)).unwrap_or(now);
            self.handle_frame(bytes, heard_at);
        }
        self.rest = rest.to_vec();
    }

    /// The sound server went away: what it gave before does not join what it gives next.
    pub fn handle_gap(&mut self) {
        *self = Self {
            // Time goes on for the listeners.
            next_at: self.next_at,
            dropped: self.dropped,
            ..Self::default()
        };
    }

    pub fn poll_frame(&mut self) -> Option<Frame> {
        self.frames.pop_front()
    }

    /// Frames that came too late to be sent, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn handle_frame(&mut self, bytes: &[u8], heard_at: Instant) {
        let Some(captured_at) = self.even_time(heard_at) else {
            self.dropped += 1;
            return;
        };
        let samples: Box<[i16]> = bytes
            .chunks_exact(2)
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        let begins = self.silent.is_none();
        let silent = samples.iter().all(|s| s.unsigned_abs() <= SILENCE_LEVEL);
        self.silent = match (silent, self.silent) {
            (false, _) => Some(Duration::ZERO),
            (true, Some(so_far)) if so_far < SILENCE_MAX => Some(so_far + FRAME_TIME),
            (true, _) => None,
        };
        if self.silent.is_none() {
            return;
        }
        if self.frames.len() == FRAMES_MAX {
            self.frames.pop_front();
            self.dropped += 1;
        }
        self.frames.push_back(Frame {
            samples,
            captured_at,
            begins,
        });
    }

    /// One frame after the one before, unless the sound server's clock is elsewhere; `None` if the
    /// frame has no place because that clock runs ahead.
    fn even_time(&mut self, heard_at: Instant) -> Option<Instant> {
        let expected = self.next_at.unwrap_or(heard_at);
        if expected.saturating_duration_since(heard_at) > DRIFT_MAX {
            return None;
        }
        let behind = heard_at.saturating_duration_since(expected) > DRIFT_MAX;
        let captured_at = if behind { heard_at } else { expected };
        self.next_at = Some(captured_at + FRAME_TIME);
        Some(captured_at)
    }
}

/// When a sound server that is not there is tried again.
#[derive(Debug)]
pub struct Attempts {
    pause: Duration,
    at: Option<Instant>,
    told: bool,
}

/// The first and the longest pause. A person who restarts the server waits for sound, not for a
/// picture, and a machine without one is asked ten times a minute while somebody listens.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(6);

/// Whether something is news for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    Fresh,
    /// It was said before.
    Old,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            pause: RETRY_MIN,
            at: None,
            told: false,
        }
    }
}

impl Attempts {
    /// It cannot be reached, or went away.
    pub fn handle_failed(&mut self, now: Instant) -> News {
        self.at = Some(now + self.pause);
        self.pause = (self.pause * 2).min(RETRY_MAX);
        match std::mem::replace(&mut self.told, true) {
            true => News::Old,
            false => News::Fresh,
        }
    }

    /// It gives sound.
    pub fn handle_works(&mut self) -> News {
        let told = self.told;
        *self = Self::default();
        if told { News::Fresh } else { News::Old }
    }

    /// When to try again; `None` for now.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.at.filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use platform::sound::FRAME_LEN;

    use super::*;

    #[test]
    fn bytes_cut_anyhow_become_frames_of_ten_milliseconds() {
        let (mut cutter, start) = (Cutter::default(), Instant::now());
        let sound = tone(3);
        for (number, piece) in (1..).zip(sound.chunks(1_000)) {
            cutter.handle_bytes(piece, start + FRAME_TIME * number);
        }
        let frames = taken(&mut cutter);
        let joined: Vec<u8> = frames
            .iter()
            .flat_map(|frame| frame.samples.iter().flat_map(|s| s.to_le_bytes()))
            .collect();
        assert_eq!((frames.len(), joined), (3, sound));
    }

    #[test]
    fn frames_are_ten_milliseconds_apart_however_unevenly_they_come() {
        let (mut cutter, start) = (Cutter::default(), Instant::now());
        let mut times = Vec::new();
        for (number, late) in (1..).zip([0, 7, 3, 12, 1]) {
            cutter.handle_bytes(&tone(1), start + FRAME_TIME * number + ms(late));
            times.extend(taken(&mut cutter).iter().map(|frame| frame.captured_at));
        }
        let steps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(steps, [FRAME_TIME; 4]);
    }

    #[test]
    fn after_a_fifth_of_a_second_of_silence_nothing_comes_out() {
        let (mut cutter, start) = (Cutter::default(), Instant::now());
        let mut sent = 0;
        for number in 1..=100 {
            let bytes = if number == 1 { tone(1) } else { silence(1) };
            cutter.handle_bytes(&bytes, start + FRAME_TIME * number);
            sent += taken(&mut cutter).len();
        }
        assert_eq!(sent, 21);
    }

    #[test]
    fn a_desktop_that_never_played_sends_nothing() {
        let (mut cutter, start) = (Cutter::default(), Instant::now());
        for number in 1..=100 {
            cutter.handle_bytes(&silence(1), start + FRAME_TIME * number);
        }
        assert_eq!(cutter.poll_frame(), None);
    }

    #[test]
    fn the_first_frame_after_silence_says_so_and_has_the_time_it_was_played() {
        let (mut cutter, start) = (Cutter::default(), Instant::now());
        cutter.handle_bytes(&tone(1), start + FRAME_TIME);
        assert!(cutter.poll_frame().unwrap().begins);
        let later = start + Duration::from_secs(5);
        cutter.handle_bytes(&silence(50), later);
        taken(&mut cutter);
        cutter.handle_bytes(&tone(2), later + FRAME_TIME * 2);
        let frames = taken(&mut cutter);
        assert_eq!((frames[0].begins, frames[1].begins), (true, false));
        assert_eq!(frames[0].captured_at, later);
    }

    #[test]
    fn of_sound_that_comes_in_one_lump_the_newest_eighty_milliseconds_are_kept() {
        let (mut cutter, start) = (Cutter::default(), Instant::now());
        cutter.handle_bytes(&tone(30), start + FRAME_TIME * 30);
        let frames = taken(&mut cutter);
        assert_eq!((frames.len(), cutter.dropped()), (FRAMES_MAX, 22));
        assert_eq!(frames[0].captured_at, start + FRAME_TIME * 22);
    }

    #[test]
    fn a_sound_server_whose_clock_runs_ahead_loses_a_frame_now_and_then() {
        let (mut cutter, start) = (Cutter::default(), Instant::now());
        let mut sent = 0;
        // 10 ms of sound every 9 ms.
        for number in 1..=100 {
            cutter.handle_bytes(&tone(1), start + ms(9) * number);
            sent += taken(&mut cutter).len();
        }
        assert!((90..=96).contains(&sent), "{sent}");
    }

    #[test]
    fn a_missing_sound_server_is_told_once_and_tried_ever_less_often() {
        let (mut attempts, start) = (Attempts::default(), Instant::now());
        assert_eq!(attempts.poll_timeout(start), None);
        assert_eq!(attempts.handle_failed(start), News::Fresh);
        assert_eq!(attempts.poll_timeout(start), Some(start + RETRY_MIN));
        for _ in 0..10 {
            assert_eq!(attempts.handle_failed(start), News::Old);
        }
        assert_eq!(attempts.poll_timeout(start), Some(start + RETRY_MAX));
        assert_eq!(attempts.handle_works(), News::Fresh);
        assert_eq!(attempts.handle_works(), News::Old);
        assert_eq!(attempts.handle_failed(start), News::Fresh);
        assert_eq!(attempts.poll_timeout(start), Some(start + RETRY_MIN));
    }

    fn taken(cutter: &mut Cutter) -> Vec<Frame> {
        std::iter::from_fn(|| cutter.poll_frame()).collect()
    }

    /// So many frames of a saw.
    fn tone(frames: usize) -> Vec<u8> {
        let samples = 0..frames * FRAME_LEN;
        samples
            .flat_map(|n| ((n % 200) as i16 * 50 + 100).to_le_bytes())
            .collect()
    }

    fn silence(frames: usize) -> Vec<u8> {
        vec![0; frames * FRAME_BYTES]
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }
}
