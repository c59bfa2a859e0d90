//! What a session measured: per stage, as percentiles over the last second and over all of it.
//!
//! ```text
//!  captured ──▶ first packet here ──▶ last packet, frame complete ──▶ decoded
//!               └──────── receive ───────┘└──── decode ────┘
//!  └───────────────── capture_to_decoded, if the clocks can be compared ──┘
//! ```
//!
//! [`Meter`] takes single measurements, [`Report`] is what is printed once a second.

use std::time::{Duration, Instant};

use serde::Serialize;

/// Measurements kept per stage: the last 8 s at 60 frames a second. Older ones make room.
const SAMPLES_MAX: usize = 512;

/// The last [`SAMPLES_MAX`] durations of one stage.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// In µs; a ring once full.
    samples: Vec<u32>,
    next: usize,
}

impl Series {
    pub fn record(&mut self, sample: Duration) {
        let us = u32::try_from(sample.as_micros()).unwrap_or(u32::MAX);
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(us);
        } else if let Some(oldest) = self.samples.get_mut(self.next) {
            *oldest = us;
            self.next = (self.next + 1) % SAMPLES_MAX;
        }
    }

    /// `None` if nothing was measured. Sorts a copy: O(n log n), n ≤ 512.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let mut sorted = self.samples.clone();
        sorted.sort_unstable();
        let at = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).map(|us| f64::from(*us) / 1_000.0)
        };
        Some(Percentiles {
            p50: at(50)?,
            p90: at(90)?,
            p99: at(99)?,
            max: at(100)?,
        })
    }
}

/// In milliseconds; nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// One decoded picture, for the books.
#[derive(Clone, Copy, Debug)]
pub struct Decoded {
    pub key: bool,
    pub width: u32,
    pub height: u32,
    /// First packet here → frame complete.
    pub receive: Duration,
    /// Frame complete → decoder began.
    pub wait: Duration,
    pub decode: Duration,
    /// `None` if the host's clock cannot be compared with ours.
    pub capture_to_decoded: Option<Duration>,
}

/// Packets of sound since the session began, 10 ms each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sound {
    pub packets: u64,
    pub bytes: u64,
    pub lost: u64,
}

/// Collects; one per session.
#[derive(Debug, Default)]
pub struct Meter {
    receive: Series,
    wait: Series,
    decode: Series,
    capture_to_decoded: Series,
    frames: u64,
    key_frames: u64,
    broken: u64,
    size: (u32, u32),
    sound: Sound,
    frames_at_last_report: u64,
    last_report: Option<Instant>,
}

/// The stages as percentiles, and the counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub fps: f64,
    pub width: u32,
    pub height: u32,
    /// Pictures decoded since the session began.
    pub frames: u64,
    pub key_frames: u64,
    /// Frames the decoder refused.
    pub broken: u64,
    pub audio: Sound,
    pub receive_ms: Option<Percentiles>,
    pub wait_ms: Option<Percentiles>,
    pub decode_ms: Option<Percentiles>,
    pub capture_to_decoded_ms: Option<Percentiles>,
}

impl Meter {
    pub fn handle_decoded(&mut self, decoded: Decoded) {
        self.frames += 1;
        self.key_frames += u64::from(decoded.key);
        self.size = (decoded.width, decoded.height);
        self.receive.record(decoded.receive);
        self.wait.record(decoded.wait);
        self.decode.record(decoded.decode);
        if let Some(elapsed) = decoded.capture_to_decoded {
            self.capture_to_decoded.record(elapsed);
        }
    }

    /// The decoder refused a frame.
    pub fn handle_broken(&mut self) {
        self.broken += 1;
    }

    /// A packet of sound came, after `missing` that did not.
    pub fn handle_sound(&mut self, len: usize, missing: u64) {
        self.sound.packets += 1;
        self.sound.bytes += len as u64;
        self.sound.lost += missing;
    }

    /// Takes the report; frames per second are counted since the one before.
    pub fn report(&mut self, now: Instant) -> Report {
        let since = self.last_report.replace(now);
        let elapsed = since.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let new = self.frames - self.frames_at_last_report;
        self.frames_at_last_report = self.frames;
        Report {
            fps: per_second(new, elapsed),
            width: self.size.0,
            height: self.size.1,
            frames: self.frames,
            key_frames: self.key_frames,
            broken: self.broken,
            audio: self.sound,
            receive_ms: self.receive.percentiles(),
            wait_ms: self.wait.percentiles(),
            decode_ms: self.decode.percentiles(),
            capture_to_decoded_ms: self.capture_to_decoded.percentiles(),
        }
    }
}

/// Rounded to a tenth: more digits would claim more than a second of counting knows.
fn per_second(count: u64, elapsed: Duration) -> f64 {
    if elapsed.is_zero() {
        return 0.0;
    }
    (count as f64 / elapsed.as_secs_f64() * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut series = Series::default();
        for ms in 1..=100 {
            series.record(Duration::from_millis(ms));
        }
        assert_eq!(
            series.percentiles(),
            Some(Percentiles {
                p50: 50.0,
                p90: 90.0,
                p99: 99.0,
                max: 100.0
            })
        );
    }

    #[test]
    fn a_single_sample_is_every_percentile() {
        let mut series = Series::default();
        series.record(Duration::from_micros(1_500));
        let all = series.percentiles().unwrap();
        assert_eq!((all.p50, all.p99), (1.5, 1.5));
    }

    #[test]
    fn nothing_measured_is_said_as_nothing() {
        assert_eq!(Series::default().percentiles(), None);
    }

    #[test]
    fn old_samples_make_room_for_new_ones() {
        let mut series = Series::default();
        series.record(Duration::from_secs(1));
        for _ in 0..SAMPLES_MAX {
            series.record(Duration::from_millis(1));
        }
        assert_eq!(series.percentiles().unwrap().max, 1.0);
    }

    #[test]
    fn frames_per_second_are_counted_between_two_reports() {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as the epoch of a test"
        )]
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.report(start);
        for _ in 0..30 {
            meter.handle_decoded(decoded());
        }
        let report = meter.report(start + Duration::from_millis(500));
        assert_eq!(report.fps, 60.0);
        assert_eq!((report.frames, report.key_frames), (30, 30));
        assert_eq!(report.capture_to_decoded_ms, None);
    }

    #[test]
    fn sound_is_counted_with_what_is_missing() {
        let mut meter = Meter::default();
        for missing in [0, 2, 0] {
            meter.handle_sound(120, missing);
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as the epoch of a test"
        )]
        let report = meter.report(Instant::now());
        let expected = Sound {
            packets: 3,
            bytes: 360,
            lost: 2,
        };
        assert_eq!(report.audio, expected);
    }

    fn decoded() -> Decoded {
        Decoded {
            key: true,
            width: 64,
            height: 64,
            receive: Duration::ZERO,
            wait: Duration::ZERO,
            decode: Duration::ZERO,
            capture_to_decoded: None,
        }
    }
}
