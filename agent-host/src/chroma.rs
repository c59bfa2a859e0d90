//! When the picture carries a colour for each pixel (4:4:4), and when one for four (4:2:0).
//!
//! ```text
//!  all viewers take it, the quality has it, a still screen holds what 4:2:0 smears ─▶ 4:4:4
//!  a viewer comes who cannot take it, or somebody saves bytes ─▶ 4:2:0, at once
//!  so much moves that it costs ────────────────────────────────▶ 4:2:0
//! ```
//!
//! Rule: H.264 changes its chroma only with a key frame of the whole screen. Where everything moves
//! that costs nothing; a change to 4:4:4, which nobody needs at once, comes [`SPACING`] after the
//! last one (decision 0035).

use std::time::{Duration, Instant};

use protocol::control::{Chroma, Quality};

use crate::damage::Rect;
use crate::picture::BLOCK;

/// Between a change and a change to 4:4:4, and between two looks at a screen that held nothing.
const SPACING: Duration = Duration::from_secs(5);
/// Time over which motion is added up.
const MOTION_TIME: Duration = Duration::from_secs(1);
/// Macroblocks that move in [`MOTION_TIME`], four screens of 1080p: typing and a window that opens
/// stay below. A terminal of 960 × 640 that scrolls 20 lines a second does not; there 4:4:4 would
/// cost a third more processor time.
const MOTION_MAX: f64 = 30_000.0;
/// Macroblocks with coloured detail that are worth a key frame: two words of coloured text.
const DETAIL_MIN: usize = 16;
/// How far colours within 2 × 2 pixels are apart where 4:2:0 shows others, in steps of 256.
const APART_MIN: i16 = 32;

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum ChromaChoice {
    /// 4:4:4 where it shows, every viewer takes it and sharp was asked for: it costs more memory and
    /// time than a quality that nobody chose may take (decision 0035).
    #[default]
    #[serde(rename = "auto")]
    Auto,
    #[serde(rename = "420")]
    Yuv420,
    /// As `Auto`, and also where viewers leave the quality to the desktop.
    #[serde(rename = "444")]
    Yuv444,
}

impl ChromaChoice {
    /// The finest that pictures of this quality may have.
    pub fn finest(self, quality: Quality) -> Chroma {
        match (self, quality) {
            (Self::Auto | Self::Yuv444, Quality::Sharp) | (Self::Yuv444, Quality::Auto) => {
                Chroma::Yuv444
            }
            _ => Chroma::Yuv420,
        }
    }
}

/// The decisions of one screen.
#[derive(Debug)]
pub struct Chromas {
    current: Chroma,
    /// The finest that everybody concerned takes.
    allowed: Chroma,
    /// No look before this time.
    rests_until: Option<Instant>,
    /// Something changed since the last look.
    is_news: bool,
    motion: f64,
    motion_at: Option<Instant>,
}

impl Default for Chromas {
    fn default() -> Self {
        Self {
            current: Chroma::Yuv420,
            allowed: Chroma::Yuv420,
            rests_until: None,
            is_news: true,
            motion: 0.0,
            motion_at: None,
        }
    }
}

impl Chromas {
    /// What the next frame is coded in.
    pub fn current(&self) -> Chroma {
        self.current
    }

    /// The finest that the configuration, the encoder, the quality and every viewer take.
    pub fn handle_allowed(&mut self, finest: Chroma) {
        self.allowed = finest;
    }

    /// An interactive frame coded so many macroblocks.
    pub fn handle_coded(&mut self, blocks: usize, now: Instant) {
        self.is_news |= blocks > 0;
        let since = self.motion_at.map(|at| now.saturating_duration_since(at));
        let share = since.unwrap_or_default().as_secs_f64() / MOTION_TIME.as_secs_f64();
        self.motion = self.motion * (-share).exp() + blocks as f64;
        self.motion_at = Some(now);
    }

    /// Whether 4:4:4 has to end before the next frame.
    pub fn poll_end(&self) -> bool {
        let costs = self.current == Chroma::Yuv444 && self.motion > MOTION_MAX;
        self.current > self.allowed || costs
    }

    /// When to look for what 4:2:0 smears, if the screen stays as still as it is since then.
    pub fn poll_look(&self, still_at: Option<Instant>) -> Option<Instant> {
        let still_at = still_at.filter(|_| self.current < self.allowed && self.is_news)?;
        Some(
            self.rests_until
                .map_or(still_at, |until| until.max(still_at)),
        )
    }

    /// Somebody looked, and found nothing.
    pub fn handle_plain(&mut self, now: Instant) {
        self.is_news = false;
        self.rests_until = Some(now + SPACING);
    }

    /// The picture and its encoder have another chroma now.
    pub fn handle_changed(&mut self, chroma: Chroma, now: Instant) {
        self.current = chroma;
        self.motion = 0.0;
        self.handle_plain(now);
    }
}

/// Looks for colours that differ within 2 × 2 pixels.
#[derive(Debug, Default)]
pub struct Detail {
    blocks: usize,
}

impl Detail {
    /// Takes the pixels of `rect` (BGRX, rows of `rect.width * 4` bytes), macroblock by macroblock
    /// until enough is found.
    pub fn handle_pixels(&mut self, rect: Rect, bgrx: &[u8]) {
        let stride = rect.width as usize * 4;
        for band in bgrx.chunks(stride.max(1) * BLOCK) {
            for left in (0..stride).step_by(BLOCK * 4) {
                if self.is_enough() {
                    return;
                }
                let right = (left + BLOCK * 4).min(stride);
                let mut rows = band.chunks_exact(stride).map(|row| &row[left..right]);
                let mut pairs = std::iter::from_fn(|| Some([rows.next()?, rows.next()?]));
                self.blocks += usize::from(pairs.any(|[upper, lower]| is_smeared(upper, lower)));
            }
        }
    }

    /// Worth a key frame.
    pub fn is_enough(&self) -> bool {
        self.blocks >= DETAIL_MIN
    }
}

/// Two rows of a macroblock hold colours apart within 2 × 2 pixels.
fn is_smeared(upper: &[u8], lower: &[u8]) -> bool {
    let quads = upper.chunks_exact(8).zip(lower.chunks_exact(8));
    let apart = quads.map(|(upper, lower)| {
        let [a, b] = [&upper[..4], &upper[4..]].map(colour);
        let [c, d] = [&lower[..4], &lower[4..]].map(colour);
        let spread = |i: usize| {
            let most = a[i].max(b[i]).max(c[i]).max(d[i]);
            most - a[i].min(b[i]).min(c[i]).min(d[i])
        };
        spread(0).max(spread(1))
    });
    apart.fold(0, i16::max) >= APART_MIN
}

/// How blue and how red a pixel is beside its green; grey is neither.
fn colour(bgrx: &[u8]) -> [i16; 2] {
    let [blue, green, red] = [bgrx[0], bgrx[1], bgrx[2]].map(i16::from);
    [blue - green, red - green]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> Chromas {
        let mut chromas = Chromas::default();
        chromas.handle_allowed(Chroma::Yuv444);
        chromas
    }

    fn fine(now: Instant) -> Chromas {
        let mut chromas = allowed();
        chromas.handle_changed(Chroma::Yuv444, now);
        chromas
    }

    #[test]
    fn who_saves_bytes_never_gets_4_4_4_and_who_leaves_it_open_where_the_configuration_says_so() {
        let finest = |choice: ChromaChoice| Quality::ALL.map(|quality| choice.finest(quality));
        let [fine, coarse] = [Chroma::Yuv444, Chroma::Yuv420];
        assert_eq!(Quality::ALL[..2], [Quality::Auto, Quality::Sharp]);
        assert_eq!(finest(ChromaChoice::Auto), [coarse, fine, coarse, coarse]);
        assert_eq!(finest(ChromaChoice::Yuv444), [fine, fine, coarse, coarse]);
        assert_eq!(finest(ChromaChoice::Yuv420), [coarse; 4]);
    }

    #[test]
    fn a_still_screen_is_looked_at_once_if_everybody_takes_more() {
        let now = Instant::now();
        assert_eq!(Chromas::default().poll_look(Some(now)), None);
        let mut chromas = allowed();
        assert_eq!(chromas.poll_look(None), None);
        assert_eq!(chromas.poll_look(Some(now)), Some(now));
        chromas.handle_plain(now);
        assert_eq!(chromas.poll_look(Some(now)), None, "nothing is new");
        chromas.handle_coded(1, now);
        assert_eq!(chromas.poll_look(Some(now)), Some(now + SPACING));
    }

    #[test]
    fn a_viewer_who_cannot_take_it_ends_it_at_once() {
        let now = Instant::now();
        let mut chromas = fine(now);
        assert!(!chromas.poll_end());
        chromas.handle_allowed(Chroma::Yuv420);
        assert!(chromas.poll_end());
        chromas.handle_changed(Chroma::Yuv420, now);
        assert!(!chromas.poll_end() && chromas.poll_look(Some(now)).is_none());
    }

    #[test]
    fn a_film_and_a_terminal_that_scrolls_end_it_and_a_spinner_or_a_window_that_opens_do_not() {
        let begun = Instant::now();
        let after = |blocks: usize, fps: u32, time: Duration| {
            let mut chromas = fine(begun);
            let frames = fps * time.as_secs() as u32;
            for frame in 0..frames {
                chromas.handle_coded(blocks, begun + time / frames * frame);
            }
            chromas.poll_end()
        };
        assert!(after(8_160, 30, 2 * SPACING));
        assert!(after(8_160, 30, MOTION_TIME), "however young it is");
        assert!(after(2_400, 20, 2 * SPACING));
        assert!(!after(64, 60, 2 * SPACING));
        let mut opened = fine(begun);
        opened.handle_coded(8_160, begun + 2 * SPACING);
        assert!(!opened.poll_end());
    }

    fn check(pixel: impl Fn(u32, u32) -> u32, expected: bool) {
        let rect = Rect::new(0, 0, 256, 64);
        let pixels = (0..rect.height).flat_map(|y| (0..rect.width).map(move |x| (x, y)));
        let bgrx: Vec<u8> = pixels
            .flat_map(|(x, y)| pixel(x, y).to_le_bytes())
            .collect();
        let mut detail = Detail::default();
        detail.handle_pixels(rect, &bgrx);
        assert_eq!(detail.is_enough(), expected);
    }

    #[test]
    fn coloured_lines_and_letters_are_detail_grey_ones_and_colour_fields_are_not() {
        check(|x, _| if x % 2 == 0 { 0xFF_0000 } else { 0x00_00FF }, true);
        check(
            |x, y| {
                if (x + y).is_multiple_of(5) {
                    0x1A_6E1A
                } else {
                    0xFD_F6E3
                }
            },
            true,
        );
        check(|x, _| if x % 2 == 0 { 0 } else { 0xFF_FFFF }, false);
        check(|x, _| 0x01_0001 * (x % 256) + 0x20, false);
        check(|x, _| if x < 128 { 0xFF_0000 } else { 0x00_00FF }, false);
    }

    #[test]
    fn one_coloured_letter_is_not_worth_a_key_frame() {
        let letter =
            |x: u32, y: u32| (x < 16 && y < 16 && x.is_multiple_of(3)).then_some(0xFF_0000);
        check(|x, y| letter(x, y).unwrap_or(0xFF_FFFF), false);
    }

    #[test]
    fn the_edge_of_an_odd_screen_is_looked_at_too() {
        let rect = Rect::new(0, 0, 18 * 16 + 2, 2);
        let bgrx: Vec<u8> = (0..rect.width * 2)
            .flat_map(|n| {
                if n % 2 == 0 {
                    [255, 0, 0, 0]
                } else {
                    [0, 0, 255, 0]
                }
            })
            .collect();
        let mut detail = Detail::default();
        detail.handle_pixels(rect, &bgrx);
        assert!(detail.is_enough());
    }
}
